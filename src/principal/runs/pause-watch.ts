/**
 * Detects when this process itself was suspended: stopped by a signal, starved, or its event loop blocked. Messages from others wait in
 * the sockets during that time, so their silence means nothing.
 */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import { BackgroundService } from "../../service.ts";
import type { PrincipalEvents } from "../principal-events.ts";

/** Each tick wakes the process, ms. */
const LONGEST_TICK_MS = 2500;

/** Ticks, and reports late ticks. */
export class PauseWatch extends BackgroundService {
  readonly name = "pause watch";
  readonly #events: PrincipalEvents;
  readonly #log: ConsolaInstance;
  readonly #tickMs: number;
  readonly #toleranceMs: number;
  readonly #tick = this.timer(() => this.check());
  #last = 0;

  /** @param options.toleranceMs a tick that is this late counts as a pause */
  constructor(options: { clock: Clock; events: PrincipalEvents; log: ConsolaInstance; toleranceMs: number }) {
    super(options.clock);
    this.#events = options.events;
    this.#log = options.log;
    this.#toleranceMs = options.toleranceMs;
    this.#tickMs = Math.min(LONGEST_TICK_MS, Math.max(20, options.toleranceMs / 2));
  }

  protected override onStart(): void {
    this.#last = this.clock.monotonic();
    this.#tick.every(this.#tickMs);
  }

  /** Checks now, so that code about to act on a silence learns of a pause first. */
  check(): void {
    const now = this.clock.monotonic();
    const late = now - this.#last - this.#tickMs;
    this.#last = now;
    if (late <= this.#toleranceMs) return;
    this.#log.warn(`This principal was suspended for ${Math.round(late)} ms; agents get a fresh timeout.`);
    this.#events.emit("principal paused", late);
  }
}
