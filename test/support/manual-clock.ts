import type { Clock } from "../../src/clock.ts";

/** A clock that a test moves forward, and which then fires the timers that are due. */
export class ManualClock implements Clock {
  #time = 0;
  readonly #alarms = new Set<{ readonly at: number; readonly ring: () => void }>();

  now(): number {
    return this.#time;
  }

  monotonic(): number {
    return this.#time;
  }

  sinceBoot(): number {
    return this.#time;
  }

  after(ms: number, ring: () => void): () => void {
    const alarm = { at: this.#time + ms, ring };
    this.#alarms.add(alarm);
    return () => this.#alarms.delete(alarm);
  }

  /** What is going to ring. */
  get alarms(): number {
    return this.#alarms.size;
  }

  /** Lets `ms` go by, and rings in order. */
  advance(ms: number): void {
    const end = this.#time + ms;
    for (;;) {
      const [next] = [...this.#alarms].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at);
      if (next === undefined) break;
      this.#alarms.delete(next);
      this.#time = Math.max(this.#time, next.at);
      next.ring();
    }
    this.#time = end;
  }
}
