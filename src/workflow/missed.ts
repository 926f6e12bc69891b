/** Which late firings of a schedule still count: after a restart, a clock jump, a pause, or an absence of the principal. */
import { type FiringContext, previousFiring } from "./firings.ts";
import type { Catchup, Entry } from "./schedules.ts";

/** With `all`, at most this many of the newest are run. */
export const MAX_CATCHUP = 100;

/** The newest firings after `afterMs` (exclusive) up to `untilMs` (inclusive), at most {@link MAX_CATCHUP}, oldest first. */
export function firingsDue(entry: Entry, context: FiringContext, afterMs: number, untilMs: number): number[] {
  const due: number[] = [];
  let at = previousFiring(entry, context, untilMs);
  while (at !== null && at > afterMs && due.length < MAX_CATCHUP) {
    due.unshift(at);
    at = previousFiring(entry, context, at - 1);
  }
  return due;
}

/** What becomes of late firings; each oldest first. */
export interface LateFirings {
  readonly run: readonly number[];
  readonly dropped: readonly number[];
}

/**
 * Sorts the firings of `due` (oldest first) into those to run and those that are dropped.
 * @param windowMs firings that are later than this are dropped; undefined for no limit
 * @param graceMs firings no later than this were not missed, only late: they all run
 */
export function firingsToRun(
  due: readonly number[],
  catchup: Catchup,
  windowMs: number | undefined,
  nowMs: number,
  graceMs: number,
): LateFirings {
  const isLate = (at: number): boolean => nowMs - at <= graceMs;
  const caught = due.filter((at) => isLate(at) || nowMs - at <= (windowMs ?? Number.POSITIVE_INFINITY));
  const run = new Set(keptOf(caught, catchup, caught.filter(isLate)));
  return { run: [...run], dropped: due.filter((at) => !run.has(at)) };
}

function keptOf(caught: readonly number[], catchup: Catchup, late: readonly number[]): readonly number[] {
  switch (catchup) {
    case "all":
      return caught.slice(-MAX_CATCHUP);
    case "latest":
      return late.length > 0 ? late : caught.slice(-1);
    case "none":
      return late;
  }
}
