import type { LogLine } from "../../contract/log-line.ts";
import type { RunDetails, TaskRunSummary } from "../../contract/messages.ts";
import { InvalidInputError, NotFoundError } from "../../errors.ts";
import { searchPages } from "../../protocol/log-search.ts";
import { quote } from "../../terminal/foreign-text.ts";
import { command } from "../support/command.ts";
import { type Connection, principalNow, withPrincipal } from "../support/connect.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { askPatiently } from "../support/live-log.ts";
import { compareRuns, diffLines } from "../support/run-diff.ts";
import { findRun, runArg } from "../support/run-id.ts";
import { printJson, printLine } from "../support/stdout.ts";
import { styleFor } from "../support/style.ts";

/** Lines of a task run that are compared. */
const COMPARED_LINES = 20_000;
/** COMPLETED runs among which the last one before a run is looked for. */
const LOOKED_AT = 1000;

export default command({
  meta: { name: "diff", description: "Show what differs between two runs of a workflow" },
  args: {
    ...runArg,
    other: {
      type: "positional",
      required: false,
      description: "The run to compare with; by default the last one before it that COMPLETED",
    },
    exact: {
      type: "boolean",
      description: "Numbers in what the tasks printed count too: times, counts, process ids",
    },
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    completes: { run: "run", other: "run" },
    details: `Compares the file, the parameters, and for each task its status, its agent, how long it took, and what it printed, up to ${COMPARED_LINES.toLocaleString("en")} lines: the first line that differs is shown.`,
    see: ["runs why", "logs query"],
    examples: [
      { command: "cdktr runs diff 0198c2a4", does: "what is different since it last worked" },
      { command: "cdktr runs diff 0198c2a4 0198b7f1", does: "two runs" },
      { command: "cdktr runs diff 0198c2a4 --json | jq .params", does: "parameters alone, for a program" },
    ],
  },
  run: ({ args }) =>
    withPrincipal(args, async (connection) => {
      const run = await findRun(connection, args.run);
      const other =
        args.other === undefined ? await lastGood(connection, run) : await findRun(connection, args.other);
      if (other.workflow_instance_id === run.workflow_instance_id)
        throw new InvalidInputError("That is the same run twice.", { hint: "Name two runs, or one alone." });
      if (other.workflow_id !== run.workflow_id)
        throw new InvalidInputError(
          `They are runs of two workflows: ${quote(run.workflow_id)} and ${quote(other.workflow_id)}.`,
          { hint: `'cdktr runs list --workflow ${run.workflow_id}' shows others of the first.` },
        );
      const now = principalNow();
      const isExact = args.exact === true;
      const diff = await compareRuns(run, other, (of, task) => linesOf(connection, of, task), {
        isExact,
        now,
      });
      if (args.json) return printJson(diff);
      for (const line of diffLines(diff, now, styleFor("stdout"))) await printLine(line);
    }),
});

/** The last run of the same workflow that COMPLETED before a run was created. */
async function lastGood(connection: Connection, run: RunDetails): Promise<RunDetails> {
  const { workflow_id, workflow_instance_id, created_at_ms } = run;
  const completed = await connection.client.listRuns({ limit: LOOKED_AT, workflow_id, status: "COMPLETED" });
  const last = completed.find(
    (other) => other.created_at_ms <= created_at_ms && other.workflow_instance_id !== workflow_instance_id,
  );
  if (last !== undefined) return connection.client.getRun(last.workflow_instance_id);
  const which = completed.length < LOOKED_AT ? "No run" : `None of the last ${LOOKED_AT} COMPLETED runs`;
  const what = completed.length < LOOKED_AT ? "COMPLETED" : "is from";
  throw new NotFoundError(`${which} of ${quote(workflow_id)} ${what} before ${workflow_instance_id}.`, {
    hint: `Name the run to compare with: 'cdktr runs list --workflow ${workflow_id}' shows them.`,
  });
}

async function linesOf(
  connection: Connection,
  { workflow_instance_id }: RunDetails,
  task: TaskRunSummary,
): Promise<readonly LogLine[]> {
  const lines: LogLine[] = [];
  for await (const page of searchPages(askPatiently(connection), {
    workflow_instance_id,
    task: task.task_instance_id,
  })) {
    lines.push(...page.lines);
    if (lines.length >= COMPARED_LINES) break;
  }
  return lines.slice(0, COMPARED_LINES);
}
