import type { BackfillSummary } from "../../contract/messages.ts";
import {
  doneOf,
  estimate,
  failedOf,
  requireBackfills,
  spanText,
  stateText,
} from "../support/backfill-text.ts";
import { command, wholeNumber } from "../support/command.ts";
import { principalNow, withPrincipal } from "../support/connect.ts";
import { formatRelative } from "../support/format.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { printJson, printLine } from "../support/stdout.ts";
import { renderTable } from "../support/table.ts";
import { tellUnknownWorkflow } from "../support/unknown-names.ts";

export default command({
  meta: { name: "list", description: "List backfills, newest first" },
  args: {
    limit: {
      type: "string",
      alias: "n",
      valueHint: "N",
      default: "20",
      description: "Maximum number of backfills",
    },
    workflow: { type: "string", alias: "w", valueHint: "ID", description: "Only those of this workflow" },
    open: { type: "boolean", description: "Only those that are not over" },
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    details:
      "DONE counts the firings that have had their run, FAILED those runs of it that have not COMPLETED. They are listed for 90 days after their end.",
    completes: { workflow: "workflow" },
    examples: [
      { command: "cdktr backfills list", does: "the newest, with how far they are" },
      { command: "cdktr backfills list --open --json", does: "those that are not over, for a program" },
    ],
  },
  async run({ args }) {
    const limit = wholeNumber(args.limit, "--limit", { min: 1, max: 1000 });
    const backfills = await withPrincipal(args, async (connection) => {
      requireBackfills(connection);
      const { client } = connection;
      const found = await client.call("LSBACKFILLS", {
        limit,
        open: args.open === true,
        ...(args.workflow === undefined ? {} : { workflow_id: args.workflow }),
      });
      if (found.length > 0 || args.json) return found;
      say(args.open === true ? "No backfill is under way." : "No backfills.");
      await tellUnknownWorkflow(client, args.workflow);
      return found;
    });
    if (args.json) return printJson(backfills);
    if (backfills.length === 0) return;
    for (const line of backfillTable(backfills, principalNow())) await printLine(line);
  },
});

function backfillTable(backfills: readonly BackfillSummary[], now: number): string[] {
  return renderTable<BackfillSummary>(
    [
      {
        title: "BACKFILL",
        value: ({ backfill_id }) => backfill_id,
        short: ({ backfill_id }) => backfill_id.slice(0, 13),
      },
      { title: "WORKFLOW", value: ({ workflow_id }) => workflow_id, flexible: true },
      { title: "STATE", value: stateText },
      { title: "TIME", value: spanText, flexible: true },
      { title: "DONE", value: (backfill) => `${doneOf(backfill)}/${backfill.total}`, align: "right" },
      { title: "FAILED", value: (backfill) => String(failedOf(backfill)), align: "right" },
      { title: "ACTIVE", value: ({ active }) => String(active), align: "right" },
      {
        title: "CREATED",
        value: ({ created_at_ms }) => formatRelative(created_at_ms, now),
        dispensable: true,
      },
      {
        title: "REMARKS",
        value: (backfill) => backfill.note ?? estimate(backfill) ?? "",
        flexible: true,
        below: true,
      },
    ],
    backfills,
  );
}
