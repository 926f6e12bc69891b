/** Long work in pieces, between which the event loop turns. */
import { turn } from "../../timer.ts";

/** How long the event loop may be occupied, ms. */
const TURN_MS = 10;

/** Lets the event loop turn when it has been occupied for long enough. */
export class Turns {
  #began = performance.now();

  /** Called after each piece of the work. */
  async next(): Promise<void> {
    if (performance.now() - this.#began < TURN_MS) return;
    await turn();
    this.#began = performance.now();
  }
}
