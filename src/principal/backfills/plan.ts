/**
 * Which firings a backfill has, and which of them become runs. Pure: it knows neither the state nor the time of day. A firing is the time in
 * the schedule of an entry; jitter has no part in it, because a backfill makes its runs when it can.
 */
import type { HistoricFiring } from "../../contract/history.ts";
import type { Calendar } from "../../workflow/calendar.ts";
import { startOfDay } from "../../workflow/calendar.ts";
import { firingsBetween } from "../../workflow/firings.ts";
import { RUN_TRANSITIONS } from "../../workflow/run-state.ts";
import { type Entry, entryKey, firingKey } from "../../workflow/schedules.ts";
import { isTerminal } from "../../workflow/status.ts";

/** What becomes of a firing that has had a run: `none`: nothing; `failed`: another run if its newest one failed; `all`: another run. */
export type Reprocess = "none" | "failed" | "all";

/** An entry of a schedule, with the part of the time that is backfilled. */
export interface PlannedEntry {
  /** Identifies it among the entries of the backfill. */
  readonly key: string;
  readonly entry: Entry;
  /** IANA name. */
  readonly zone: string;
  /** Null if it has none, or if there is none of this name: then it does not fire. */
  readonly calendar: Calendar | null;
  /** Both inclusive, ms since the epoch. */
  readonly fromMs: number;
  readonly toMs: number;
}

/** A firing: the time in the schedule of an entry. */
export interface PlannedFiring {
  /** ms since the epoch. */
  readonly atMs: number;
  readonly planned: PlannedEntry;
}

/** The last firing that is done with. */
export interface PlanCursor {
  readonly at_ms: number;
  /** The key of its entry. */
  readonly entry: string;
}

const DAY_MS = 86_400_000;
const DATE = /^\d{4}-\d{2}-\d{2}$/;

/**
 * The bounds of a backfill in a zone, both inclusive. A date is the whole day, anything else a point in time.
 * @param from, to `2026-01-31`, or RFC 3339
 */
export function boundsOf(from: string, to: string, zone: string): { fromMs: number; toMs: number } {
  const day = (date: string) => Math.floor(Date.parse(`${date}T00:00:00Z`) / DAY_MS);
  return {
    fromMs: DATE.test(from) ? startOfDay(day(from), zone) : Date.parse(from),
    toMs: DATE.test(to) ? startOfDay(day(to) + 1, zone) - 1 : Date.parse(to),
  };
}

/**
 * The firings of entries, in the order of the plan: by time, then in the order of the entries. Entries that fire at the same time with the
 * same parameters make one firing, that of the first of them.
 * @param after the firing after which to go on; from the beginning by default
 */
export function* planBackfill(
  entries: readonly PlannedEntry[],
  reverse: boolean,
  after: PlanCursor | null = null,
): Generator<PlannedFiring> {
  const order = new Map(entries.map(({ key }, index) => [key, index]));
  const passed = after === null ? -1 : (order.get(after.entry) ?? -1);
  const sources = entries.map((planned) => firingsOf(planned, reverse, after?.at_ms ?? null));
  const heads = sources.map((source) => source.next().value ?? null);
  for (;;) {
    const at = heads.reduce((best: number | null, head) => {
      if (head === null) return best;
      return best === null || head < best !== reverse ? head : best;
    }, null);
    if (at === null) return;
    const seen = new Set<string>();
    for (const [index, planned] of entries.entries()) {
      if (heads[index] !== at) continue;
      heads[index] = sources[index]?.next().value ?? null;
      const key = firingKey("", planned.entry, at);
      if (seen.has(key)) continue;
      seen.add(key);
      if (at === after?.at_ms && index <= passed) continue;
      yield { atMs: at, planned };
    }
  }
}

/** The firings of one entry, from the one at `fromMs` on. */
function firingsOf(
  planned: PlannedEntry,
  reverse: boolean,
  fromMs: number | null,
): Generator<number, undefined> {
  return reverse
    ? backwards(planned, Math.min(planned.toMs, fromMs ?? planned.toMs))
    : forwards(planned, Math.max(planned.fromMs, fromMs ?? planned.fromMs));
}

/** How many firings are computed at once at most. */
const AT_ONCE = 20;

function* forwards(planned: PlannedEntry, fromMs: number): Generator<number, undefined> {
  let after = fromMs - 1;
  // Whoever asks for the next page may name any time. A few at first: often no more are wanted.
  for (let count = 1; after < planned.toMs; count = Math.min(count * 2, AT_ONCE)) {
    const some = between(planned, after, planned.toMs, count);
    yield* some;
    const last = some.at(-1);
    if (last === undefined || some.length < count) return;
    after = last;
  }
}

/** The shortest and the longest stretch of time that is looked at at once, ms, and the most firings in one that is not the shortest. */
const SHORTEST_MS = 60_000;
const LONGEST_MS = 366 * DAY_MS;
const MOST_IN_STRETCH = 100;

/**
 * From the newest to the oldest: stretches of time from the end, each in the order of the clock, so that the firings are the same in both
 * directions, also where the clock is set back.
 */
