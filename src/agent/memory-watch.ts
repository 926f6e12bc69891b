import { BackOff, Timer } from "../timer.ts";
import { readPeakMemory } from "./proc-files.ts";

/** Looks again after so long, then after a quarter of a process's age, and at least every second. */
const FIRST_PAUSE_MS = 3;
const GROWTH = 1.25;
const LONGEST_PAUSE_MS = 1000;
/** Counters of memory are exact to some pages per processor. */
const SLACK_KB = 1024;
/** A process with less is not yet the program: the kernel is loading it. */
const LOADING_KB = 256;

/**
 * Peak resident memory of a process. The kernel's own figure at its end begins, on Linux, with the memory of the process
 * that started it: it says something only when it is larger than that. Below, what was seen while it ran is the answer.
 */
export class MemoryWatch {
  /** The agent's own peak when the process was started, KiB. */
  readonly #inheritedKb = process.resourceUsage().maxRSS;
  #seenKb: number | undefined;
  readonly #timer = new Timer(() => this.#look());
  readonly #pauses = new BackOff(FIRST_PAUSE_MS, LONGEST_PAUSE_MS, GROWTH);
  #pid = 0;

  /** Begins to look. */
  watch(pid: number): void {
    this.#pid = pid;
    this.#look();
  }

  /** The process has ended. */
  stop(): void {
    this.#timer.cancel();
  }

  /** The peak, KiB, from what was seen and from the kernel's figure; null when nothing is known. */
  peakKb(reportedKb: number): number | null {
    if (reportedKb > this.#inheritedKb + SLACK_KB) return Math.round(reportedKb);
    return this.#seenKb ?? null;
  }

  #look(): void {
    const peak = readPeakMemory(this.#pid);
    if (peak === undefined) return;
    if (peak >= LOADING_KB) this.#seenKb = Math.max(this.#seenKb ?? 0, peak);
    this.#timer.in(this.#pauses.next());
  }
}
