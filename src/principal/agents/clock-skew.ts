/** Smaller differences are ignored, ms. A delayed heartbeat looks like a slow clock. */
const TOLERANCE_MS = 3000;
/** Number of consecutive heartbeats that must agree. */
const AGREEING = 3;

/** Compares an agent's clock with the principal's: from what the agent measured when it registered, then from its heartbeats. */
export class ClockSkew {
  readonly #recent: number[] = [];
  #aheadMs = 0;

  /** How far the agent's clock is ahead of the principal's, ms; 0 while they agree within a few seconds. */
  get aheadMs(): number {
    return this.#aheadMs;
  }

  /**
   * Adds a heartbeat.
   * @returns whether {@link aheadMs} changed from or to 0
   */
  heard(agentMs: number, ownMs: number): boolean {
    this.#recent.push(agentMs - ownMs);
    if (this.#recent.length < AGREEING) return false;
    if (this.#recent.length > AGREEING) this.#recent.shift();
    // Delays only make the clock look slower, so the largest difference is the most accurate.
    const ahead = Math.max(...this.#recent);
    const isFar = this.#recent.every((each) => Math.abs(each) > TOLERANCE_MS && each > 0 === ahead > 0);
    return this.#take(isFar ? ahead : 0);
  }

  /**
   * Takes what the agent has measured itself, which counts at once: delays are taken into account.
   * @returns whether {@link aheadMs} changed from or to 0
   */
  measured(aheadMs: number): boolean {
    this.#recent.length = 0;
    return this.#take(Math.abs(aheadMs) > TOLERANCE_MS ? aheadMs : 0);
  }

  #take(aheadMs: number): boolean {
    const before = this.#aheadMs;
    this.#aheadMs = aheadMs;
    return (before === 0) !== (aheadMs === 0);
  }
}
