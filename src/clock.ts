/** Time as an argument, so that a test can say what it is. */
export interface Clock {
  /** Wall time, ms since the epoch. It may jump. */
  now(): number;
  /** Time that only moves forward, ms; no relation to the wall clock. */
  monotonic(): number;
}

/** The clocks of this machine. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
};
