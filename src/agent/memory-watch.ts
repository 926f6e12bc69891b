import { BackOff, Timer } from "../timer.ts";
import { readPeakMemory } from "./proc-files.ts";

/** Intervals: first this long, then a quarter of the process's age, but at most a second. */
const FIRST_PAUSE_MS = 3;
const GROWTH = 1.25;
const LONGEST_PAUSE_MS = 1000;
/** Memory counters are accurate to some pages per processor. */
const SLACK_KB = 1024;
/** A process with less memory is not the program yet: the kernel is still loading it. */
const LOADING_KB = 256;

/** The agent's own peak when it was last looked at, KiB. */
let ownPeakKb = 0;

/**
 * Peak resident memory of a process. On Linux the kernel's own figure at exit starts with the memory of the parent process, so it
 * is only meaningful when it is larger than that. Below, the largest sample taken while it ran is used.
 */
export class MemoryWatch {
  #seenKb: number | undefined;
  readonly #timer = new Timer(() => this.#look());
  readonly #pauses = new BackOff(FIRST_PAUSE_MS, LONGEST_PAUSE_MS, GROWTH);
  readonly #pid: number;

  constructor(pid: number) {
    this.#pid = pid;
  }

  /** Starts sampling. */
  start(): void {
    this.#look();
  }

  /** Stops sampling: the process has ended. */
  stop(): void {
    this.#timer.cancel();
  }

  /** The peak, KiB, from the samples and the kernel's figure; null when unknown. */
  peakKb(reportedKb: number): number | null {
    // A peak never falls: it is only looked at again when it could make a difference.
    if (reportedKb > ownPeakKb + SLACK_KB) ownPeakKb = process.resourceUsage().maxRSS;
    if (reportedKb > ownPeakKb + SLACK_KB) return Math.round(reportedKb);
    return this.#seenKb ?? null;
  }

  #look(): void {
    const peak = readPeakMemory(this.#pid);
    if (peak === undefined) return;
    if (peak >= LOADING_KB) this.#seenKb = Math.max(this.#seenKb ?? 0, peak);
    this.#timer.in(this.#pauses.next());
  }
}
