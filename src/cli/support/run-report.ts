/** Run reports for people and programs: the JSON of the contract, the status line, the table of tasks. */

import { allowedSuffix, allowedWord } from "../../contract/allowed-failures.ts";
import { childWord } from "../../contract/child-runs.ts";
import { itemsWord } from "../../contract/item-counts.ts";
import type { ItemSummary, RunDetails, TaskRunSummary } from "../../contract/messages.ts";
import { agentsWord, isShared } from "../../contract/run-agents.ts";
import { presentError } from "../../contract/run-waits.ts";
import { tookMs } from "../../contract/took.ts";
import { plainText } from "../../terminal/foreign-text.ts";
import { allTasks } from "../../workflow/hooks.ts";
import { nodeId } from "../../workflow/item-id.ts";
import type { TaskDefinition } from "../../workflow/model.ts";
import { RUN_TRANSITIONS } from "../../workflow/run-state.ts";
import { isTerminal } from "../../workflow/status.ts";
import { formatDuration, formatStatus, statusPaint } from "./format.ts";
import { type Style, styleFor } from "./style.ts";
import { renderTable } from "./table.ts";

/** The output of `task run --wait --json`. */
export function runOutcomeJson(run: RunDetails) {
  return {
    workflow_id: run.workflow_id,
    workflow_instance_id: run.workflow_instance_id,
    status: run.status,
    attempt: run.attempt,
    ...(run.allowed_failures === undefined ? {} : { allowed_failures: run.allowed_failures }),
    ...(run.outputs === undefined ? {} : { outputs: run.outputs }),
    tasks: run.tasks.map(
      ({ task_id, status, exit_code, started_at_ms, finished_at_ms, agent_id, is_allowed, child }) => ({
        task_id,
        status,
        exit_code,
        started_at_ms,
        finished_at_ms,
        agent_id,
        ...(is_allowed === true ? { is_allowed } : {}),
        ...(child === undefined ? {} : { child }),
      }),
    ),
  };
}

/** An event in the life of a run. */
export interface TimelineEntry {
  readonly timestamp_ms: number;
  readonly event: string;
  /** Slice of the attempt; 0 for that of a whole run, null for an event of the run. */
  readonly slice: number | null;
  readonly attempt: number | null;
  readonly task_id: string | null;
}

/** The output of `runs show --json`: everything the principal knows, plus the timeline. */
export function runJson(run: RunDetails) {
  return { ...run, timeline: timelineOf(run) };
}

/** The events of a run in order; events at the same time are sorted by their logical order. */
export function timelineOf(run: RunDetails): TimelineEntry[] {
  const entries: TimelineEntry[] = [
    {
      timestamp_ms: run.created_at_ms,
      event: `created by ${run.trigger}`,
      slice: null,
      attempt: null,
      task_id: null,
    },
  ];
  const add = (
    timestamp_ms: number | null,
    event: string,
    { slice, attempt }: { slice: number; attempt: number },
    task_id: string | null = null,
  ) => {
    if (timestamp_ms !== null) entries.push({ timestamp_ms, event, slice, attempt, task_id });
  };
  // Of slices, what went well is told by their tasks.
  const attempts = run.attempts.filter(({ slice, status }) => slice === 0 || status !== "COMPLETED");
  for (const attempt of attempts) {
    const on = attempt.agent_id === null ? "" : ` on ${attempt.agent_id}`;
    add(attempt.started_at_ms, `RUNNING${on}`, attempt);
  }
  const shared = isShared(run);
  for (const task of run.tasks) {
    const on = shared && task.agent_id !== null ? ` on ${task.agent_id}` : "";
    // What no agent executes has no tries: it waits.
    const began = task.task_attempt === 0 && task.agent_id === null ? "WAITING" : `RUNNING${on}`;
    add(task.started_at_ms, began, task, task.task_id);
    add(task.finished_at_ms, `${task.status}${allowedSuffix(task)}`, task, task.task_id);
  }
  for (const attempt of attempts) {
    const why = attempt.error === null ? "" : `: ${attempt.error}`;
    add(attempt.finished_at_ms, `${attempt.status}${why}`, attempt);
  }
  return entries
    .map((entry, order) => ({ entry, order }))
    .sort((a, b) => a.entry.timestamp_ms - b.entry.timestamp_ms || a.order - b.order)
    .map(({ entry }) => entry);
}

/** One line: the current or final status of the run. @param isKept whether the run can be looked up by its id */
export function statusLine(
  run: RunDetails,
  now: number,
  style: Style = styleFor("stdout"),
  isKept = true,
): string {
  const parts = [formatStatus(run.status, style), style.bold(run.workflow_id)];
  if (isKept) parts.push(run.workflow_instance_id);
  const took = tookMs(run, now);
  if (took !== null) {
    const time = formatDuration(took);
    const isOver = isTerminal(RUN_TRANSITIONS, run.status);
    parts.push(isOver ? `in ${time}` : run.status === "RUNNING" ? `for ${time}` : `started ${time} ago`);
  }
  const agents = agentsWord(run);
  if (agents !== null) parts.push(`on ${plainText(agents)}`);
  if (run.attempt > 1) parts.push(`(attempt ${run.attempt})`);
  const allowed = allowedWord(run);
  if (allowed !== null) parts.push(`(${allowed})`);
  const error = presentError(run);
  return parts.join(" ") + (error === null ? "" : `\n${style.red(plainText(error))}`);
}

