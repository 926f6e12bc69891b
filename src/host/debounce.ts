import { Timer } from "../timer.ts";

/** Events in quick succession are merged, but never delayed longer than the second value, ms. */
const DEBOUNCE_MS = 40;
const MAX_DELAY_MS = 250;

/** Calls a function once after a burst of events. */
export class Debounce {
  readonly #timer: Timer;
  #firstEvent = 0;
  #isCancelled = false;

  constructor(call: () => void) {
    this.#timer = new Timer(call, undefined, () => !this.#isCancelled);
  }

  /** Reports an event. */
  soon(): void {
    const now = performance.now();
    if (!this.#timer.isSet) this.#firstEvent = now;
    this.#timer.in(Math.max(0, Math.min(DEBOUNCE_MS, this.#firstEvent + MAX_DELAY_MS - now)));
  }

  /** Stops it permanently. */
  cancel(): void {
    this.#isCancelled = true;
    this.#timer.cancel();
  }
}
