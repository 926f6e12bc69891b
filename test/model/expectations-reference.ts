/**
 * What has to be told of a workflow of which something is expected, written down a second time and in another way: it knows neither the
 * state of a principal nor its classes, and computes local times from a table of the changes of clocks.
 */
import type { Told } from "./expectations-world.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** Offsets of zones, ms, from a time on. */
const OFFSETS: Readonly<Record<string, readonly (readonly [from: string, hours: number])[]>> = {
  UTC: [["2000-01-01T00:00Z", 0]],
  "Europe/London": [
    ["2025-10-26T01:00Z", 0],
    ["2026-03-29T01:00Z", 1],
    ["2026-10-25T01:00Z", 0],
  ],
  "America/New_York": [
    ["2025-11-02T06:00Z", -5],
    ["2026-03-08T07:00Z", -4],
    ["2026-11-01T06:00Z", -5],
  ],
};

/** The instant of a local time, ms since the epoch: the first of two, or that of the jump. @param local as if it were UTC */
function instant(local: number, zone: string): number {
  const spans = (OFFSETS[zone] ?? []).map(([from, hours], n, all) => ({
    from: Date.parse(from),
    to: n + 1 < all.length ? Date.parse(all[n + 1]?.[0] ?? "") : Number.POSITIVE_INFINITY,
    offset: hours * HOUR,
  }));
  for (const { from, to, offset } of spans) {
    const at = local - offset;
    if (at >= from && at < to) return at;
    // Between the end of the span before and the begin of this one.
    if (at < from) return from;
  }
  throw new Error("the table of offsets is too short");
}

/** A schedule: each day, or from Monday to Friday, at a time; or each hour. */
export interface Plan {
  readonly zone: string;
  /** Minutes after midnight; null for one firing an hour, at that minute. */
  readonly fires: { readonly at: number; readonly weekdays: boolean } | { readonly minute: number } | null;
  readonly startWithin: number | null;
  readonly maxDuration: number | null;
  /** Minutes after midnight. */
  readonly finishBy: number | null;
  readonly atLeastEvery: number | null;
}

/** The firings of a plan in a stretch of time, oldest first. */
export function firingsOf({ fires, zone }: Plan, from: number, to: number): number[] {
  const found: number[] = [];
  if (fires === null) return found;
  if ("minute" in fires) {
    for (let at = Math.floor(from / HOUR) * HOUR + fires.minute * 60_000; at <= to; at += HOUR)
      if (at >= from) found.push(at);
    return found;
  }
  for (let day = Math.floor(from / DAY) - 2; day <= Math.floor(to / DAY) + 2; day++) {
    // 1970-01-01 was a Thursday.
    const weekday = (day + 4) % 7;
    if (fires.weekdays && (weekday === 0 || weekday === 6)) continue;
    const at = instant(day * DAY + fires.at * 60_000, zone);
    if (at >= from && at <= to) found.push(at);
  }
  return found;
}

interface Run {
  readonly id: string;
  /** What it is about. */
  readonly time: number;
  readonly isBackfill: boolean;
  /** When it should start; null while the workflow is paused. */
  startDue: number | null;
  started: number | null;
  isOver: boolean;
}

interface Deadline {
  readonly at: number;
  readonly from: number;
}

/** What has to be told. */
export class Reference {
  readonly #plan: Plan;
  readonly #deadlines: Deadline[];
  readonly told: Told[] = [];
  readonly #open = new Map<string, { at: number }>();
  readonly #runs: Run[] = [];
  #isPaused = false;
  #resumed = 0;
  /** Nothing is seen before; infinite while no principal runs. */
  #blindUntil: number;
  /** What is due from then on is looked at in time. */
  #seesSince: number;
  /** Since when nothing has completed; null in a pause. */
  #quietSince: number | null;
  #since: number;
  /** The next deadline; `broken` if that has passed; null in a pause. */
  #deadline: (Deadline & { broken: boolean; run: string | null }) | null;

  constructor(plan: Plan, start: number, end: number, grace: number) {
    this.#plan = plan;
    this.#blindUntil = start + grace;
    this.#seesSince = start;
    this.#quietSince = this.#since = start;
    this.#deadlines = plan.finishBy === null ? [] : this.#all(start, end, plan.finishBy);
    this.#deadline = this.#next(start);
  }

  #all(start: number, end: number, minutes: number): Deadline[] {
    const { zone, fires } = this.#plan;
    const deadlines: Deadline[] = [];
    for (let day = Math.floor(start / DAY) - 1; day <= Math.floor(end / DAY) + 3; day++) {
      const at = instant(day * DAY + minutes * 60_000, zone);
      const begin = instant((day - 1) * DAY + minutes * 60_000, zone);
      const last = fires === null ? begin : firingsOf(this.#plan, begin, at - 1).at(-1);
      if (last !== undefined) deadlines.push({ at, from: last });
    }
    return deadlines;
  }