function* backwards(planned: PlannedEntry, toMs: number): Generator<number, undefined> {
  let stretch = SHORTEST_MS;
  for (let until = toMs; until >= planned.fromMs; ) {
    const after = Math.max(planned.fromMs - 1, until - stretch);
    const some = between(planned, after, until, MOST_IN_STRETCH);
    if (some.length === MOST_IN_STRETCH && stretch > SHORTEST_MS) {
      stretch = Math.max(stretch / 8, SHORTEST_MS);
      continue;
    }
    yield* some.reverse();
    until = after;
    if (some.length < AT_ONCE / 4) stretch = Math.min(stretch * 4, LONGEST_MS);
  }
}

function between(
  { entry, zone, calendar }: PlannedEntry,
  afterMs: number,
  untilMs: number,
  limit: number,
): number[] {
  return firingsBetween(entry, { zone, calendar, offsetMs: 0 }, afterMs, untilMs, limit);
}

/** Under which key a firing of a workflow is triggered, by whomever. */
export function keyOfFiring(workflowId: string, { atMs, planned }: PlannedFiring): string {
  return `RUNTASK ${workflowId} ${firingKey(workflowId, planned.entry, atMs)}`;
}

/**
 * Those of the runs of a workflow that are runs of this firing: what a schedule or a backfill has made for it, and retries of these, oldest
 * first.
 * @param known runs with the time of the firing; others are passed over
 * @param entries those of the backfill
 */
export function runsOfFiring(
  { atMs, planned }: PlannedFiring,
  known: readonly HistoricFiring[],
  entries: readonly PlannedEntry[],
): readonly HistoricFiring[] {
  const byId = new Map(known.map((run) => [run.workflow_instance_id, run]));
  const mine = firingKey("", planned.entry, atMs);
  return known
    .filter((run) => {
      if (run.scheduled_time_ms !== atMs) return false;
      const made = rootOf(run, byId);
      // The root of a retry may be known to nobody any more.
      if (!["cron", "backfill", "retry"].includes(made.trigger)) return false;
      const by = entries.find(({ entry }) => entryKey(entry) === made.schedule);
      return by === undefined ? fits(planned.entry, made) : firingKey("", by.entry, atMs) === mine;
    })
    .sort((a, b) => a.created_at_ms - b.created_at_ms);
}

/** The run that was retried first. */
function rootOf(run: HistoricFiring, byId: ReadonlyMap<string, HistoricFiring>): HistoricFiring {
  const before = run.retry_of === null ? undefined : byId.get(run.retry_of);
  return before === undefined ? run : rootOf(before, byId);
}

/** Whether a run of an entry that is not known any more may be one of this entry: it has its parameters. */
function fits({ params = {} }: Entry, run: HistoricFiring): boolean {
  return Object.entries(params).every(([name, value]) => run.params[name] === value);
}

/**
 * The run because of which a firing makes none; null if it makes one.
 * @param runs those of the firing, oldest first
 */
export function presentRun(reprocess: Reprocess, runs: readonly HistoricFiring[]): HistoricFiring | null {
  const unfinished = runs.findLast(({ status }) => !isTerminal(RUN_TRANSITIONS, status));
  if (unfinished !== undefined) return unfinished;
  // One that was SKIPPED has never run.
  const newest = runs.findLast(({ status }) => status !== "SKIPPED");
  if (newest === undefined || reprocess === "all") return null;
  return reprocess === "failed" && newest.status !== "COMPLETED" ? null : newest;
}

/** What is known of how fast a backfill gets on. */
export interface Pace {
  /** How long a run of its workflow takes, ms; null while none has completed. */
  readonly medianMs: number | null;
  /** How many of its runs may run at the same time. */
  readonly atOnce: number;
  /** When the newest of its runs ended, ms since the epoch, in any order. */
  readonly endsMs: readonly number[];
}

/** From this many ends on, they tell how fast it is: other runs, and agents that are busy, are in that. */
const TELLING_ENDS = 6;

/** The time between the ends of two of its runs, ms; null if there are too few. */
export function intervalOf({ endsMs }: Pace): number | null {
  if (endsMs.length < TELLING_ENDS) return null;
  return (Math.max(...endsMs) - Math.min(...endsMs)) / (endsMs.length - 1);
}

/**
 * How long a backfill still takes, ms; null if that is not known.
 * @param open how many of its firings are not over
 */
export function timeLeft(open: number, pace: Pace): number | null {
  if (open === 0) return 0;
  const interval = intervalOf(pace);
  if (interval !== null) return Math.round(open * interval);
  return pace.medianMs === null ? null : Math.ceil(open / Math.max(1, pace.atOnce)) * pace.medianMs;
}

/** The first of some items, at most so many, as they are wanted. */
export function* upTo<T>(items: Iterable<T>, count: number): Generator<T> {
  let left = count;
  if (left === 0) return;
  for (const item of items) {
    yield item;
    if (--left === 0) return;
  }
}

/** The first of some items, at most so many. */
export function take<T>(items: Iterable<T>, count: number): T[] {
  return [...upTo(items, count)];
}
