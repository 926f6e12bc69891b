/**
 * Notices when this process itself was not there: stopped by a signal, starved, or its event loop blocked. What
 * others said meanwhile waits in the sockets, so their silence means nothing.
 */
import type { Clock } from "../../clock.ts";
import type { Service } from "../../service.ts";

/** Ticks, and reports ticks that come late. */
export class PauseWatch implements Service {
  readonly name = "pause watch";
  readonly #clock: Clock;
  readonly #tickMs: number;
  readonly #toleranceMs: number;
  readonly #paused: (ms: number) => void;
  #last = 0;
  #timer: Timer | undefined;

  /**
   * @param options.toleranceMs a tick this late is a pause
   * @param options.paused told how long the pause was, ms
   */
  constructor(options: { clock: Clock; toleranceMs: number; paused: (ms: number) => void }) {
    this.#clock = options.clock;
    this.#toleranceMs = options.toleranceMs;
    this.#tickMs = Math.min(1000, Math.max(20, options.toleranceMs / 2));
    this.#paused = options.paused;
  }

  async start(): Promise<void> {
    this.#last = this.#clock.monotonic();
    this.#timer = setInterval(() => this.check(), this.#tickMs);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
  }

  /** Looks now, so that whoever is about to act on a silence hears of a pause first. */
  check(): void {
    const now = this.#clock.monotonic();
    const late = now - this.#last - this.#tickMs;
    this.#last = now;
    if (late > this.#toleranceMs) this.#paused(late);
  }
}
