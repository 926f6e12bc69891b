/**
 * Tells an agent's process from a copy of it that goes on with the same memory, as when a snapshot of a virtual machine is resumed while
 * the original runs on. Every reply to a heartbeat carries a new token, and the process returns the token of the last reply that it got.
 * One process therefore never returns a token again after it has returned a later one; of two, the one that is behind does.
 *
 *   reply ──▶ offered ──▶ returned: it is the latest ──▶ another is returned: the previous one ──▶ stale
 *                │                                                                                  ▲
 *                └──────────────── a sibling was returned ──────────────────────────────────────────┘
 */

/** Maximum number of tokens that were given out and not returned: replies that were lost, or that nobody waited for. */
const MOST_OFFERED = 100;

/** The tokens of one process. */
export class ContactChain {
  #latest: string | undefined;
  #previous: string | undefined;
  readonly #offered = new Set<string>();

  /** A token for the next reply. */
  offer(): string {
    const token = crypto.randomUUID();
    const [oldest] = this.#offered;
    if (this.#offered.size >= MOST_OFFERED && oldest !== undefined) this.#offered.delete(oldest);
    this.#offered.add(token);
    return token;
  }

  /**
   * A heartbeat returns a token. The first one of a process that registered with an earlier principal is taken as it is.
   * @param token undefined for an agent that knows of no tokens
   * @returns whether it comes from the process that is ahead
   */
  take(token: string | undefined): boolean {
    if (token === undefined || token === this.#latest) return true;
    const isFirst = this.#latest === undefined && this.#offered.size === 0;
    if (!isFirst && !this.#offered.has(token)) return false;
    this.#previous = this.#latest;
    this.#latest = token;
    this.#offered.clear();
    return true;
  }

  /** Whether a token that came with another request, which may overlap with heartbeats, is from the process that is ahead. */
  isRecent(token: string | undefined): boolean {
    if (token === undefined || token === this.#latest || token === this.#previous) return true;
    return this.#offered.has(token) || (this.#latest === undefined && this.#offered.size === 0);
  }

  /** The process has registered again, with this token: requests that it sent before are still under way. */
  restart(token: string | undefined): void {
    this.#latest = undefined;
    this.#previous = token;
    this.#offered.clear();
  }
}