/** The tasks of a run with duration and outcome, including those that have not started. */
export function taskTable(run: RunDetails, now: number, options: { resources?: boolean } = {}): string[] {
  const style = styleFor("stdout");
  const took = (task: TaskRunSummary) => {
    const ms = tookMs(task, now);
    return ms === null ? "-" : formatDuration(ms);
  };
  const ended = (task: TaskRunSummary) =>
    task.signal ?? (task.exit_code === null ? "-" : String(task.exit_code));
  const resources = options.resources ?? false;
  const order = new Map(tasksWithHooks(run).map((task, i) => [task.id, i]));
  const rows = [...run.tasks, ...tasksToCome(run)].sort(
    (a, b) => (order.get(a.task_id) ?? 0) - (order.get(b.task_id) ?? 0),
  );
  const tries = rows.some((task) => task.task_attempt > 1);
  return renderTable<TaskRunSummary>(
    [
      {
        title: "TASK",
        value: (task) => (task.hook === true ? `${task.task_id} (hook)` : task.task_id),
        flexible: true,
      },
      {
        title: "STATUS",
        value: (task) => `${formatStatus(task.status, style)}${allowedSuffix(task)}`,
        paint: (task) => statusPaint(task.status, style),
      },
      ...(rows.some((task) => task.items !== undefined)
        ? [
            {
              title: "ITEMS",
              value: (task: TaskRunSummary) => (task.items === undefined ? "" : itemsWord(task.items)),
              flexible: true,
            },
          ]
        : []),
      ...runColumn(rows),
      ...(isShared(run)
        ? [{ title: "AGENT", value: (task: TaskRunSummary) => task.agent_id ?? "-", flexible: true }]
        : []),
      { title: "TOOK", value: took, align: "right" },
      { title: "EXIT", value: ended, align: "right" },
      ...(tries || resources
        ? [
            {
              title: "TRIES",
              value: (task: TaskRunSummary) => String(task.task_attempt),
              align: "right" as const,
            },
          ]
        : []),
      ...(resources
        ? [
            {
              title: "CPU",
              value: (task: TaskRunSummary) => (task.cpu_ms === null ? "-" : formatDuration(task.cpu_ms)),
              align: "right" as const,
              dispensable: true,
            },
            {
              title: "PEAK MEM",
              value: (task: TaskRunSummary) =>
                task.max_rss_kb === null ? "-" : `${(task.max_rss_kb / 1024).toFixed(1)} MiB`,
              align: "right" as const,
              dispensable: true,
            },
          ]
        : []),
      ...(rows.some((task) => task.error !== null)
        ? [{ title: "ERROR", value: (task: TaskRunSummary) => task.error ?? "", flexible: true }]
        : []),
    ],
    rows,
    { indent: 2 },
  );
}

/** The runs that tasks, or items, have started; no column if there are none. */
function runColumn<T extends TaskRunSummary>(tasks: readonly T[]) {
  if (tasks.every(({ child }) => child === undefined)) return [];
  const value = ({ child }: T) => (child === undefined ? "" : childWord(child));
  return [{ title: "RUN", value, flexible: true }];
}

/** Items of a fan-out with duration and outcome. */
export function itemTable(items: readonly ItemSummary[], now: number): string[] {
  const style = styleFor("stdout");
  return renderTable<ItemSummary>(
    [
      { title: "ITEM", value: (item) => nodeId(item.task_id, item.item_key), flexible: true },
      {
        title: "STATUS",
        value: (item) => formatStatus(item.status, style),
        paint: (item) => statusPaint(item.status, style),
      },
      ...runColumn(items),
      { title: "AGENT", value: (item) => item.agent_id ?? "-", flexible: true },
      {
        title: "TOOK",
        value: (item) => {
          const ms = tookMs(item, now);
          return ms === null ? "-" : formatDuration(ms);
        },
        align: "right",
      },
      {
        title: "EXIT",
        value: ({ signal, exit_code }) => signal ?? (exit_code === null ? "-" : String(exit_code)),
        align: "right",
      },
      { title: "TRIES", value: (item) => String(item.task_attempt), align: "right" },
      ...(items.some(({ error }) => error !== null)
        ? [{ title: "ERROR", value: (item: ItemSummary) => item.error ?? "", flexible: true }]
        : []),
    ],
    items,
    { indent: 2 },
  );
}

/** Tasks of a run that is not over, of which nothing is known yet. */
function tasksToCome(run: RunDetails): TaskRunSummary[] {
  if (isTerminal(RUN_TRANSITIONS, run.status)) return [];
  const known = new Set(run.tasks.map((task) => task.task_id));
  return tasksWithHooks(run)
    .filter(({ id }) => !known.has(id))
    .map(({ id }) => ({
      task_id: id,
      task_instance_id: "",
      slice: 0,
      attempt: run.attempt,
      task_attempt: 0,
      status: "PENDING",
      exit_code: null,
      signal: null,
      error: null,
      cpu_ms: null,
      max_rss_kb: null,
      started_at_ms: null,
      finished_at_ms: null,
      agent_id: null,
    }));
}

function tasksWithHooks({ definition }: RunDetails): readonly TaskDefinition[] {
  return definition === null ? [] : allTasks(definition);
}

/** Names that are given before the number of the others. */
const NAMED = 8;

/** A list of names, shortened: `a, b, … and 3 more`. */
export function shortList(names: readonly string[], most = NAMED): string {
  if (names.length <= most) return names.join(", ");
  return `${names.slice(0, most).join(", ")} and ${names.length - most} more`;
}
