/** What is kept of an expectation beside the time at which it is due. Plain JSON. */

/** In place of the next deadline of a workflow that has none, ms since the epoch. */
export const NEVER_MS = 8.64e15;

/** `start_within` and `max_duration` of a run. */
export interface RunExpectation {
  /** How long it may take, ms. */
  readonly limit_ms: number;
  /** From when on, ms since the epoch. */
  readonly since_ms: number;
}

/** `at_least_every` of a workflow. */
export interface PeriodExpectation {
  /** The end of the last run that completed, or since when it is expected, ms since the epoch. */
  readonly since_ms: number;
  /** That run; absent if none has completed since. */
  readonly run?: string | undefined;
}

/** `finish_by` of a workflow. */
export interface FinishExpectation {
  /** Identifies all that decides about its deadlines. */
  readonly spec: string;
  /** Since when it is expected, ms since the epoch. */
  readonly since_ms: number;
  /** Of the deadline: the runs that count begin here, see {@link Deadline}. */
  readonly from_ms: number;
  /** The last deadline that was kept or broken; null for none. */
  readonly judged_ms: number | null;
  /** The run that completed and whose time is the latest: that time, and when it ended. */
  readonly completed?: { readonly time_ms: number; readonly finished_ms: number } | undefined;
  /** While it is broken: the run that is late; absent if there is none, so that it is missed. */
  readonly run?: string | undefined;
}

/** Parses what is stored; null if it is damaged. */
export function readExpectation<T>(data: string): T | null {
  try {
    const value = JSON.parse(data);
    return typeof value === "object" && value !== null ? (value as T) : null;
  } catch {
    return null;
  }
}
