/**
 * Lets each line through once although two sources tell of it: the live log, which may miss some, and the history, which can be
 * read again and has all of them in the end. Equal lines are counted: the source that has told of a line more often is right.
 *
 * One connection of the live log tells of each line at most once. A principal that was started again publishes anew what it had
 * not stored, so each connection is a new source.
 *
 * Lines are known by their keys. Of those that were let through, the newest are remembered, 16 bytes each; counts are only kept of
 * lines that the other source may still repeat.
 */
export class ExactlyOnce {
  readonly #limit: number;
  /** The lines that were let through: a ring once it has reached the limit. */
  #keys = new BigUint64Array(1024);
  #times = new Float64Array(1024);
  /** How many were let through in all. */
  #count = 0;
  /** How often the live log may repeat lines that it has not told of yet. */
  #liveRepeats = new Map<bigint, number>();
  /** The same of the history, while it is being read. */
  #historyRepeats: Map<bigint, number> | undefined;

  /** @param limit how many lines are remembered */
  constructor(limit = Number.POSITIVE_INFINITY) {
    this.#limit = limit;
  }

  /** When lines have been forgotten: the time of the newest of them, ms. What is not newer may come again. */
  get forgottenMs(): number | undefined {
    // The slot that is overwritten next has the oldest line that is still known.
    return this.#count > this.#limit ? this.#times[this.#count % this.#limit] : undefined;
  }

  /** The live log has a new connection. */
  restartLive(): void {
    this.#liveRepeats = this.#counted();
  }

  /** Whether a line that came live is new. */
  offerLive(key: bigint, timestampMs = 0): boolean {
    if (take(this.#liveRepeats, key)) return false;
    this.#remember(key, timestampMs);
    if (this.#historyRepeats !== undefined) add(this.#historyRepeats, key, this.#limit);
    return true;
  }

  /** The history is read anew. */
  startHistory(): void {
    this.#historyRepeats = this.#counted();
  }

  /** Whether a line of the history is new. */
  offerHistory(key: bigint, timestampMs = 0): boolean {
    if (this.#historyRepeats !== undefined && take(this.#historyRepeats, key)) return false;
    this.#remember(key, timestampMs);
    add(this.#liveRepeats, key, this.#limit);
    return true;
  }

  /** This reading of the history is over. */
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
    // From the oldest on: it is the first to go.
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
  if (counts.size <= limit) return;
  for (const oldest of counts.keys()) {
    counts.delete(oldest);
    return;
  }
}
