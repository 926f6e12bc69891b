/**
 * The clock of the store's server, which all members share: a deadline that one leader wrote means the same to the next. It counts from this
 * host's monotonic clock, so that a change of this host's time changes nothing.
 */
import { type Clock, systemClock } from "../../clock.ts";

/** Comparisons are less exact than this when the answer took long; a difference within it changes nothing, ms. */
const EXACT_MS = 5;

/** Before the first comparison it is this host's clock. */
export class ServerClock implements Clock {
  readonly #host: Clock;
  /** What the monotonic clock lacks to the server's, ms. */
  #aheadMs: number;

  constructor(host: Clock = systemClock) {
    this.#host = host;
    this.#aheadMs = host.now() - host.monotonic();
  }

  now(): number {
    return Math.round(this.#host.monotonic() + this.#aheadMs);
  }

  monotonic(): number {
    return this.#host.monotonic();
  }

  sinceBoot(): number {
    return this.#host.sinceBoot();
  }

  after(ms: number, ring: () => void): () => void {
    return this.#host.after(ms, ring);
  }

  /** This host's own clock minus the server's, ms. */
  get hostAheadMs(): number {
    return Math.round(this.#host.now() - this.now());
  }

  /**
   * It was compared with the host's.
   * @param offsetMs the server's time minus that of the host's wall clock, ms
   * @param errorMs at most so wrong, ms
   */
  compare(offsetMs: number, errorMs: number): void {
    const aheadMs = offsetMs + this.#host.now() - this.#host.monotonic();
    if (Math.abs(aheadMs - this.#aheadMs) > errorMs + EXACT_MS) this.#aheadMs = aheadMs;
  }
}
