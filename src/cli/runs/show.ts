import { allowedWord } from "../../contract/allowed-failures.ts";
import { brokenText, isBroken } from "../../contract/expectations.ts";
import { itemsWord } from "../../contract/item-counts.ts";
import type { ArtifactsSummary, ItemSummary, RunAttempt, RunDetails } from "../../contract/messages.ts";
import { agentsOf, isSplit } from "../../contract/run-agents.ts";
import { answerCommands, nameOfApproval } from "../../contract/run-approvals.ts";
import { presentError, waitLines } from "../../contract/run-waits.ts";
import { tookMs } from "../../contract/took.ts";
import { NotFoundError, UsageError } from "../../errors.ts";
import { didYouMean } from "../../terminal/did-you-mean.ts";
import { plainText, quote } from "../../terminal/foreign-text.ts";
import { RUN_STATUSES, type RunStatus } from "../../workflow/status.ts";
import { command } from "../support/command.ts";
import { type Connection, principalNow, withPrincipal } from "../support/connect.ts";
import {
  formatBytes,
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
import { itemTable, runJson, shortList, taskTable, timelineOf } from "../support/run-report.ts";
import { printJson, printLine } from "../support/stdout.ts";
import { styleFor } from "../support/style.ts";
import { renderTable } from "../support/table.ts";

export default command({
  meta: { name: "show", description: "Show a run: attempts, tasks, parameters, timeline" },
  args: {
    ...runArg,
    items: {
      type: "string",
      valueHint: "TASK",
      description: "Show the items of this fan-out instead",
    },
    status: {
      type: "enum",
      valueHint: "S",
      options: [...RUN_STATUSES],
      description: "With --items: only items with this status",
    },
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
      {
        command: "cdktr runs show 0198c2a4 --items load --status failed",
        does: "the items of the fan-out load that failed",
      },
    ],
  },
  async run({ args }) {
    if (args.items !== undefined) return showItems(args, args.items);
    if (args.status !== undefined) throw new UsageError("--status needs --items TASK.");
    const { run, failed, left } = await withPrincipal(args, async (connection) => {
      const found = await findRun(connection, args.run, { outputs: args.json === true });
      if (args.json) return { run: found, failed: [], left: [] };
      const { workflow_instance_id } = found;
      // An older principal keeps no files.
      const left = await connection.client.call("LSARTIFACTS", { workflow_instance_id }).catch(() => []);
      return { run: found, failed: await failedItems(connection, found), left };
    });
    if (run.outputs_left_out === true) {
      const sql = `SELECT task_id, outputs FROM task_runs WHERE workflow_instance_id = '${run.workflow_instance_id}'`;
      say(
        `The outputs of the tasks are left out: they have more than 8 MiB together, or the history, which alone has them, is not available. To read them there: cdktr db query "${sql}"`,
      );
    }
    if (args.json) return printJson(runJson(run));
    await printRun(run, failed, left, principalNow());
  },
});

/** What is expected of a run by a time. */
const DUE: Readonly<Record<string, string>> = {
  start_within: "to start",
  max_duration: "to end",
  finish_by: "to complete",
};

/** Number of failed items that are shown with a run. */
const SHOWN_ITEMS = 20;
/** Items in a page. */
const PAGE = 1000;

/** Some of the items that failed, of all fan-outs of a run. */
async function failedItems({ client }: Connection, run: RunDetails): Promise<ItemSummary[]> {
  const failed: ItemSummary[] = [];
  for (const { task_id, items } of run.tasks) {
    const left = SHOWN_ITEMS - failed.length;
    if (left === 0 || (items?.by_status.FAILED ?? 0) === 0) continue;
    const { workflow_instance_id } = run;
    failed.push(
      ...(await client.listItems({ workflow_instance_id, task_id, status: "FAILED", limit: left })),
    );
  }
  return failed;
}

interface ItemArgs {
  readonly run: string;
  readonly status?: RunStatus | undefined;
  readonly json?: boolean | undefined;
  readonly principal?: string | undefined;
}

