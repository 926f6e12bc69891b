import { triggerWord } from "../../contract/child-runs.ts";
import type { RunSummary } from "../../contract/messages.ts";
import { agentsWord } from "../../contract/run-agents.ts";
import { holdWord } from "../../contract/run-holds.ts";
import { tookMs } from "../../contract/took.ts";
import { type PrincipalClient, RequestUnprocessableError } from "../../protocol/client.ts";
import { STATUSES_OF_RUNS } from "../../workflow/run-state.ts";
import { command, wholeNumber } from "../support/command.ts";
import { principalNow, withPrincipal } from "../support/connect.ts";
import { formatDuration, formatRelative, formatStatus, statusPaint } from "../support/format.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { printJson, printLine } from "../support/stdout.ts";
import { styleFor } from "../support/style.ts";
import { renderTable } from "../support/table.ts";
import { tellUnknownWorkflow } from "../support/unknown-names.ts";

export default command({
  meta: { name: "list", description: "List runs, newest first" },
  args: {
    limit: {
      type: "string",
      alias: "n",
      valueHint: "N",
      default: "20",
      description: "Maximum number of runs",
    },
    workflow: { type: "string", alias: "w", valueHint: "ID", description: "Only runs of this workflow" },
    status: {
      type: "enum",
      alias: "s",
      valueHint: "STATUS",
      options: STATUSES_OF_RUNS,
      description: "Only runs with this status",
    },
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    details: "Includes waiting, running and finished runs, even old ones that are only in the history.",
    see: ["logs query"],
    completes: { workflow: "workflow" },
    examples: [
      { command: "cdktr runs list", does: "the last 20 runs" },
      { command: "cdktr runs list --workflow etl.daily -n 100", does: "the last 100 of one workflow" },
      { command: "cdktr runs list --status failed --json", does: "failed runs, for a program" },
    ],
  },
  async run({ args }) {
    const limit = wholeNumber(args.limit, "--limit", { min: 1, max: 10_000 });
    const runs = await withPrincipal(args, async ({ client }) => {
      const found = await listed(client, {
        limit,
        ...(args.workflow === undefined ? {} : { workflow_id: args.workflow }),
        ...(args.status === undefined ? {} : { status: args.status }),
      });
      if (found.length > 0 || args.json) return found;
      say("No runs.");
      await tellUnknownWorkflow(client, args.workflow);
      return found;
    });
    if (args.json) return printJson(runs);
    if (runs.length === 0) return;
    for (const line of runTable(runs, principalNow())) await printLine(line);
  },
});

/** The runs; says if older ones may be missing. */
async function listed(
  client: PrincipalClient,
  filter: Parameters<PrincipalClient["listRuns"]>[0],
): Promise<RunSummary[]> {
  try {
    return await client.listRuns({ ...filter, complete: true });
  } catch (error) {
    if (!(error instanceof RequestUnprocessableError)) throw error;
    const found = await client.listRuns(filter);
    say(error.message);
    return found;
  }
}

function runTable(runs: readonly RunSummary[], now: number): string[] {
  const style = styleFor("stdout");
  return renderTable<RunSummary>(
    [
      {
        title: "RUN",
        value: (run) => run.workflow_instance_id,
        // Every command accepts a prefix of an id.
        short: (run) => run.workflow_instance_id.slice(0, 13),
      },
      { title: "WORKFLOW", value: (run) => run.workflow_id, flexible: true },
      {
        title: "STATUS",
        value: (run) => formatStatus(run.status, style),
        paint: (run) => statusPaint(run.status, style),
      },
      { title: "TRIGGER", value: triggerWord, flexible: true, dispensable: true },
      { title: "ATTEMPT", value: (run) => String(run.attempt), align: "right", dispensable: true },
      { title: "AGENT", value: (run) => agentsWord(run) ?? "-", flexible: true },
      { title: "CREATED", value: (run) => formatRelative(run.created_at_ms, now) },
      ...(runs.some((run) => run.start_at_ms !== undefined)
        ? [
            {
              title: "STARTS",
              value: (run: RunSummary) =>
                run.start_at_ms === undefined ? "-" : formatRelative(run.start_at_ms, now),
            },
          ]
        : []),
      ...(runs.some((run) => run.hold !== undefined)
        ? [{ title: "HELD BY", value: (run: RunSummary) => holdWord(run) ?? "-", flexible: true }]
        : []),
      {
        title: "TOOK",
        value: (run) => {
          const took = tookMs(run, now);
          return took === null ? "-" : formatDuration(took);
        },
        align: "right",
      },
    ],
    runs,
  );
}
