/** Data about agents that the principal keeps in memory only: what it told their processes, and what is not in their rows yet. */
import type { Clock } from "../../clock.ts";
import type { Survivor } from "../../contract/messages.ts";
import { UnprocessableError } from "../../errors.ts";
import type { AgentRecord } from "../../storage/operational/store.ts";
import type { AttemptName } from "../runs/attempt-name.ts";
import { ClockSkew } from "./clock-skew.ts";
import { ContactChain } from "./contact-chain.ts";

/** One agent's process. */
export interface Contact {
  readonly agentId: string;
  sessionId: string | null;
  /** Time of its last request. */
  seenMonotonic: number;
  seenWall: number;
  /** It has registered with this principal, not with an earlier one only. */
  isRegistered: boolean;
  /** It registered with a principal of another version and has no protocol in common with this one. */
  isForeign: boolean;
  /** The attempts that it says it is executing. */
  running: readonly AttemptName[];
  /** Processes of its tasks that it could not end. */
  survivors: readonly Survivor[];
  readonly skew: ClockSkew;
  /** Orders that were already sent: they are repeated, but do not end a long poll. */
  readonly delivered: Set<string>;
  /** Since when the agent has not mentioned an attempt that it holds (monotonic). */
  readonly missing: Map<string, number>;
  /** A restarted agent's reports up to here must arrive before its former attempts are given up, but no later than `by` (monotonic). */
  settle: { readonly upTo: number; readonly by: number } | null;
  /** Set while the process is asked for a sign of life, which ends its long poll at once: since when (monotonic). Resolves when there is one. */
  asked: (PromiseWithResolvers<void> & { readonly at: number }) | null;
  readonly chain: ContactChain;
  /** A copy of the process was heard, which has the same session. */
  hasCopy: boolean;
}

/** The agents that are not lost. */
export class AgentContacts {
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #contacts = new Map<string, Contact>();
  #plain = 0;

  /** @param timeoutMs the silence after which an agent counts as lost */
  constructor(clock: Clock, timeoutMs: number) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
  }

  get(agentId: string): Contact | undefined {
    return this.#contacts.get(agentId);
  }

  /**
   * The contact of exactly this process.
   * @param lastToken what it says about the last reply that it got
   * @throws UnprocessableError when it must register first, also because it is a copy of the process
   */
  known(agentId: string, sessionId: string, lastToken?: string): Contact {
    const contact = this.#contacts.get(agentId);
    if (contact === undefined || contact.sessionId !== sessionId || contact.isForeign)
      throw registerFirst(agentId);
    requireRecent(contact, lastToken);
    return contact;
  }

  /** The contact of a process, created if necessary; its timeout starts again. */
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
      isRegistered: false,
      isForeign: false,
      running: [],
      survivors: [],
      skew: new ClockSkew(),
      delivered: new Set(),
      missing: new Map(),
      settle: null,
      asked: null,
      chain: new ContactChain(),
      hasCopy: false,
    };
    if (known?.sessionId === null) this.#plain--;
    if (sessionId === null) this.#plain++;
    this.#contacts.set(agentId, contact);
    return contact;
  }

  /** The process is gone; a successor's contact is kept. */
  close(contact: Contact): void {
    if (this.#contacts.get(contact.agentId) !== contact) return;
    this.#contacts.delete(contact.agentId);
    if (contact.sessionId === null) this.#plain--;
  }

  /** Records a sign of life. */
  seen(contact: Contact): void {
    contact.seenMonotonic = this.#clock.monotonic();
    contact.seenWall = this.#clock.now();
  }

  /** Records a heartbeat, which is a sign of life of this very process. */
  heard(contact: Contact): void {
    this.seen(contact);
    contact.asked?.resolve();
    contact.asked = null;
  }

  /** How long nothing was heard of the process, ms. */
  silentMs(contact: Contact): number {
    return this.#clock.monotonic() - contact.seenMonotonic;
  }

  /** Time until the timeout expires if the agent stays silent, ms. */
  leftMs(contact: Contact): number {
    return contact.seenMonotonic + this.#timeoutMs - this.#clock.monotonic();
  }

  /** Number of agents that do not identify their process. */
  get plain(): number {
    return this.#plain;
  }

  /** The principal itself was suspended: silence in that time does not count. */
  forgive(): void {
    for (const contact of this.#contacts.values()) {
      contact.seenMonotonic = this.#clock.monotonic();
      contact.missing.clear();
    }
  }
}

/**
 * Checks the token of a request that may overlap with heartbeats.
 * @throws UnprocessableError when a copy of the process sent it: it has to register, where it is found out which of the two goes on
 */
export function requireRecent(contact: Contact, lastToken: string | undefined): void {
  if (!contact.chain.isRecent(lastToken)) throw isCopy(contact);
}

/**
 * Checks the token that a heartbeat returns.
 * @throws UnprocessableError when a copy of the process sent it
 */
export function requireLatest(contact: Contact, token: string | undefined): void {
  if (!contact.chain.take(token)) throw isCopy(contact);
}

function isCopy(contact: Contact): UnprocessableError {
  contact.hasCopy = true;
  return registerFirst(contact.agentId);
}

/** The error for an agent whose process this principal does not know. */
export function registerFirst(agentId: string): UnprocessableError {
  return new UnprocessableError(
    `This principal does not know agent "${agentId}" with that session: register first.`,
  );
}

/** The error for an agent whose data directory is a copy of another live agent's. */
export function copied(agent: AgentRecord): UnprocessableError {
  return new UnprocessableError(
    `the data directory of agent "${agent.agent_id}" is in use twice: ${agent.host} pid ${agent.pid} answers and has the same one`,
    {
      hint: `one is a copy of the other: remove agents/${agent.agent_id} from the copy's data directory, or give the copy an id of its own with --suffix`,
    },
  );
}

/** The error for an agent whose id is used by another live one. */
export function idInUse(agent: AgentRecord): UnprocessableError {
  const process = agent.pid === null ? "" : ` pid ${agent.pid}`;
  return new UnprocessableError(
    `agent id in use by ${agent.host}${process}; give this one another with --suffix`,
  );
}