/** Prints the items of a fan-out, page by page: there may be very many. */
async function showItems(args: ItemArgs, task: string): Promise<void> {
  await withPrincipal(args, async (connection) => {
    const run = await findRun(connection, args.run);
    const found = run.tasks.find(({ task_id }) => task_id === task);
    if (found?.items === undefined) throw noFanOut(run, task);
    const all: ItemSummary[] = [];
    for (let after_index: number | undefined; ; ) {
      const page = await connection.client.listItems({
        workflow_instance_id: run.workflow_instance_id,
        task_id: task,
        limit: PAGE,
        ...(args.status === undefined ? {} : { status: args.status }),
        ...(after_index === undefined ? {} : { after_index }),
        ...(args.json ? { outputs: true } : {}),
      });
      all.push(...page);
      after_index = page.at(-1)?.item_index;
      if (page.length === 0) break;
    }
    if (args.json) return printJson(all);
    await printLine(`${plainText(task)}: ${itemsWord(found.items)}`);
    for (const line of all.length === 0 ? [] : itemTable(all, principalNow())) await printLine(line);
  });
}

function noFanOut(run: RunDetails, task: string): NotFoundError {
  const fanOuts = run.tasks.filter(({ items }) => items !== undefined).map(({ task_id }) => task_id);
  const hint =
    fanOuts.length === 0
      ? "It has no fan-out whose items are known."
      : (didYouMean(task, fanOuts) ?? `Its fan-outs are ${shortList(fanOuts)}.`);
  return new NotFoundError(
    `Run ${run.workflow_instance_id} has no fan-out ${quote(task)}, or its items are not known yet.`,
    { hint },
  );
}

async function printRun(
  run: RunDetails,
  failed: readonly ItemSummary[],
  left: readonly ArtifactsSummary[],
  now: number,
): Promise<void> {
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
  await fact("By", run.actor === undefined ? null : plainText(run.actor));
  const { parent } = run;
  await fact(
    "Parent",
    parent === undefined ? null : `${parent.workflow_instance_id} (task ${plainText(parent.task_id)})`,
  );
  await fact("Backfill", run.backfill_id ?? null);
  await fact("Retry of", run.retry_of);
  await fact("Scheduled", run.scheduled_time_ms === null ? null : time(run.scheduled_time_ms));
  await fact("Created", time(run.created_at_ms));
  await fact("Starts", run.start_at_ms === undefined ? null : time(run.start_at_ms));
  await fact("Started", run.started_at_ms === null ? null : time(run.started_at_ms));
  await fact("Finished", run.finished_at_ms === null ? null : time(run.finished_at_ms));
  const took = tookMs(run, now);
  await fact("Took", took === null ? null : formatDuration(took));
  const agents = agentsOf(run).map(plainText);
  await fact(agents.length > 1 ? "Agents" : "Agent", agents.length === 0 ? null : agents.join(", "));
  await fact("Files", filesOf(run, left));
  await fact("Group", run.group === undefined || run.group === run.workflow_id ? null : plainText(run.group));
  for (const { reason } of run.holds ?? []) await fact("Waits", style.yellow(plainText(reason)));
  for (const line of waitLines(run)) await fact("Waits", style.yellow(plainText(line)));
  for (const each of run.expectations ?? []) {
    if (isBroken(each)) {
      const text = brokenText(each, formatInstant).replace(/^late /, "");
      await fact("Late", style.yellow(plainText(text)));
    } else if (each.due_ms !== null)
      await fact("Expected", `${DUE[each.rule] ?? each.rule} by ${time(each.due_ms)}`);
  }
  for (const approval of run.approvals ?? []) {
    const asks = `${nameOfApproval(approval)}: ${approval.message} (${answerCommands(approval).approve})`;
    await fact("Asks", style.yellow(plainText(asks)));
  }

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
  const failures = run.tasks.reduce((sum, { items }) => sum + (items?.by_status.FAILED ?? 0), 0);
  const more = failures - failed.length;
  await section("FAILED ITEMS", [
    ...(failed.length === 0 ? [] : itemTable(failed, now)),
    ...(more > 0
      ? [`  and ${more.toLocaleString("en")} more: --items TASK --status failed shows them all`]
      : []),
  ]);
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

/** How many files its tasks have left, and how to get them; null for none. */
function filesOf({ workflow_instance_id }: RunDetails, left: readonly ArtifactsSummary[]): string | null {
  const files = left.flatMap((artifacts) => artifacts.files);
  if (files.length === 0) return null;
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  return `${plural(files.length, "file")}, ${formatBytes(bytes)} (cdktr runs artifacts ${workflow_instance_id})`;
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
