/** Decides which late firings of a schedule still count: after a restart, a clock jump, or an absence of the principal. */
import { previousFiring, type Schedule } from "../workflow/schedule.ts";

/** A workflow's policy for missed firings. */
export type Catchup = "none" | "latest" | "all";

/** With `all`, at most this many of the newest are run. */
export const MAX_CATCHUP = 100;

/** The newest firings after `afterMs` (exclusive) up to `untilMs` (inclusive), at most {@link MAX_CATCHUP}, oldest first. */
export function firingsDue(schedule: Schedule, afterMs: number, untilMs: number): number[] {
  const due: number[] = [];
  let at = previousFiring(schedule, untilMs);
  while (at !== null && at > afterMs && due.length < MAX_CATCHUP) {
    due.unshift(at);
    at = previousFiring(schedule, at - 1);
  }
  return due;
}

/**
 * The firings of `due` (oldest first) to run.
 * @param graceMs firings no later than this were not missed, only late: they all run
 */
export function firingsToRun(
  due: readonly number[],
  catchup: Catchup,
  nowMs: number,
  graceMs: number,
): number[] {
  const late = due.filter((at) => nowMs - at <= graceMs);
  switch (catchup) {
    case "all":
      return due.slice(-MAX_CATCHUP);
    case "latest":
      return late.length > 0 ? late : due.slice(-1);
    case "none":
      return late;
  }
}
