/**
 * Two sources tell of the same lines, each of every line at most once: the live log, which may miss some, and the
 * history, which is read again from the beginning and has all of them in the end. Each line is to be printed once.
 * Equal lines are counted, not told apart.
 */
export class ExactlyOnce<K> {
  readonly #printed = new Map<K, number>();
  readonly #live = new Map<K, number>();
  #history = new Map<K, number>();

  /** Whether a line that came live is to be printed. */
  offerLive(key: K): boolean {
    return this.#offer(key, this.#live);
  }

  /** The history is read from its beginning again. */
  restartHistory(): void {
    this.#history = new Map();
  }

  /** Whether a line of the history is to be printed. */
  offerHistory(key: K): boolean {
    return this.#offer(key, this.#history);
  }

  #offer(key: K, source: Map<K, number>): boolean {
    const told = (source.get(key) ?? 0) + 1;
    source.set(key, told);
    if (told <= (this.#printed.get(key) ?? 0)) return false;
    this.#printed.set(key, told);
    return true;
  }
}
