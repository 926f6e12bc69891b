import { dropOldest } from "../recent.ts";

/**
 * Accepts each line once, although two sources deliver it: the live log, which may miss lines, and the history, which can be read
 * repeatedly and has all lines in the end. Equal lines are counted: the source that has delivered a line more often is right.
 *
 * One connection of the live log delivers each line at most once. A restarted principal republishes what it had not stored, so each
 * connection is a new source.
 *
 * Lines are identified by their keys. The newest accepted lines are remembered at 16 bytes each; counts are only kept for lines that
 * the other source may still repeat.
 */
export class ExactlyOnce {
  readonly #limit: number;
  /** Keys and times of the accepted lines; ring buffers once they have reached the limit. */
  #keys = new BigUint64Array(1024);
  #times = new Float64Array(1024);
  /** Total number of accepted lines. */
  #count = 0;
  /** Accepted lines that the current live connection has not delivered yet, with their number. */
  #liveRepeats = new Map<bigint, number>();
  /** The same for the current reading of the history. */
  #historyRepeats: Map<bigint, number> | undefined;

  /** @param limit number of lines to remember */
  constructor(limit = Number.POSITIVE_INFINITY) {
    this.#limit = limit;
  }

  /** If lines have been forgotten, the time up to which they may come again unrecognised, ms. */
  get forgottenMs(): number | undefined {
    // The slot that is overwritten next holds the oldest line still known.
    return this.#count > this.#limit ? this.#times[this.#count % this.#limit] : undefined;
  }

  /** Call when the live log has a new connection. */
  restartLive(): void {
    this.#liveRepeats = this.#counted();
  }

  /** Whether a live line is new. */
  offerLive(key: bigint, timestampMs = 0): boolean {
    if (take(this.#liveRepeats, key)) return false;
    this.#remember(key, timestampMs);
    if (this.#historyRepeats !== undefined) add(this.#historyRepeats, key, this.#limit);
    return true;
  }

  /** Begins a reading of the history. */
  startHistory(): void {
    this.#historyRepeats = this.#counted();
  }

  /** Whether a line from the history is new. */
  offerHistory(key: bigint, timestampMs = 0): boolean {
    if (this.#historyRepeats !== undefined && take(this.#historyRepeats, key)) return false;
    this.#remember(key, timestampMs);
    add(this.#liveRepeats, key, this.#limit);
    return true;
  }

  /** Ends the reading of the history. */
  endHistory(): void {
    this.#historyRepeats = undefined;
  }

  #remember(key: bigint, timestampMs: number): void {
    const length = this.#keys.length;
    if (this.#count === length && length < this.#limit) {
      const [keys, times] = [this.#keys, this.#times];
      const longer = Math.min(length * 2, this.#limit);
      this.#keys = new BigUint64Array(longer);
      this.#times = new Float64Array(longer);
      this.#keys.set(keys);
      this.#times.set(times);
    }
    const index = this.#count++ % Math.min(this.#keys.length, this.#limit);
    this.#keys[index] = key;
    this.#times[index] = timestampMs;
  }

  #counted(): Map<bigint, number> {
    const counts = new Map<bigint, number>();
    const size = Math.min(this.#keys.length, this.#limit);
    // Oldest first, because the oldest entry is dropped first.
    for (let i = Math.max(0, this.#count - size); i < this.#count; i++) {
      add(counts, this.#keys[i % size] ?? 0n, this.#limit);
    }
    return counts;
  }
}

function take(counts: Map<bigint, number>, key: bigint): boolean {
  const count = counts.get(key);
  if (count === undefined) return false;
  if (count === 1) counts.delete(key);
  else counts.set(key, count - 1);
  return true;
}

function add(counts: Map<bigint, number>, key: bigint, limit: number): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
  dropOldest(counts, limit);
}
