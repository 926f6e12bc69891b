/** The times of schedules: thousands of workflows share a few of them, so each time is computed once. */
import type { Calendar } from "../../workflow/calendar.ts";
import { nextFiring } from "../../workflow/firings.ts";
import type { Entry } from "../../workflow/schedules.ts";

/** The times of one schedule, without jitter. */
class Beat {
  readonly #next: (afterMs: number) => number | null;
  readonly #times: number[] = [];
  #isOver = false;
  #afterMs: number;

  constructor(next: (afterMs: number) => number | null, afterMs: number) {
    this.#next = next;
    this.#afterMs = afterMs;
  }

  /** The time of this number, from 0, ms since the epoch; null if there is none. */
  at(n: number): number | null {
    while (this.#times.length <= n && !this.#isOver) {
      const next = this.#next(this.#afterMs);
      if (next === null) this.#isOver = true;
      else {
        this.#times.push(next);
        this.#afterMs = next;
      }
    }
    return this.#times[n] ?? null;
  }
}

/** The times of an entry, one after the other. */
export class Cursor {
  readonly #beat: Beat;
  readonly #offsetMs: number;
  #n = 0;

  constructor(beat: Beat, offsetMs: number, afterMs: number) {
    this.#beat = beat;
    this.#offsetMs = offsetMs;
    // Those whose jitter has not passed yet are before the beginning.
    for (let at = beat.at(0); at !== null && at + offsetMs <= afterMs; at = beat.at(++this.#n));
  }

  /** The next one: the time in the schedule, and when it fires; null if there is none. */
  next(): { readonly at_ms: number; readonly fires_ms: number } | null {
    const at = this.#beat.at(this.#n++);
    return at === null ? null : { at_ms: at, fires_ms: at + this.#offsetMs };
  }
}

/** Knows the times of all schedules after a time. */
export class Beats {
  readonly #afterMs: number;
  readonly #calendars: ReadonlyMap<string, Calendar>;
  readonly #beats = new Map<string, Beat>();

  constructor(afterMs: number, calendars: ReadonlyMap<string, Calendar>) {
    this.#afterMs = afterMs;
    this.#calendars = calendars;
  }

  /** @param zone IANA name of the zone in which the entry is evaluated @param offsetMs its jitter, ms */
  cursor(entry: Entry, zone: string, offsetMs: number): Cursor {
    const { cron, start_time_ms, end_time_ms, calendar } = entry;
    // With jitter it begins earlier, but not by much: a schedule may have a time each second.
    const from = this.#afterMs - Math.ceil(offsetMs / STEP_MS) * STEP_MS;
    const key = `${cron}\n${zone}\n${start_time_ms}\n${end_time_ms}\n${calendar}\n${from}`;
    let beat = this.#beats.get(key);
    if (beat === undefined) {
      const days = calendar === undefined ? null : (this.#calendars.get(calendar) ?? null);
      const context = { zone, calendar: days, offsetMs: 0 };
      beat = new Beat((after) => nextFiring(entry, context, after), from);
      this.#beats.set(key, beat);
    }
    return new Cursor(beat, offsetMs, this.#afterMs);
  }
}

/** Schedules whose jitter differs by less than this may share their times, ms. */
const STEP_MS = 300_000;