  #next(after: number): (Deadline & { broken: boolean; run: string | null }) | null {
    const next = this.#deadlines.find(({ at, from }) => at > after && from >= this.#since);
    return next === undefined ? null : { ...next, broken: false, run: null };
  }

  #raise(key: string, at: number): void {
    this.#open.set(key, { at });
  }

  #resolve(key: string, over: number): void {
    const open = this.#open.get(key);
    if (open === undefined) return;
    this.#open.delete(key);
    this.told.push({ key, at: open.at, over });
  }

  /** What time alone breaks, up to a time. */
  pass(to: number): void {
    const seen = (due: number): boolean => this.#looked(due) <= to;
    const { maxDuration, atLeastEvery } = this.#plan;
    for (const run of this.#runs) {
      if (run.isOver || run.isBackfill) continue;
      const { id, startDue, started } = run;
      if (started === null && startDue !== null && seen(startDue))
        this.#once(`late test ${id} start_within`, startDue);
      const end = started === null || maxDuration === null ? null : started + maxDuration;
      if (end !== null && seen(end)) this.#once(`late test ${id} max_duration`, end);
    }
    if (atLeastEvery !== null && this.#quietSince !== null && seen(this.#quietSince + atLeastEvery))
      this.#once("missed test at_least_every", this.#quietSince + atLeastEvery);
    const deadline = this.#deadline;
    if (deadline === null || deadline.broken || !seen(deadline.at)) return;
    const looked = this.#looked(deadline.at);
    const last = this.#deadlines
      .filter(({ at, from }) => at >= deadline.at && at <= looked && from >= this.#since)
      .at(-1);
    this.#break(last ?? deadline);
  }

  /** When it is looked at what was due at a time. */
  #looked(due: number): number {
    return due >= this.#seesSince ? due : Math.max(due, this.#blindUntil);
  }

  #once(key: string, at: number): void {
    if (!this.#open.has(key)) this.#raise(key, at);
  }

  #break({ at, from }: Deadline): void {
    const run = this.#runs.findLast(({ isOver, time }) => !isOver && time >= from)?.id ?? null;
    this.#deadline = { at, from, broken: true, run };
    this.#raise(run === null ? "missed test finish_by" : `late test ${run} finish_by`, at);
  }

  create(id: string, now: number, time: number | null, trigger: "cron" | "cli" | "backfill"): void {
    const { startWithin } = this.#plan;
    const should = trigger === "cron" && time !== null ? Math.max(time, this.#resumed) : now;
    const startDue = startWithin === null || this.#isPaused ? null : should + startWithin;
    const isBackfill = trigger === "backfill";
    this.#runs.push({ id, time: time ?? now, isBackfill, startDue, started: null, isOver: false });
  }

  start(id: string, now: number): void {
    const run = this.#runs.find((one) => one.id === id);
    if (run === undefined) throw new Error(`there is no run ${id}`);
    run.started = now;
    const key = `late test ${id} start_within`;
    if (!run.isBackfill && run.startDue !== null && now > run.startDue) this.#once(key, run.startDue);
    this.#resolve(key, now);
  }

  end(id: string, status: string, at: number): void {
    const run = this.#runs.find((one) => one.id === id);
    if (run === undefined) throw new Error(`there is no run ${id}`);
    run.isOver = true;
    const { maxDuration, atLeastEvery } = this.#plan;
    const key = `late test ${id} max_duration`;
    if (!run.isBackfill && maxDuration !== null && run.started !== null && at - run.started > maxDuration)
      this.#once(key, run.started + maxDuration);
    this.#resolve(key, at);
    if (status === "COMPLETED" && !run.isBackfill && atLeastEvery !== null && this.#quietSince !== null) {
      if (at > this.#quietSince + atLeastEvery)
        this.#once("missed test at_least_every", this.#quietSince + atLeastEvery);
      this.#resolve("missed test at_least_every", at);
      this.#quietSince = Math.max(this.#quietSince, at);
    }
    this.#ended(run, status, at);
  }

  #ended(run: Run, status: string, at: number): void {
    const deadline = this.#deadline;
    if (deadline === null) return;
    const late = `late test ${deadline.run} finish_by`;
    if (status !== "COMPLETED") {
      if (!deadline.broken || deadline.run !== run.id) return;
      this.#resolve(late, at);
      if (this.#isPaused) this.#deadline = null;
      else this.#break(deadline);
    } else if (run.time >= deadline.from) {
      if (!deadline.broken && at > deadline.at) {
        this.#raise(`late test ${run.id} finish_by`, deadline.at);
        this.#resolve(`late test ${run.id} finish_by`, at);
      }
      this.#resolve("missed test finish_by", at);
      this.#resolve(late, at);
      this.#deadline = this.#next(Math.max(deadline.at, at));
      // It may be in time for more than one.
      while (this.#deadline !== null && run.time >= this.#deadline.from && at <= this.#deadline.at)
        this.#deadline = this.#next(this.#deadline.at);
    }
  }

  pause(now: number): void {
    this.#isPaused = true;
    for (const run of this.#runs)
      if (run.started === null && !this.#open.has(`late test ${run.id} start_within`)) run.startDue = null;
    this.#resolve("missed test at_least_every", now);
    this.#quietSince = null;
    this.#resolve("missed test finish_by", now);
    if (this.#deadline?.run == null) this.#deadline = null;
  }

  resume(now: number): void {
    this.#isPaused = false;
    this.#quietSince = this.#resumed = this.#since = now;
    const { startWithin } = this.#plan;
    for (const run of this.#runs)
      if (run.started === null && !run.isOver && startWithin !== null) run.startDue ??= now + startWithin;
    this.#deadline ??= this.#next(now);
  }

  down(): void {
    this.#blindUntil = this.#seesSince = Number.POSITIVE_INFINITY;
  }

  /** @param seesFrom when what was due before is looked at @param hasAgents whether agents have something to tell until then */
  up(now: number, seesFrom: number, hasAgents: boolean): void {
    this.#blindUntil = seesFrom;
    this.#seesSince = hasAgents ? Number.POSITIVE_INFINITY : now;
  }

  /** All that was told, in order. */
  all(): Told[] {
    const open = [...this.#open].map(([key, { at }]) => ({ key, at, over: null }));
    return [...this.told, ...open].sort((a, b) => a.at - b.at || (a.key < b.key ? -1 : 1));
  }
}
