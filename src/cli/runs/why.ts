import { lineOf } from "../../contract/log-line.ts";
import type { TaskRunSummary } from "../../contract/messages.ts";
import { RequestRefusedError, RequestUnprocessableError } from "../../protocol/client.ts";
import { command } from "../support/command.ts";
import { type Connection, principalNow, withPrincipal } from "../support/connect.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { findRun, runArg } from "../support/run-id.ts";
import { explain, explanationLines } from "../support/run-why.ts";
import { printJson, printLine } from "../support/stdout.ts";
import { styleFor } from "../support/style.ts";

/** Lines shown of what a failed task printed. */
const SHOWN_LINES = 5;

export default command({
  meta: { name: "why", description: "Explain why a run waits, or why it failed" },
  args: {
    ...runArg,
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    completes: { run: "run" },
    details:
      "For a run that waits: which agent it lacks, and which is nearest; which task is tried again when; which task waits for which. For one that failed: the tasks that failed, their last lines, and what was skipped because of them.",
    see: ["agents list", "logs query"],
    examples: [
      { command: "cdktr runs why 0198c2a4", does: "explain the run whose id begins so" },
      {
        command: "cdktr runs why 0198c2a4 --json | jq -r '.waits[].reason'",
        does: "the reasons, for a program",
      },
    ],
  },
  run: ({ args }) =>
    withPrincipal(args, async (connection) => {
      const run = await findRun(connection, args.run);
      const why = await explain(run, (task) => lastLines(connection, run.workflow_instance_id, task));
      if (args.json) return printJson(why);
      for (const line of explanationLines(run, why, principalNow(), styleFor("stdout")))
        await printLine(line);
    }),
});

async function lastLines(
  { client }: Connection,
  runId: string,
  task: TaskRunSummary,
): Promise<readonly string[]> {
  const search = { workflow_instance_id: runId, task: task.task_instance_id, limit: SHOWN_LINES };
  try {
    const errors = await client.searchLogs({ ...search, level: "ERROR" });
    const page = errors.rows.length > 0 ? errors : await client.searchLogs(search);
    return page.rows.map((row) => lineOf(row).payload);
  } catch (error) {
    if (!(error instanceof RequestRefusedError || error instanceof RequestUnprocessableError)) throw error;
    say(`What task ${task.task_id} printed cannot be read: ${error.message}`);
    return [];
  }
}
