/** Waiting for a time: one timer for deadlines, intervals and retries, and two ways to await it. */
import { type Clock, systemClock } from "./clock.ts";

/** Calls a function at a time that can be changed. It has at most one pending time. */
export class Timer {
  readonly #ring: () => void;
  readonly #clock: Clock;
  readonly #mayRing: () => boolean;
  #callOff: (() => void) | undefined;
  /** Monotonic. */
  #at = Number.POSITIVE_INFINITY;

  /** @param mayRing whether it may be set; called each time */
  constructor(ring: () => void, clock: Clock = systemClock, mayRing: () => boolean = () => true) {
    this.#ring = ring;
    this.#clock = clock;
    this.#mayRing = mayRing;
  }

  /** Whether it is set. */
  get isSet(): boolean {
    return this.#callOff !== undefined;
  }

  /** Sets it to fire in `ms`, replacing an earlier time. */
  in(ms: number): void {
    this.#set(ms, this.#ring);
  }

  /** Sets it to fire in `ms` unless it is set already. */
  within(ms: number): void {
    if (!this.isSet) this.in(ms);
  }

  /** Sets it to fire at `at` (monotonic, ms), unless it fires before that anyway. */
  by(at: number): void {
    if (at < this.#at) this.in(Math.max(1, at - this.#clock.monotonic()));
  }

  /** Fires every `ms` until it is cancelled or set otherwise. */
  every(ms: number): void {
    this.#set(ms, () => {
      this.every(ms);
      this.#ring();
    });
  }

  cancel(): void {
    this.#callOff?.();
    this.#callOff = undefined;
    this.#at = Number.POSITIVE_INFINITY;
  }

  #set(ms: number, ring: () => void): void {
    this.cancel();
    if (!this.#mayRing()) return;
    this.#at = this.#clock.monotonic() + ms;
    this.#callOff = this.#clock.after(ms, () => {
      this.#callOff = undefined;
      this.#at = Number.POSITIVE_INFINITY;
      ring();
    });
  }
}

/** Exponential back-off between attempts, up to a maximum. */
export class BackOff {
  readonly #firstMs: number;
  readonly #lastMs: number;
  readonly #factor: number;
  #ms: number;

  constructor(firstMs: number, lastMs: number, factor = 2) {
    this.#firstMs = this.#ms = firstMs;
    this.#lastMs = lastMs;
    this.#factor = factor;
  }

  /** The next delay, ms; the one after it is longer. */
  next(): number {
    const ms = this.#ms;
    this.#ms = Math.min(ms * this.#factor, this.#lastMs);
    return ms;
  }

  /** Resets the delay to the first one. */
  reset(): void {
    this.#ms = this.#firstMs;
  }
}

/** Resolves when the event loop has had a turn: timers, sockets and signals that were due have been served. */
export function turn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}

/** How long {@link inTurns} occupies the event loop at a time, ms. */
const TURN_MS = 10;

/** Calls `each` with all items; everything else gets its turn in between. */
export async function inTurns<T>(items: Iterable<T>, each: (item: T) => void): Promise<void> {
  let began = performance.now();
  for (const item of items) {
    each(item);
    if (performance.now() - began < TURN_MS) continue;
    await turn();
    began = performance.now();
  }
}

/** Resolves after `ms`, or at once when the signal aborts. */
export function pause(ms: number, signal?: AbortSignal, clock: Clock = systemClock): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      callOff();
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const callOff = clock.after(ms, done);
    signal?.addEventListener("abort", done, { once: true });
  });
}

/** Waits for `work`, but no longer than `ms`. Resolves with whether it was in time. @throws what `work` rejects with in that time */
export function isDoneWithin(
  ms: number,
  work: Promise<unknown>,
  clock: Clock = systemClock,
): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const callOff = clock.after(ms, () => resolve(false));
    work.then(
      () => {
        callOff();
        resolve(true);
      },
      (error) => {
        callOff();
        reject(error);
      },
    );
  });
}
