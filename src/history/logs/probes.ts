import { PROBE } from "../../contract/messages.ts";
import { dropOldest } from "../../recent.ts";

/** Number of probes to remember; each belongs, or belonged, to the connection of a subscriber. */
const REMEMBERED = 10_000;
const SUBSCRIBED = 1;

/** The probes to which clients of the live log have subscribed; see `ISSUBSCRIBED`. */
export class Probes {
  readonly #known = new Set<string>();

  /** Processes a message from an XPUB: a subscription, or anything else that a peer sent, even nothing. */
  take(frame: Buffer): void {
    const probe = frame.toString("latin1", 1);
    if (!PROBE.test(probe)) return;
    if (frame[0] !== SUBSCRIBED) {
      this.#known.delete(probe);
      return;
    }
    this.#known.add(probe);
    dropOldest(this.#known, REMEMBERED);
  }

  has(probe: string): boolean {
    return this.#known.has(probe);
  }
}
