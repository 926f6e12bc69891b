/**
 * The order of the queue. What has the same priority goes in the order in which it came. Between priorities, waiting counts: ten minutes
 * weigh as much as one step. Where something stands does not change while it waits, so nothing has to be aged, and nothing starves: what
 * comes later than 90 minutes after it never goes before it. Pure.
 */
import { readNeeds } from "./needs.ts";

/** How long something waits until it counts as one step of priority higher, ms. */
export const AGEING_MS = 600_000;

/** What matters of an entry to its place. */
export interface Entry {
  readonly needs: string;
  /** Its place among those of its priority; of several with the same one, the turn counts. */
  readonly position: number;
  readonly turn: number;
  /** Since when it counts as waiting, ms since the epoch. */
  readonly since_ms: number;
}

/** The entries of one priority. */
interface Line<E> {
  readonly priority: number;
  /** In order. */
  readonly entries: E[];
  /** The latest time since when one of them has waited, of those that have gone; ms since the epoch. */
  latest_ms: number;
}

/** Entries that wait, in order; further ones may be added while it is read. */
export class QueueOrder<E extends Entry> {
  readonly #nowMs: number;
  readonly #ageingMs: number;
  readonly #lines = new Map<number, Line<E>>();

  /**
   * @param nowMs ms since the epoch: an entry of a wrong clock that came later counts as if it had come now
   * @param ageingMs see {@link AGEING_MS}; 0: waiting does not count
   */
  constructor(entries: Iterable<E>, nowMs: number, ageingMs = AGEING_MS) {
    this.#nowMs = nowMs;
    this.#ageingMs = ageingMs;
    for (const entry of entries) this.add(entry);
  }

  get isEmpty(): boolean {
    return this.peek() === undefined;
  }

  /** Puts an entry into its place. */
  add(entry: E): void {
    const { priority } = readNeeds(entry.needs);
    const line = this.#lines.get(priority);
    if (line === undefined) {
      this.#lines.set(priority, { priority, entries: [entry], latest_ms: Number.NEGATIVE_INFINITY });
      return;
    }
    const { entries } = line;
    let [from, to] = [0, entries.length];
    while (from < to) {
      const middle = (from + to) >> 1;
      const other = entries[middle];
      if (other === undefined || isBefore(entry, other)) to = middle;
      else from = middle + 1;
    }
    entries.splice(from, 0, entry);
  }

  /** The first one, which stays. */
  peek(): E | undefined {
    return this.#first()?.entries[0];
  }

  /** Takes the first one out; undefined if there is none. */
  shift(): E | undefined {
    const line = this.#first();
    const entry = line?.entries.shift();
    if (line !== undefined && entry !== undefined)
      line.latest_ms = Math.max(line.latest_ms, this.#sinceOf(entry));
    return entry;
  }

  #first(): Line<E> | undefined {
    let first: Line<E> | undefined;
    let rank = Number.POSITIVE_INFINITY;
    for (const line of this.#lines.values()) {
      const [entry] = line.entries;
      if (entry === undefined) continue;
      const own = this.#rankOf(line, entry);
      if (first !== undefined && (own > rank || (own === rank && line.priority < first.priority))) continue;
      first = line;
      rank = own;
    }
    return first;
  }

  /** No entry of a line counts as older than one before it: the order is that of a single list, whatever the clocks said. */
  #rankOf({ priority, latest_ms }: Line<E>, entry: E): number {
    const since = Math.max(latest_ms, this.#sinceOf(entry));
    return this.#ageingMs === 0 ? -priority : since - priority * this.#ageingMs;
  }

  #sinceOf({ since_ms }: E): number {
    return Math.min(since_ms, this.#nowMs);
  }
}

/** The entries in order. @param nowMs ms since the epoch @param ageingMs see {@link AGEING_MS} */
export function inOrder<E extends Entry>(entries: Iterable<E>, nowMs: number, ageingMs?: number): E[] {
  const order = new QueueOrder(entries, nowMs, ageingMs);
  const all: E[] = [];
  for (let entry = order.shift(); entry !== undefined; entry = order.shift()) all.push(entry);
  return all;
}

function isBefore(a: Entry, b: Entry): boolean {
  return a.position < b.position || (a.position === b.position && a.turn < b.turn);
}
