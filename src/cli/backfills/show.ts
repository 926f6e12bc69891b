import type { BackfillDetails, BackfillSummary } from "../../contract/messages.ts";
import {
  backfillArg,
  backfillId,
  doneOf,
  estimate,
  failedOf,
  leftOf,
  requireBackfills,
  spanText,
  stateText,
  zonedTime,
  zoneOfEntry,
} from "../support/backfill-text.ts";
import { command } from "../support/command.ts";
import { type Connection, withPrincipal } from "../support/connect.ts";
import { formatInstant, plural } from "../support/format.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { printJson, printLine } from "../support/stdout.ts";
import { styleFor } from "../support/style.ts";
import { renderTable } from "../support/table.ts";

type Firing = BackfillDetails["firings"][number];

/** Number of firings that are shown if not all are asked for. */
const SHOWN = 10;
/** Number of firings that are asked for at once. */
const PAGE = 1000;

export default command({
  meta: { name: "show", description: "Show how far a backfill is" },
  args: {
    ...backfillArg,
    firings: { type: "boolean", description: "List all firings that it is done with" },
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    completes: { backfill: "backfill" },
    details: `Shows its runs that are not over and those that failed, up to ${SHOWN} each; with --firings every firing that it is done with.`,
    see: ["runs show", "runs why"],
    examples: [
      { command: "cdktr backfills show 0198c2a4", does: "how far it is, and how long it still takes" },
      {
        command: "cdktr backfills show 0198c2a4 --firings --json",
        does: "every firing and its run, for a program",
      },
    ],
  },
  async run({ args }) {
    const backfill_id = backfillId(args.backfill);
    const details = await withPrincipal(args, async (connection) => {
      requireBackfills(connection);
      const found = await connection.client.call("GETBACKFILL", { backfill_id, limit: 0 });
      const firings =
        args.firings === true
          ? await allFirings(connection, backfill_id)
          : await someFirings(connection, backfill_id);
      return { ...found, firings };
    });
    if (args.json) {
      const { next: _, ...data } = details;
      return printJson(data);
    }
    await print(details);
  },
});

async function allFirings({ client }: Connection, backfill_id: string): Promise<Firing[]> {
  const firings: Firing[] = [];
  for (let after: BackfillDetails["next"] | undefined; after !== null; ) {
    const page: BackfillDetails = await client.call("GETBACKFILL", {
      backfill_id,
      limit: PAGE,
      ...(after === undefined ? {} : { after }),
    });
    firings.push(...page.firings);
    after = page.next;
  }
  return firings;
}

/** Those that somebody may want to look at. */
async function someFirings({ client }: Connection, backfill_id: string): Promise<Firing[]> {
  const pages: Firing[] = [];
  for (const outcome of ["FAILED", "CRASHED", "CANCELLED", "SKIPPED", "OPEN"] as const) {
    const { firings } = await client.call("GETBACKFILL", { backfill_id, outcome, limit: SHOWN });
    pages.push(...firings);
  }
  return pages.sort((a, b) => a.scheduled_time_ms - b.scheduled_time_ms);
}

async function print(details: BackfillDetails): Promise<void> {
  const style = styleFor("stdout");
  const { backfill, entries } = details;
  const facts: [label: string, value: string | null][] = [
    ["Workflow", backfill.workflow_id],
    ["State", stateText(backfill)],
    ["Note", backfill.note],
    ["Time", `${spanText(backfill)}${backfill.reverse ? ", the newest first" : ""}`],
    ["Schedule", entries.map(({ cron, timezone }) => `${cron} (${timezone})`).join(", ")],
    ["Firings", progressText(details)],
    ["Estimate", estimate(backfill)],
    ["At once", plural(backfill.max_active, "run")],
    ["Reprocess", backfill.reprocess === "none" ? null : backfill.reprocess],
    ["Priority", backfill.priority === null ? null : String(backfill.priority)],
    [
      "Parameters",
      Object.entries(backfill.params)
        .map(([name, value]) => `${name}=${value}`)
        .join(" ") || null,
    ],
    [
      "Created",
      `${formatInstant(backfill.created_at_ms)}${backfill.actor === null ? "" : ` by ${backfill.actor}`}`,
    ],
    ["Over", backfill.finished_at_ms === null ? null : formatInstant(backfill.finished_at_ms)],
    ["Again", againText(backfill)],
    [
      "Changed",
      details.is_changed ? "the file of the workflow has changed since: new runs have it as it is now" : null,
    ],
  ];
  await printLine(`${style.bold("BACKFILL")} ${backfill.backfill_id}`);
  for (const [label, value] of facts) if (value !== null) await printLine(`  ${label.padEnd(11)} ${value}`);
  if (details.firings.length === 0) return;
  await printLine();
  for (const line of firingTable(details)) await printLine(line);
}

/** How to run again what failed; null for nothing. */
function againText(backfill: BackfillSummary): string | null {
  if (backfill.finished_at_ms === null || failedOf(backfill) === 0) return null;
  const { workflow_id, from, to, params } = backfill;
  const given = Object.keys(params).length === 0 ? "" : " with the same parameters";
  return `what failed: cdktr backfill ${workflow_id} --from ${from} --to ${to} --reprocess failed${given}`;
}

/** `12 of 31 are done: 3 were present, 8 COMPLETED, 1 FAILED; 2 are under way, 17 are left` */
function progressText({ backfill }: BackfillDetails): string {
  const { total, present, active, by_status } = backfill;
  const parts = [
    ...(present === 0 ? [] : [`${present} ${present === 1 ? "was" : "were"} present`]),
    ...Object.entries(by_status).map(([status, count]) => `${count} ${status}`),
  ];
  const done = `${doneOf(backfill)} of ${total} are done${parts.length === 0 ? "" : `: ${parts.join(", ")}`}`;
  const open = [
    ...(active === 0 ? [] : [`${active} ${active === 1 ? "is" : "are"} under way`]),
    ...(leftOf(backfill) === 0 ? [] : [`${leftOf(backfill)} ${leftOf(backfill) === 1 ? "is" : "are"} left`]),
  ];
  return open.length === 0 ? done : `${done}; ${open.join(", ")}`;
}

function firingTable(details: BackfillDetails): string[] {
  return renderTable<Firing>(
    [
      {
        title: "FIRING",
        value: ({ scheduled_time_ms, entry }) => zonedTime(scheduled_time_ms, zoneOfEntry(details, entry)),
      },
      { title: "OUTCOME", value: ({ outcome }) => outcome ?? "under way" },
      { title: "RUN", value: ({ workflow_instance_id }) => workflow_instance_id ?? "-" },
    ],
    details.firings,
    { indent: 2 },
  );
}
