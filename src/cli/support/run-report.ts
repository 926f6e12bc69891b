/** Run reports for people and programs: the JSON of the contract, the status line, the table of tasks. */
import type { RunDetails, TaskRunSummary } from "../../contract/messages.ts";
import { plainText } from "../../terminal/foreign-text.ts";
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
    tasks: run.tasks.map(({ task_id, status, exit_code, started_at_ms, finished_at_ms }) => ({
      task_id,
      status,
      exit_code,
      started_at_ms,
      finished_at_ms,
    })),
  };
}

/** An event in the life of a run. */
export interface TimelineEntry {
  readonly timestamp_ms: number;
  readonly event: string;
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
    { timestamp_ms: run.created_at_ms, event: `created by ${run.trigger}`, attempt: null, task_id: null },
  ];
  const add = (
    timestamp_ms: number | null,
    event: string,
    attempt: number | null,
    task_id: string | null,
  ) => {
    if (timestamp_ms !== null) entries.push({ timestamp_ms, event, attempt, task_id });
  };
  for (const attempt of run.attempts) {
    const on = attempt.agent_id === null ? "" : ` on ${attempt.agent_id}`;
    add(attempt.started_at_ms, `RUNNING${on}`, attempt.attempt, null);
  }
  for (const task of run.tasks) {
    add(task.started_at_ms, "RUNNING", task.attempt, task.task_id);
    add(task.finished_at_ms, task.status, task.attempt, task.task_id);
  }
  for (const attempt of run.attempts) {
    const why = attempt.error === null ? "" : `: ${attempt.error}`;
    add(attempt.finished_at_ms, `${attempt.status}${why}`, attempt.attempt, null);
  }
  return entries
    .map((entry, order) => ({ entry, order }))
    .sort((a, b) => a.entry.timestamp_ms - b.entry.timestamp_ms || a.order - b.order)
    .map(({ entry }) => entry);
}

/** One line: the current or final status of the run. */
export function statusLine(run: RunDetails, now: number, style: Style = styleFor("stdout")): string {
  const parts = [formatStatus(run.status, style), style.bold(run.workflow_id), run.workflow_instance_id];
  if (run.started_at_ms !== null) {
    parts.push(`in ${formatDuration((run.finished_at_ms ?? now) - run.started_at_ms)}`);
  }
  if (run.agent_id !== null) parts.push(`on ${plainText(run.agent_id)}`);
  if (run.attempt > 1) parts.push(`(attempt ${run.attempt})`);
  return parts.join(" ") + (run.error === null ? "" : `\n${style.red(plainText(run.error))}`);
}

/** The tasks of a run with duration and outcome, including those that have not started. */
export function taskTable(run: RunDetails, now: number, options: { resources?: boolean } = {}): string[] {
  const style = styleFor("stdout");
  const took = (task: TaskRunSummary) =>
    task.started_at_ms === null ? "-" : formatDuration((task.finished_at_ms ?? now) - task.started_at_ms);
  const ended = (task: TaskRunSummary) =>
    task.signal ?? (task.exit_code === null ? "-" : String(task.exit_code));
  const resources = options.resources ?? false;
  const order = new Map(run.definition?.tasks.map((task, i) => [task.id, i]));
  const rows = [...run.tasks].sort((a, b) => (order.get(a.task_id) ?? 0) - (order.get(b.task_id) ?? 0));
  const tries = rows.some((task) => task.task_attempt > 1);
  return renderTable<TaskRunSummary>(
    [
      { title: "TASK", value: (task) => task.task_id, flexible: true },
      {
        title: "STATUS",
        value: (task) => formatStatus(task.status, style),
        paint: (task) => statusPaint(task.status, style),
      },
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
            },
            {
              title: "PEAK MEM",
              value: (task: TaskRunSummary) =>
                task.max_rss_kb === null ? "-" : `${(task.max_rss_kb / 1024).toFixed(1)} MiB`,
              align: "right" as const,
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
