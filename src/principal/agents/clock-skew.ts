/** A difference below this is not worth a word, ms. A heartbeat that was long on its way looks like a slow clock. */
const TOLERANCE_MS = 3000;
/** So many heartbeats in a row must agree. */
const AGREEING = 3;

/** Compares an agent's clock with the principal's, from its heartbeats. */
export class ClockSkew {
  readonly #recent: number[] = [];
  #aheadMs = 0;

  /** By how much the agent's clock is ahead of the principal's, ms; 0 as long as they agree within a few seconds. */
  get aheadMs(): number {
    return this.#aheadMs;
  }

  /**
   * Takes the times of a heartbeat.
   * @returns whether {@link aheadMs} has become 0 or is no longer 0
   */
  heard(agentMs: number, ownMs: number): boolean {
    this.#recent.push(agentMs - ownMs);
    if (this.#recent.length < AGREEING) return false;
    if (this.#recent.length > AGREEING) this.#recent.shift();
    // Delays only make it look slower: the largest difference is the nearest to the truth.
    const ahead = Math.max(...this.#recent);
    const isFar = this.#recent.every((each) => Math.abs(each) > TOLERANCE_MS && each > 0 === ahead > 0);
    const before = this.#aheadMs;
    this.#aheadMs = isFar ? ahead : 0;
    return (before === 0) !== (this.#aheadMs === 0);
  }
}
