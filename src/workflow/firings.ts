/**
 * When an entry of a schedule fires. Each firing has a time in the schedule, which is that of its run (`scheduled_time`), and is made later
 * than that by the jitter of its workflow. The functions here return the times at which firings are made: the time in the schedule is
 * `offsetMs` before. Start, end and calendar are about the time in the schedule.
 */
import { type Calendar, dayOf, startOfDay } from "./calendar.ts";
import { jitterOf } from "./jitter.ts";
import { nextFiring as nextOfCron, previousFiring as previousOfCron } from "./schedule.ts";
import type { Entry } from "./schedules.ts";

/** What decides when an entry fires, beside itself. */
export interface FiringContext {
  /** IANA name of the zone in which it is evaluated. */
  readonly zone: string;
  /** Its calendar; null if it has none, or if there is none of this name: then it does not fire. */
  readonly calendar: Calendar | null;
  /** The shift of its firings, ms. */
  readonly offsetMs: number;
}

/** A firing that is further away than this is none. */
const FAR_MS = 10 * 366 * 86_400_000;

/**
 * The context of an entry of a workflow.
 * @param zone IANA name of the zone for schedules without one
 * @param calendars by name
 */
export function firingContext(
  workflowId: string,
  { timezone, calendar, jitter_ms }: Entry,
  zone: string,
  calendars: ReadonlyMap<string, Calendar>,
): FiringContext {
  return {
    zone: timezone ?? zone,
    calendar: calendar === undefined ? null : (calendars.get(calendar) ?? null),
    offsetMs: jitter_ms === undefined ? 0 : jitterOf(workflowId, jitter_ms),
  };
}

/** The first firing after `afterMs` (ms since the epoch, exclusive); null if there is none within 10 years. */
export function nextFiring(
  entry: Entry,
  { zone, calendar, offsetMs }: FiringContext,
  afterMs: number,
): number | null {
  if (entry.calendar !== undefined && calendar === null) return null;
  const { end_time_ms: end = Number.POSITIVE_INFINITY, start_time_ms } = entry;
  const schedule = { cron: entry.cron, timezone: zone, start_time_ms };
  let after = afterMs - offsetMs;
  const last = Math.max(after, start_time_ms ?? after) + FAR_MS;
  for (;;) {
    const at = nextOfCron(schedule, after);
    if (at === null || at >= end || at > last) return null;
    if (entry.calendar === undefined || calendar === null) return at + offsetMs;
    const day = dayOf(at, zone);
    if (calendar.has(day)) return at + offsetMs;
    const next = calendar.nextDay(day);
    if (next === null) return null;
    after = Math.max(at, startOfDay(next, zone) - 1);
  }
}

/** The last firing at or before `atMs` (ms since the epoch); null if there is none within 10 years, or since `start_time`. */
export function previousFiring(
  entry: Entry,
  { zone, calendar, offsetMs }: FiringContext,
  atMs: number,
): number | null {
  if (entry.calendar !== undefined && calendar === null) return null;
  const { end_time_ms: end = Number.POSITIVE_INFINITY, start_time_ms } = entry;
  const schedule = { cron: entry.cron, timezone: zone, start_time_ms };
  let until = Math.min(atMs - offsetMs, end - 1);
  const first = until - FAR_MS;
  for (;;) {
    const at = previousOfCron(schedule, until);
    if (at === null || at < first) return null;
    if (entry.calendar === undefined || calendar === null) return at + offsetMs;
    const day = dayOf(at, zone);
    if (calendar.has(day)) return at + offsetMs;
    const previous = calendar.previousDay(day);
    if (previous === null) return null;
    until = Math.min(at - 1, startOfDay(previous + 1, zone) - 1);
  }
}

/**
 * The firings after `afterMs` (exclusive) up to `untilMs` (inclusive), oldest first, at most `limit`. If there are more, the oldest are
 * returned: continue from the last one.
 */
export function firingsBetween(
  entry: Entry,
  context: FiringContext,
  afterMs: number,
  untilMs: number,
  limit = 1000,
): number[] {
  const firings: number[] = [];
  for (let after = afterMs; firings.length < limit; ) {
    const next = nextFiring(entry, context, after);
    if (next === null || next > untilMs) break;
    firings.push(next);
    after = next;
  }
  return firings;
}
