/** Clocks as arguments, so that tests can control time. */
import { monotonicSinceBoot } from "./host/boot.ts";

export interface Clock {
  /** Wall time, ms since the epoch. It may jump. */
  now(): number;
  /** Monotonic time, ms; not comparable with the wall clock or with other processes. */
  monotonic(): number;
  /** Monotonic time since the boot of the host, ms: the processes of one boot share it. It stands still while the host is suspended. */
  sinceBoot(): number;
  /** Calls `ring` once, after `ms`. Returns a function that cancels it. */
  after(ms: number, ring: () => void): () => void;
}

/** The longest time of a timer of the runtime, ms: a longer one fires at once. */
const LONGEST_MS = 0x7fff_ffff;

/** The clocks of this machine. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sinceBoot: monotonicSinceBoot,
  after: (ms, ring) => {
    let timer: NodeJS.Timeout;
    const wait = (left: number) => {
      timer =
        left > LONGEST_MS ? setTimeout(() => wait(left - LONGEST_MS), LONGEST_MS) : setTimeout(ring, left);
    };
    wait(ms);
    return () => clearTimeout(timer);
  },
};
