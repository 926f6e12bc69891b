/**
 * Two sources tell of the same lines: the live log, which may miss some, and the history, which can be read again and has all of
 * them in the end. Each line is to be printed once. Equal lines are counted, not told apart: of two sources, the one that has told
 * of a line more often is right.
 *
 * A connection of the live log tells of each line at most once. A principal that was started again publishes anew what it had not
 * stored, so with each connection the live log is a new source.
 *
 * Lines are known by a hash of theirs.
 */
export class ExactlyOnce {
  readonly #limit: number;
  /** All that was printed, as long as a single source has told of it: nothing needs to be compared, and this takes little room. */
  #journal: BigUint64Array | undefined = new BigUint64Array(1024);
  #journalLength = 0;
  #printed = new Map<bigint, number>();
  #live = new Map<bigint, number>();
  #history = new Map<bigint, number>();

  /** @param limit so many different lines are remembered; older ones are forgotten */
  constructor(limit = Number.POSITIVE_INFINITY) {
    this.#limit = limit;
    if (limit !== Number.POSITIVE_INFINITY) this.#journal = undefined;
  }

  /** The live log has a new connection. */
  restartLive(): void {
    this.#compare();
    this.#live = new Map();
  }

  /** Whether a line that came live is to be printed. */
  offerLive(hash: bigint): boolean {
    if (this.#journal === undefined) return this.#offer(hash, this.#live);
    if (this.#journalLength === this.#journal.length) {
      const longer = new BigUint64Array(this.#journal.length * 2);
      longer.set(this.#journal);
      this.#journal = longer;
    }
    this.#journal[this.#journalLength++] = hash;
    return true;
  }

  /** The history is read anew. */
  restartHistory(): void {
    this.#history = new Map();
  }

  /** Whether a line of the history is to be printed. */
  offerHistory(hash: bigint): boolean {
    this.#compare();
    return this.#offer(hash, this.#history);
  }

  /** From now on there is something to compare with. */
  #compare(): void {
    if (this.#journal === undefined) return;
    for (const hash of this.#journal.subarray(0, this.#journalLength)) {
      this.#printed.set(hash, (this.#printed.get(hash) ?? 0) + 1);
    }
    this.#live = new Map(this.#printed);
    this.#journal = undefined;
  }

  #offer(hash: bigint, source: Map<bigint, number>): boolean {
    const told = (source.get(hash) ?? 0) + 1;
    this.#remember(source, hash, told);
    if (told <= (this.#printed.get(hash) ?? 0)) return false;
    this.#remember(this.#printed, hash, told);
    return true;
  }

  #remember(counts: Map<bigint, number>, hash: bigint, count: number): void {
    counts.set(hash, count);
    if (counts.size <= this.#limit) return;
    for (const oldest of counts.keys()) {
      counts.delete(oldest);
      break;
    }
  }
}
