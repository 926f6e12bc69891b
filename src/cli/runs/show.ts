import { allowedWord } from "../../contract/allowed-failures.ts";
import type { RunAttempt, RunDetails } from "../../contract/messages.ts";
import { agentsOf, isSplit } from "../../contract/run-agents.ts";
import { presentError, waitLines } from "../../contract/run-waits.ts";
import { tookMs } from "../../contract/took.ts";
import { plainText } from "../../terminal/foreign-text.ts";
import { command } from "../support/command.ts";
import { principalNow, withPrincipal } from "../support/connect.ts";
import {
  formatClock,
  formatDuration,
  formatInstant,
  formatRelative,
  formatStatus,
  plural,
  statusPaint,
} from "../support/format.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { findRun, runArg } from "../support/run-id.ts";
import { runJson, taskTable, timelineOf } from "../support/run-report.ts";
import { printJson, printLine } from "../support/stdout.ts";
import { styleFor } from "../support/style.ts";
import { renderTable } from "../support/table.ts";

export default command({
  meta: { name: "show", description: "Show a run: attempts, tasks, parameters, timeline" },
  args: {
    ...runArg,
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    details:
      "Shows what triggered the run, its parameters, where it ran, and how and when each attempt and each task ended. With --json also what the tasks published, up to 8 MiB together.",
    see: ["logs query"],
    completes: { run: "run" },
    examples: [
      { command: "cdktr runs show 0198c2a4", does: "the run whose id begins so" },
      { command: "cdktr runs show 0198c2a4 --json | jq .tasks", does: "its tasks, for a program" },
    ],
  },
  async run({ args }) {
    const run = await withPrincipal(args, (connection) =>
      findRun(connection, args.run, { outputs: args.json === true }),
    );
    if (run.outputs_left_out === true) {
      const sql = `SELECT task_id, outputs FROM task_runs WHERE workflow_instance_id = '${run.workflow_instance_id}'`;
      say(
        `The outputs of the tasks are left out: they have more than 8 MiB together, or the history, which alone has them, is not available. To read them there: cdktr db query "${sql}"`,
      );
    }
    if (args.json) return printJson(runJson(run));
    await printRun(run, principalNow());
  },
});

async function printRun(run: RunDetails, now: number): Promise<void> {
  const style = styleFor("stdout");
  const time = (ms: number) => `${formatInstant(ms)} (${formatRelative(ms, now)})`;
  const fact = (label: string, value: string | null) =>
    value === null ? Promise.resolve() : printLine(`${style.dim(label.padEnd(10))}${value}`);

  await fact("Run", style.bold(run.workflow_instance_id));
  await fact("Workflow", `${plainText(run.workflow_id)} (${plainText(run.workflow_name)})`);
  await fact("Status", formatStatus(run.status, style));
  await fact("Allowed", allowedWord(run));
  const error = presentError(run);
  await fact("Error", error === null ? null : style.red(plainText(error)));
  await fact("Trigger", plainText(run.trigger));
  await fact("Retry of", run.retry_of);
  await fact("Scheduled", run.scheduled_time_ms === null ? null : time(run.scheduled_time_ms));
  await fact("Created", time(run.created_at_ms));
  await fact("Started", run.started_at_ms === null ? null : time(run.started_at_ms));
  await fact("Finished", run.finished_at_ms === null ? null : time(run.finished_at_ms));
  const took = tookMs(run, now);
  await fact("Took", took === null ? null : formatDuration(took));
  const agents = agentsOf(run).map(plainText);
  await fact(agents.length > 1 ? "Agents" : "Agent", agents.length === 0 ? null : agents.join(", "));
  for (const line of waitLines(run)) await fact("Waits", style.yellow(plainText(line)));

  const section = async (title: string, lines: readonly string[]) => {
    if (lines.length === 0) return;
    await printLine(`\n${style.bold(title)}`);
    for (const line of lines) await printLine(line);
  };
  await section(
    "PARAMETERS",
    Object.entries(run.params).map(([key, value]) => `  ${plainText(key)}=${plainText(value)}`),
  );
  await section(
    "OUTPUTS",
    Object.entries(run.outputs ?? {}).map(
      ([name, value]) => `  ${plainText(name)}=${plainText(valueText(value))}`,
    ),
  );
  await section("ATTEMPTS", attemptLines(run, now));
  const tasks = taskTable(run, now, { resources: true });
  await section("TASKS", tasks.length > 1 ? tasks : []);
  await section(
    "TIMELINE",
    timelineOf(run).map(({ timestamp_ms, event, slice, attempt, task_id }) => {
      const part = slice === null || slice === 0 ? "" : `slice ${slice}, `;
      const subject = task_id ?? (attempt === null ? "run" : `${part}attempt ${attempt}`);
      // What a retry carries over happened before it.
      const distance = timestamp_ms - run.created_at_ms;
      const offset = `${distance < 0 ? "-" : "+"}${formatDuration(Math.abs(distance))}`;
      return `  ${style.dim(formatClock(timestamp_ms))} ${style.dim(offset.padStart(9))}  ${plainText(subject)}: ${plainText(event)}`;
    }),
  );
}

/** The value of an output: text as it is, everything else as JSON. */
function valueText(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** With more attempts of slices than this, those that COMPLETED are only counted. */
const SHOWN_ATTEMPTS = 20;

function attemptLines(run: RunDetails, now: number): string[] {
  const { attempts } = run;
  if (attempts.length === 0) return [];
  if (!isSplit(run) || attempts.length <= SHOWN_ATTEMPTS) return attemptTable(run, attempts, now);
  const others = attempts.filter(({ status }) => status !== "COMPLETED");
  const completed = attempts.length - others.length;
  return [
    ...(others.length > 0 ? attemptTable(run, others, now) : []),
    ...(completed > 0
      ? [`  ${plural(completed, "slice", "slices")} COMPLETED${others.length > 0 ? " besides" : ""}`]
      : []),
  ];
}

function attemptTable(run: RunDetails, attempts: readonly RunAttempt[], now: number): string[] {
  const duration = { duration_ms: run.duration_ms };
  const style = styleFor("stdout");
  return renderTable<RunAttempt>(
    [
      ...(isSplit(run)
        ? [{ title: "SLICE", value: (attempt: RunAttempt) => String(attempt.slice), align: "right" as const }]
        : []),
      { title: "ATTEMPT", value: (attempt) => String(attempt.attempt), align: "right" },
      {
        title: "STATUS",
        value: (attempt) => formatStatus(attempt.status, style),
        paint: (attempt) => statusPaint(attempt.status, style),
      },
      { title: "AGENT", value: (attempt) => attempt.agent_id ?? "-", flexible: true },
      {
        title: "STARTED",
        value: (attempt) => (attempt.started_at_ms === null ? "-" : formatInstant(attempt.started_at_ms)),
      },
      {
        title: "TOOK",
        value: (attempt) => {
          // The only attempt is the run.
          const took = tookMs({ ...attempt, ...(run.attempts.length === 1 ? duration : {}) }, now);
          return took === null ? "-" : formatDuration(took);
        },
        align: "right",
      },
      { title: "ERROR", value: (attempt) => attempt.error ?? "", flexible: true },
    ],
    attempts,
    { indent: 2 },
  );
}
