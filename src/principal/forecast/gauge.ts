/** A number that changes over time, and the most that it was in each part of the time. */

/** The parts of a time: `count` buckets of `size_ms` from `from_ms` on. */
export interface Buckets {
  readonly from_ms: number;
  readonly size_ms: number;
  readonly count: number;
}

/** The most of it, and when that was first. */
export interface Peak {
  readonly most: number;
  readonly at_ms: number;
}

/** Follows a number. Times must not go back. */
export class Gauge {
  /** The most in each bucket. */
  readonly most: number[];
  readonly #buckets: Buckets;
  #value = 0;
  #since: number;
  #peak: Peak | null = null;

  constructor(buckets: Buckets) {
    this.#buckets = buckets;
    this.#since = buckets.from_ms;
    this.most = new Array<number>(buckets.count).fill(0);
  }

  /** It has this value from `atMs` on. */
  set(atMs: number, value: number): void {
    // A value that lasted no time has been there nevertheless.
    this.#note(this.#since, Math.max(this.#since, atMs - 1));
    this.#value = value;
    this.#since = Math.max(this.#since, atMs);
    if (atMs >= this.#buckets.from_ms) this.#note(atMs, atMs);
  }

  /** It keeps its value until the end of the buckets. @returns its peak; null if it was always 0 */
  end(): Peak | null {
    const { from_ms, size_ms, count } = this.#buckets;
    this.#note(this.#since, from_ms + size_ms * count - 1);
    return this.#peak;
  }

  /** The present value was there from one time to another, both inclusive. */
  #note(from: number, to: number): void {
    if (this.#value === 0) return;
    const { from_ms, size_ms, count } = this.#buckets;
    const first = Math.max(0, Math.floor((from - from_ms) / size_ms));
    const last = Math.min(count - 1, Math.floor((to - from_ms) / size_ms));
    if (last < first) return;
    if (this.#value > (this.#peak?.most ?? 0))
      this.#peak = { most: this.#value, at_ms: Math.max(from, from_ms) };
    for (let n = first; n <= last; n++) this.most[n] = Math.max(this.most[n] ?? 0, this.#value);
  }
}
