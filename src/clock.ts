/** Clocks as arguments, so that tests can control time. */
export interface Clock {
  /** Wall time, ms since the epoch. It may jump. */
  now(): number;
  /** Monotonic time, ms; unrelated to the wall clock. */
  monotonic(): number;
  /** Calls `ring` once, after `ms`. Returns a function that cancels it. */
  after(ms: number, ring: () => void): () => void;
}

/** The clocks of this machine. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after: (ms, ring) => {
    const timer = setTimeout(ring, ms);
    return () => clearTimeout(timer);
  },
};
