/** How long something took lately. */

/** Number of the latest measurements that count. */
const MOST = 500;

export class Latencies {
  readonly #latest: number[] = [];
  #next = 0;

  add(ms: number): void {
    this.#latest[this.#next] = ms;
    this.#next = (this.#next + 1) % MOST;
  }

  /** The median and the 99th percentile, ms; null without measurements. */
  get summary(): { p50_ms: number; p99_ms: number } | null {
    if (this.#latest.length === 0) return null;
    const sorted = this.#latest.toSorted((a, b) => a - b);
    const at = (share: number) => sorted[Math.floor((sorted.length - 1) * share)] ?? 0;
    return { p50_ms: rounded(at(0.5)), p99_ms: rounded(at(0.99)) };
  }

  /** Measures how long something takes, also when it fails. */
  async of<T>(work: Promise<T>): Promise<T> {
    const began = performance.now();
    try {
      return await work;
    } finally {
      this.add(performance.now() - began);
    }
  }
}

function rounded(ms: number): number {
  return Math.round(ms * 100) / 100;
}
