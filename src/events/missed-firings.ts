/** Which firings of a schedule still count when it is late: after a restart, a jump of the clock, a principal that was away. */
import { previousFiring, type Schedule } from "../workflow/schedule.ts";

/** What a workflow wants of firings that were missed. */
export type Catchup = "none" | "latest" | "all";

/** With `all`, the newest so many are run. */
export const MAX_CATCHUP = 100;

/** The newest firings after `afterMs` (not included) up to `untilMs` (included), at most {@link MAX_CATCHUP}, oldest first. */
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
 * The firings of `due` (oldest first) that are to be run.
 * @param graceMs those that are no later than this were not missed, only late: they all run
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
