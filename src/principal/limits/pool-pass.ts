/**
 * Whether entries of the queue can have their slots, looked at in the order of the queue. One that lacks slots keeps its pools closed for
 * those behind it, so that a heavy one is not passed over again and again by light ones: the slots that get free are its own. Pure.
 */

/** Slots by the name of their pool; a task takes all of its own at once. */
export type Slots = Readonly<Record<string, number>>;

/** `lacks`: not now. `never`: a pool does not exist, or is too small. */
export type Verdict = "fits" | "lacks" | "never";

/** One look at the queue, or the beginning of it. */
export class PoolPass {
  readonly #sizes: ReadonlyMap<string, number>;
  readonly #used: Map<string, number>;
  readonly #closed = new Set<string>();

  /** @param sizes of all pools @param used slots that are taken; a pool that has shrunk may have more than its size */
  constructor(sizes: ReadonlyMap<string, number>, used: ReadonlyMap<string, number>) {
    this.#sizes = sizes;
    this.#used = new Map(used);
  }

  /** Whether something can have its slots now, after what was looked at before. */
  verdict(slots: Slots): Verdict {
    let verdict: Verdict = "fits";
    for (const [pool, count] of Object.entries(slots)) {
      const size = this.#sizes.get(pool);
      if (size === undefined || count > size) return "never";
      if (this.#closed.has(pool) || count > size - this.usedOf(pool)) verdict = "lacks";
    }
    return verdict;
  }

  /** Slots of a pool that are taken. */
  usedOf(pool: string): number {
    return this.#used.get(pool) ?? 0;
  }

  /** Something has its slots, or will have them as soon as an agent can take it. */
  take(slots: Slots): void {
    for (const [pool, count] of Object.entries(slots)) this.#used.set(pool, this.usedOf(pool) + count);
  }

  /** Something lacks slots: nothing behind it gets any of its pools. */
  reserve(slots: Slots): void {
    for (const pool of Object.keys(slots)) this.#closed.add(pool);
  }
}
