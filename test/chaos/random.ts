/** Reproducible randomness: the same seed gives the same plan. */

/** A source of random numbers: Tommy Ettinger's mulberry32. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A number in [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A number in [low, high). */
  between(low: number, high: number): number {
    return low + this.next() * (high - low);
  }

  /** A member of a list that is not empty. */
  pick<T>(list: readonly T[]): T {
    const member = list[Math.floor(this.next() * list.length)];
    if (member === undefined) throw new Error("nothing to pick from");
    return member;
  }
}
