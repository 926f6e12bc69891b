import type { TaskReport } from "../contract/messages.ts";

type NewTaskReport = Omit<TaskReport, "seq">;

/** How long a report that a task run has begun waits for that of the end, ms. */
const HOLD_MS = 5;
/** The same while very many begin: nobody can follow them, and each report less leaves more of the processor to tasks. */
const BUSY_HOLD_MS = 50;
/** When that is: so many in that time. */
const BUSY_BEGINS = 8;

/**
 * Reports that task runs have begun, held back for a moment: if the end follows at once, one report says both. They have no numbers yet, so
 * that none is missing.
 */
export class BegunReports {
  readonly #held = new Map<string, { readonly report: NewTaskReport; readonly dueMs: number }>();
  /** When the last ones were added (monotonic, ms), in a ring. */
  readonly #begins = new Float64Array(BUSY_BEGINS).fill(Number.NEGATIVE_INFINITY);
  #next = 0;

  /** Adds one. @param nowMs monotonic @returns when it is due (monotonic, ms) */
  hold(report: NewTaskReport, nowMs: number): number {
    const before = this.#begins[this.#next] ?? 0;
    this.#begins[this.#next] = nowMs;
    this.#next = (this.#next + 1) % BUSY_BEGINS;
    const dueMs = nowMs + (nowMs - before < BUSY_HOLD_MS ? BUSY_HOLD_MS : HOLD_MS);
    this.#held.set(report.task_instance_id, { report, dueMs });
    return dueMs;
  }

  /** Removes and returns that of a task run; undefined if it is not held. */
  take(taskInstanceId: string): NewTaskReport | undefined {
    const held = this.#held.get(taskInstanceId);
    this.#held.delete(taskInstanceId);
    return held?.report;
  }

  /** Removes and returns those that are due by `untilMs` (monotonic), oldest first. */
  *takeDue(untilMs: number): Iterable<NewTaskReport> {
    for (const [id, { report, dueMs }] of this.#held) {
      if (dueMs > untilMs) continue;
      this.#held.delete(id);
      yield report;
    }
  }

  /** When the next one is due (monotonic, ms); infinity for none. */
  get nextMs(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const { dueMs } of this.#held.values()) next = Math.min(next, dueMs);
    return next;
  }
}

/** Whether a report says that a task run, of which nothing was reported before, has begun. */
export function isBegin({ status, task_attempt, items_total }: NewTaskReport): boolean {
  return status === "RUNNING" && task_attempt === 1 && items_total === undefined;
}
