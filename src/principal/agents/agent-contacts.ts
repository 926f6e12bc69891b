/** What is known of agents only while the principal runs: what their processes were told, and what their rows do not say yet. */
import type { Clock } from "../../clock.ts";
import { UnprocessableError } from "../../errors.ts";
import type { AgentRecord } from "../../storage/operational/store.ts";
import type { AttemptName } from "../runs/attempt-name.ts";

/** One agent's process. */
export interface Contact {
  readonly agentId: string;
  sessionId: string | null;
  /** When it was last heard of. */
  seenMonotonic: number;
  seenWall: number;
  /** It registered with a principal of another version, and has no protocol in common with this one. */
  isForeign: boolean;
  /** What it says it executes. */
  running: readonly AttemptName[];
  /** Orders that were in a reply already: they are repeated, but no reason to reply at once. */
  readonly delivered: Set<string>;
  /** Since when the agent does not name an attempt it holds (monotonic). */
  readonly missing: Map<string, number>;
  /** A restarted agent's reports up to here must be in before its former attempts are given up; no later than `by` (monotonic). */
  settle: { readonly upTo: number; readonly by: number } | null;
}

/** The agents that are not lost. */
export class AgentContacts {
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #contacts = new Map<string, Contact>();
  #plain = 0;

  /** @param timeoutMs the silence after which an agent is taken for lost */
  constructor(clock: Clock, timeoutMs: number) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
  }

  get(agentId: string): Contact | undefined {
    return this.#contacts.get(agentId);
  }

  /**
   * The contact of this very process.
   * @throws UnprocessableError when it must register first
   */
  known(agentId: string, sessionId: string): Contact {
    const contact = this.#contacts.get(agentId);
    if (contact === undefined || contact.sessionId !== sessionId || contact.isForeign)
      throw registerFirst(agentId);
    return contact;
  }

  /** The contact of a process, a new one if there is none; it counts as heard of now. */
  open(agentId: string, sessionId: string | null, seenWall = this.#clock.now()): Contact {
    const known = this.#contacts.get(agentId);
    if (known?.sessionId === sessionId) {
      this.seen(known);
      return known;
    }
    const contact: Contact = {
      agentId,
      sessionId,
      seenMonotonic: this.#clock.monotonic(),
      seenWall,
      isForeign: false,
      running: [],
      delivered: new Set(),
      missing: new Map(),
      settle: null,
    };
    if (known?.sessionId === null) this.#plain--;
    if (sessionId === null) this.#plain++;
    this.#contacts.set(agentId, contact);
    return contact;
  }

  /** The process is gone; that of a successor stays. */
  close(contact: Contact): void {
    if (this.#contacts.get(contact.agentId) !== contact) return;
    this.#contacts.delete(contact.agentId);
    if (contact.sessionId === null) this.#plain--;
  }

  /** A sign of life. */
  seen(contact: Contact): void {
    contact.seenMonotonic = this.#clock.monotonic();
    contact.seenWall = this.#clock.now();
  }

  /** Time until it is silent for the whole timeout, if nothing is heard, ms. */
  leftMs(contact: Contact): number {
    return contact.seenMonotonic + this.#timeoutMs - this.#clock.monotonic();
  }

  /** How many do not name their process. */
  get plain(): number {
    return this.#plain;
  }

  /** The principal itself was not there for a while: nobody's silence counts. */
  forgive(): void {
    for (const contact of this.#contacts.values()) {
      contact.seenMonotonic = this.#clock.monotonic();
      contact.missing.clear();
    }
  }
}

/** What an agent is told that this principal does not know, or knows another process of. */
export function registerFirst(agentId: string): UnprocessableError {
  return new UnprocessableError(
    `This principal does not know agent "${agentId}" with that session: register first.`,
  );
}

/** What an agent is told whose id another one has that is alive. */
export function idInUse(agent: AgentRecord): UnprocessableError {
  const process = agent.pid === null ? "" : ` pid ${agent.pid}`;
  return new UnprocessableError(
    `agent id in use by ${agent.host}${process}; give this one another with --suffix`,
  );
}
