/** The last log lines of what an alert is about, for messages. */
import { lineOf } from "../../contract/log-line.ts";
import type { LogPage, SearchLogs } from "../../contract/messages.ts";
import { errorMessage } from "../../errors.ts";
import { pause } from "../../timer.ts";
import type { AlertForMessage, Fact } from "./senders/sender.ts";

/** How many lines are told. */
const MOST_LINES = 20;
/** How long lines that are on their way are waited for, and how long all may take, ms. */
const ARRIVE_MS = 2000;
const LOOKUP_MS = 5000;

/** The end of a log. */
export interface LogTail {
  /** Whose log it is; null for that of the whole run. */
  readonly task: string | null;
  /** Oldest first. */
  readonly lines: readonly string[];
  /** Why there are none, or may be more; null if that is all. */
  readonly problem: string | null;
}

/** A task that failed, as the facts of an alert have it. */
export interface FailedTask {
  readonly task_id: string;
  readonly task_instance_id: string | null;
  readonly item_key: string | null;
  readonly status: string;
  readonly exit_code: number | null;
  readonly signal: string | null;
  readonly error: string | null;
}

/** The failed tasks that the facts of an alert name; what another version has written otherwise is left out. */
export function failedTasksOf({ facts }: AlertForMessage): FailedTask[] {
  const all = Array.isArray(facts.failed_tasks) ? (facts.failed_tasks as readonly Fact[]) : [];
  const tasks = all.flatMap((fact): FailedTask[] => {
    if (typeof fact !== "object" || fact === null || Array.isArray(fact)) return [];
    const task = fact as Readonly<Record<string, Fact | undefined>>;
    if (typeof task.task_id !== "string") return [];
    const text = (value: Fact | undefined) => (typeof value === "string" ? value : null);
    return [
      {
        task_id: task.task_id,
        task_instance_id: text(task.task_instance_id),
        item_key: text(task.item_key),
        status: text(task.status) ?? "FAILED",
        exit_code: typeof task.exit_code === "number" ? task.exit_code : null,
        signal: text(task.signal),
        error: text(task.error),
      },
    ];
  });
  // A fan-out has failed because its items have.
  const withItems = new Set(tasks.flatMap(({ task_id, item_key }) => (item_key === null ? [] : task_id)));
  return tasks.filter(({ task_id, item_key }) => item_key !== null || !withItems.has(task_id));
}

/** The name of a task, with its item. */
export function nameOfTask({ task_id, item_key }: FailedTask): string {
  return item_key === null ? task_id : `${task_id}[${item_key}]`;
}

/** What {@link logTails} needs. */
export interface LogTailOptions {
  readonly history: {
    searchLogs(search: SearchLogs): Promise<LogPage>;
    /** Whether line `seq` of a stream arrives within the time. */
    waitReceived(streamId: string, seq: number, timeoutMs: number): Promise<boolean>;
  };
  /** How long all may take, ms. */
  readonly limitMs?: number;
  /** The last line of a run that is over, of each agent that had a part of it. */
  readonly runs: {
    logEnds(runId: string): Promise<readonly { readonly streamId: string; readonly seq: number }[]>;
  };
}

/** Looks up the ends of logs. An alert about no failed run has none; that the history is away is no reason not to tell. */
export function logTails({ history, runs, limitMs = LOOKUP_MS }: LogTailOptions) {
  const lookUp = async (run: string, task: FailedTask | undefined): Promise<LogTail> => {
    const ends = await runs.logEnds(run);
    const received = await Promise.all(
      ends.map(({ streamId, seq }) => history.waitReceived(streamId, seq, ARRIVE_MS)),
    );
    const search = { workflow_instance_id: run, limit: MOST_LINES };
    const id = task?.task_instance_id ?? null;
    let isOfTask = id !== null;
    let page = await history.searchLogs(id === null ? search : { ...search, task: id });
    // It has said nothing: others may have.
    if (isOfTask && page.rows.length === 0) {
      isOfTask = false;
      page = await history.searchLogs(search);
    }
    return {
      task: task === undefined || !isOfTask ? null : nameOfTask(task),
      lines: page.rows.map((row) => lineOf(row).payload),
      problem:
        page.warning ?? (received.every((one) => one) ? null : "lines of its agent are still on their way"),
    };
  };
  return async (alert: AlertForMessage, signal: AbortSignal): Promise<LogTail | null> => {
    const { kind, about, workflow_instance_id: run } = alert;
    if (kind !== "failed" || about !== "raised" || run === null) return null;
    const [task] = failedTasksOf(alert);
    const late = new AbortController();
    const stop = () => late.abort();
    signal.addEventListener("abort", stop);
    const none = (problem: string): LogTail => ({
      task: task === undefined ? null : nameOfTask(task),
      lines: [],
      problem,
    });
    try {
      return await Promise.race([
        lookUp(run, task).catch((error: unknown) => none(errorMessage(error).replace(/\.$/, ""))),
        pause(limitMs, late.signal).then(() => none("the history did not answer in time")),
      ]);
    } finally {
      stop();
      signal.removeEventListener("abort", stop);
    }
  };
}
