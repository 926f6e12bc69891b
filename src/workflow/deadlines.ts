/** When the rule `finish_by` of a workflow is due. Pure; days and times of day are those of its zone. */
import { type Calendar, calendarOf, type Day, dayOf } from "./calendar.ts";
import type { FinishBy } from "./expect.ts";
import { aheadMs } from "./expressions/dates.ts";
import { type FiringContext, firingContext, nextFiring, previousFiring } from "./firings.ts";
import { type Entry, type Scheduled, schedulesOf } from "./schedules.ts";

const DAY_MS = 86_400_000;
/** The furthest day that is looked for, in days. */
const FAR_DAYS = 3660;
/** The most days that are looked at for the next deadline: most have a firing before it. */
const MOST_STEPS = 1000;

/** A time by which a run must have completed. */
export interface Deadline {
  /** Ms since the epoch. */
  readonly at_ms: number;
  /** Runs count whose time in the schedule, or without one whose creation, is not before this, ms since the epoch. */
  readonly from_ms: number;
}

/** What decides about the deadlines of a workflow. */
export interface FinishPlan {
  /** The time of day, ms after midnight as the clock shows it. */
  readonly timeMs: number;
  /** IANA name. */
  readonly zone: string;
  /** The days on which it counts; null for all. */
  readonly days: Calendar | null;
  /** The schedules; without any, each day counts. */
  readonly entries: readonly { readonly entry: Entry; readonly context: FiringContext }[];
}

/** What of a workflow decides about its deadlines. */
type WithSchedules = Scheduled & { readonly id: string };

/**
 * The zone of a time of day of a workflow: that of the workflow; without one, that of its schedules if they all have the same; otherwise
 * the principal's.
 */
export function zoneOfWorkflow(workflow: WithSchedules, zone: string): string {
  const zones = new Set(schedulesOf(workflow).map(({ timezone }) => timezone));
  const [only] = zones.size === 1 ? zones : [];
  return workflow.timezone ?? only ?? zone;
}

/**
 * The plan of a workflow.
 * @param zone IANA name of the zone of those that say none
 * @param calendars by name
 */
export function finishPlan(
  by: FinishBy,
  workflow: WithSchedules,
  zone: string,
  calendars: ReadonlyMap<string, Calendar>,
): FinishPlan {
  const [hours = 0, minutes = 0, seconds = 0] = by.time.split(":").map(Number);
  return {
    timeMs: ((hours * 60 + minutes) * 60 + seconds) * 1000,
    zone: by.timezone ?? zoneOfWorkflow(workflow, zone),
    days: by.days === undefined ? null : calendarOf({ include: by.days }),
    // Jitter moves firings, but not their times in the schedule, which are those of the runs.
    entries: schedulesOf(workflow).map((entry) => ({
      entry,
      context: { ...firingContext(workflow.id, entry, zone, calendars), offsetMs: 0 },
    })),
  };
}

/**
 * The instant at which the clocks of a zone show this time on this day: the first one if they show it twice; if they skip it, the
 * instant at which they jump over it.
 * @param timeMs after midnight
 */
export function instantOf(day: Day, timeMs: number, zone: string): number {
  const wanted = day * DAY_MS + timeMs;
  const shown = (at: number): number => at + aheadMs(at, zone);
  const found = [-DAY_MS, 0, DAY_MS]
    .map((away) => wanted - aheadMs(wanted + away, zone))
    .filter((at) => shown(at) === wanted);
  if (found.length > 0) return Math.min(...found);
  let [before, after] = [wanted - 2 * DAY_MS, wanted + 2 * DAY_MS];
  while (after - before > 1) {
    const middle = Math.floor((before + after) / 2);
    if (shown(middle) < wanted) before = middle;
    else after = middle;
  }
  return after;
}

/**
 * The first deadline after `afterMs` (exclusive); null if there is none within ten years.
 * @param sinceMs runs from before that are not asked for: the workflow was not expected to do anything then
 */
export function nextDeadline(plan: FinishPlan, afterMs: number, sinceMs: number): Deadline | null {
  const last = dayOf(afterMs, plan.zone) + FAR_DAYS;
  // Its time of day may be later than that of the deadline.
  let day = dayOf(afterMs, plan.zone) - 1;
  for (let step = 0; step < MOST_STEPS && day <= last; step++) {
    const deadline = deadlineOn(plan, day, sinceMs);
    if (deadline !== null && deadline.at_ms > afterMs) return deadline;
    const next = nextDay(plan, day);
    if (next === null) return null;
    day = next;
  }
  return null;
}

/**
 * The last deadline at or before `atMs`, but not before `firstMs`; null if there is none.
 * @param sinceMs as of {@link nextDeadline}
 */
export function lastDeadline(
  plan: FinishPlan,
  atMs: number,
  firstMs: number,
  sinceMs: number,
): Deadline | null {
  const first = dayOf(firstMs, plan.zone) - 1;
  for (let day = dayOf(atMs, plan.zone) + 1; day >= first; day--) {
    const deadline = deadlineOn(plan, day, sinceMs);
    if (deadline !== null && deadline.at_ms <= atMs) return deadline.at_ms < firstMs ? null : deadline;
  }
  return null;
}

/** The next day that may have a deadline. */
function nextDay({ entries, timeMs, zone, days }: FinishPlan, day: Day): Day | null {
  let next: Day | null = day + 1;
  if (entries.length > 0) {
    // A deadline is about a firing of the day before it.
    const from = instantOf(day, timeMs, zone);
    const firings = entries.flatMap(({ entry, context }) => nextFiring(entry, context, from - 1) ?? []);
    if (firings.length === 0) return null;
    next = Math.max(next, dayOf(Math.min(...firings), zone));
  }
  return days === null || days.has(next) ? next : days.nextDay(next);
}

function deadlineOn({ timeMs, zone, days, entries }: FinishPlan, day: Day, sinceMs: number): Deadline | null {
  if (days !== null && !days.has(day)) return null;
  const at_ms = instantOf(day, timeMs, zone);
  const begin = instantOf(day - 1, timeMs, zone);
  if (entries.length === 0) return begin < sinceMs ? null : { at_ms, from_ms: begin };
  const firings = entries.flatMap(({ entry, context }) => previousFiring(entry, context, at_ms - 1) ?? []);
  const from_ms = Math.max(...firings);
  return firings.length === 0 || from_ms < begin || from_ms < sinceMs ? null : { at_ms, from_ms };
}
