/**
 * The firings of many schedules. Entries that fire at the same times share a beat: it is in the queue once, and its next time is worked out
 * once, however many workflows follow it. No clock, no I/O.
 */
import { type FiringContext, nextFiring, previousFiring } from "../workflow/firings.ts";
import { firingsDue, MAX_CATCHUP } from "../workflow/missed.ts";
import type { Entry } from "../workflow/schedules.ts";
import { PriorityQueue } from "./priority-queue.ts";

/** An entry of a workflow, as the scheduler keeps it. */
export interface Follower {
  /** Of the workflow. */
  readonly id: string;
  /** The key under which its position is kept; null for a workflow with one schedule. */
  readonly slot: string | null;
  /** What happens to missed firings, and the parameters, may change with the file. */
  entry: Entry;
  /** Firings up to this time have been handled, ms since the epoch. */
  handledMs: number;
  /** A firing could not be made safe: those since then are still due. */
  isBehind: boolean;
  context: FiringContext;
  /** Null while its workflow is paused, and when it is gone. */
  beat: Beat | null;
}

/** Times that entries share. */
export interface Beat {
  readonly key: string;
  /** One of the entries. */
  readonly entry: Entry;
  readonly context: FiringContext;
  readonly followers: Set<Follower>;
  /** The firings around the time up to which it has come; null for none. */
  previousMs: number | null;
  nextMs: number | null;
}

/** Firings of a beat that are due. */
export interface DueBeat {
  readonly beat: Beat;
  /** Oldest first, at most {@link MAX_CATCHUP}, the newest. */
  readonly due: readonly number[];
}

/** Identifies the times at which an entry fires. */
export function beatKey(
  { cron, start_time_ms, end_time_ms, calendar }: Entry,
  context: FiringContext,
): string {
  const { zone, offsetMs } = context;
  return `${cron}\n${zone}\n${start_time_ms ?? ""}\n${end_time_ms ?? ""}\n${offsetMs}\n${calendar ?? ""}`;
}

/** All beats that somebody follows, in the order of their next firings. */
export class Beats {
  readonly #beats = new Map<string, Beat>();
  /** A position is stale unless its time is that of the beat's next firing. */
  readonly #queue = new PriorityQueue<Beat>();

  /** Number of beats. */
  get size(): number {
    return this.#beats.size;
  }

  /** The time of the next firing, ms since the epoch; undefined without any. */
  get nextMs(): number | undefined {
    for (let first = this.#queue.peek(); first !== undefined; first = this.#queue.peek()) {
      const beat = first.item;
      if (beat.nextMs === first.priority && this.#beats.get(beat.key) === beat) return first.priority;
      this.#queue.pop();
    }
    return undefined;
  }

  /** From now on an entry follows the beat of its times. */
  follow(follower: Follower, nowMs: number): Beat {
    const { entry, context } = follower;
    const key = beatKey(entry, context);
    let beat = this.#beats.get(key);
    // Another calendar of the same name has other days.
    if (beat === undefined || beat.context.calendar !== context.calendar) {
      beat = { key, entry, context, followers: new Set(), previousMs: null, nextMs: null };
      this.#set(beat, nowMs);
      this.#beats.set(key, beat);
    }
    beat.followers.add(follower);
    follower.beat = beat;
    // There may be 100,000 of them.
    follower.context = beat.context;
    if (isLike(entry, beat.entry)) follower.entry = beat.entry;
    return beat;
  }

  /** It does not follow its beat any more. */
  leave(follower: Follower): void {
    const { beat } = follower;
    follower.beat = null;
    if (beat === null) return;
    beat.followers.delete(follower);
    if (beat.followers.size === 0 && this.#beats.get(beat.key) === beat) this.#beats.delete(beat.key);
  }

  /** Takes the beat whose firings are due first, with these firings; undefined if none is due. */
  take(nowMs: number): DueBeat | undefined {
    const next = this.nextMs;
    if (next === undefined || next > nowMs) return undefined;
    const beat = this.#queue.pop()?.item;
    if (beat === undefined) return undefined;
    const { entry, context, previousMs } = beat;
    let due: number[] = [];
    let at: number | null = next;
    for (; at !== null && at <= nowMs && due.length <= MAX_CATCHUP; at = nextFiring(entry, context, at))
      due.push(at);
    if (due.length > MAX_CATCHUP) {
      due = firingsDue(entry, context, previousMs ?? next - 1, nowMs);
      at = nextFiring(entry, context, nowMs);
    }
    beat.previousMs = due.at(-1) ?? previousMs;
    this.#enqueue(beat, at);
    return { beat, due };
  }

  /** The firings of an entry that are due up to now, and were not handled. */
  dueOf({ entry, context, beat, handledMs }: Follower, nowMs: number): readonly number[] {
    if (beat === null) return [];
    const { previousMs, nextMs } = beat;
    const isNoneSince = previousMs === null || previousMs <= handledMs;
    if (isNoneSince && (nextMs === null || nextMs > nowMs)) return [];
    return firingsDue(entry, context, handledMs, nowMs);
  }

  /** Beats whose next firings are up to this time, in no order. */
  *upTo(ms: number): Iterable<Beat> {
    for (const { priority, item } of this.#queue.upTo(ms)) {
      if (item.nextMs === priority && this.#beats.get(item.key) === item) yield item;
    }
  }

  /** The clock was set: all begin at this time. */
  restart(nowMs: number): void {
    this.#queue.clear();
    for (const beat of this.#beats.values()) this.#set(beat, nowMs);
  }

  #set(beat: Beat, nowMs: number): void {
    beat.previousMs = previousFiring(beat.entry, beat.context, nowMs);
    this.#enqueue(beat, nextFiring(beat.entry, beat.context, nowMs));
  }

  #enqueue(beat: Beat, at: number | null): void {
    beat.nextMs = at;
    if (at !== null) this.#queue.push(at, beat);
  }
}

/** Whether two entries of a beat say the same. */
function isLike(a: Entry, b: Entry): boolean {
  if (a.params !== undefined || b.params !== undefined) return false;
  return (
    a.catchup === b.catchup && a.catchup_window_ms === b.catchup_window_ms && a.jitter_ms === b.jitter_ms
  );
}
