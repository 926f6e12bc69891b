/**
 * Two sources tell of the same lines: the live log, which may miss some, and the history, which can be read again and has all of
 * them in the end. Each line is to be printed once. Equal lines are counted, not told apart: of two sources, the one that has told
 * of a line more often is right.
 *
 * A connection of the live log tells of each line at most once. A principal that was started again publishes anew what it had not
 * stored, so with each connection the live log is a new source.
 */
export class ExactlyOnce<K> {
  readonly #limit: number;
  readonly #printed = new Map<K, number>();
  #live = new Map<K, number>();
  #history = new Map<K, number>();

  /** @param limit so many different lines are remembered; older ones are forgotten */
  constructor(limit = Number.POSITIVE_INFINITY) {
    this.#limit = limit;
  }

  /** The live log has a new connection. */
  restartLive(): void {
    this.#live = new Map();
  }

  /** Whether a line that came live is to be printed. */
  offerLive(key: K): boolean {
    return this.#offer(key, this.#live);
  }

  /** The history is read anew. */
  restartHistory(): void {
    this.#history = new Map();
  }

  /** Whether a line of the history is to be printed. */
  offerHistory(key: K): boolean {
    return this.#offer(key, this.#history);
  }

  #offer(key: K, source: Map<K, number>): boolean {
    const told = (source.get(key) ?? 0) + 1;
    this.#remember(source, key, told);
    if (told <= (this.#printed.get(key) ?? 0)) return false;
    this.#remember(this.#printed, key, told);
    return true;
  }

  #remember(counts: Map<K, number>, key: K, count: number): void {
    counts.set(key, count);
    if (counts.size <= this.#limit) return;
    for (const oldest of counts.keys()) {
      counts.delete(oldest);
      break;
    }
  }
}
