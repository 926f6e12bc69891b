import type { ConsolaInstance } from "consola";

/** A warning about something that may happen very often: logged at once the first time, then at most once a minute with the count. */
const INTERVAL_MS = 60_000;

export class RateLimitedWarning {
  readonly #log: ConsolaInstance;
  #count = 0;
  #lastMs = Number.NEGATIVE_INFINITY;

  constructor(log: ConsolaInstance) {
    this.#log = log;
  }

  /**
   * It has happened `times` more.
   * @param describe makes the message from the count since the last one
   */
  warn(times: number, describe: (count: number) => string): void {
    this.#count += times;
    const now = performance.now();
    if (now - this.#lastMs < INTERVAL_MS) return;
    this.#lastMs = now;
    this.#log.warn(describe(this.#count));
    this.#count = 0;
  }
}
