/**
 * Agents of the first protocol, known only by name. They have no session and send no heartbeats; every request of theirs is a sign of
 * life. Anyone can make up such names, so their number is limited.
 */
import type { Clock } from "../../clock.ts";
import { FIRST_PROTOCOL } from "../../contract/version.ts";
import { NotFoundError, UnprocessableError } from "../../errors.ts";
import type { Identity } from "../../protocol/doors/access.ts";
import type { OperationalStore, OperationalTx } from "../../storage/operational/store.ts";
import { quote } from "../../terminal/foreign-text.ts";
import { agentKey } from "../alerts/agent-alerts.ts";
import type { Alerts } from "../alerts/alerts.ts";
import type { Outcome } from "../runs/hearing.ts";
import { type AgentContacts, idInUse } from "./agent-contacts.ts";
import type { AgentKeys } from "./agent-keys.ts";

/** Maximum number of them that are not lost. */
const MOST = 1000;

/** What {@link PlainAgents} needs. */
export interface PlainAgentsOptions {
  readonly store: OperationalStore;
  readonly clock: Clock;
  /** Says which key may act for which agent; absent without keys. */
  readonly keys: AgentKeys | undefined;
  readonly contacts: AgentContacts;
  readonly heartbeatTimeoutMs: number;
  /** As in {@link AgentRegistryOptions}. */
  readonly alerts?: Pick<Alerts, "resolve">;
  /** Called on a sign of life of an agent. */
  readonly opened: () => void;
  /** A previously unknown agent has registered, and this is on disk. */
  readonly registered: (agentId: string) => void;
}

/** The part of the registry for agents known only by name. */
export class PlainAgents {
  readonly #o: PlainAgentsOptions;

  constructor(options: PlainAgentsOptions) {
    this.#o = options;
  }

  /**
   * Registers an agent; a no-op if it is registered.
   * @param sender owner of the key of the request, when there are keys
   * @throws UnprocessableError when an agent with a session has the id, or when there are too many
   * @throws ForbiddenError when the id belongs to another key
   */
  async register(agentId: string, sender?: Identity): Promise<void> {
    const { store, clock, keys, contacts } = this.#o;
    await store.transact(async (tx) => {
      if (sender !== undefined) await keys?.claim(tx, sender, agentId);
      const known = await tx.getAgent(agentId);
      if (known !== null && known.session_id !== null && known.status !== "LOST") throw idInUse(known);
      if (known !== null && known.status !== "LOST") return;
      if (contacts.plain >= MOST) {
        throw new UnprocessableError(
          `There are already ${MOST} agents that are known only by name; retry when some of them have fallen silent.`,
        );
      }
      await tx.registerAgent(
        {
          agent_id: agentId,
          session_id: null,
          stream_id: null,
          host: known?.host ?? "unknown",
          pid: null,
          version: "unknown",
          protocol: FIRST_PROTOCOL.version,
          oldest_protocol: FIRST_PROTOCOL.oldest,
          max_concurrent_workflows: 1,
          labels: {},
          status: "UP",
          registered_at_ms: clock.now(),
          last_heartbeat_ms: clock.now(),
        },
        known,
        this.#o.heartbeatTimeoutMs,
      );
      await this.#o.alerts?.resolve(tx, agentKey(agentId), clock.now());
      tx.afterCommit(() => this.#o.registered(agentId));
    });
    contacts.open(agentId, null);
    this.#o.opened();
  }

  /**
   * An agent asks for work; it is registered if it is unknown.
   * @throws UnprocessableError when its id belongs to no key: it must register first
   */
  async fetches(agentId: string, sender?: Identity): Promise<void> {
    if (!this.seen(agentId)) await this.register(agentId, sender);
    else if (sender !== undefined) this.#o.keys?.check(sender, agentId);
  }

  /** Records a sign of life. Returns whether the agent is known. */
  seen(agentId: string): boolean {
    const contact = this.#o.contacts.get(agentId);
    if (contact === undefined || contact.sessionId !== null) return false;
    this.#o.contacts.seen(contact);
    return true;
  }

  /** Applies a status without number and attempt: it refers to the newest attempt of the run that the agent holds. */
  async hear(
    agentId: string,
    runId: string,
    apply: (tx: OperationalTx, attempt: number) => Promise<Outcome>,
  ): Promise<Outcome> {
    return this.#o.store.transact(async (tx) => {
      const run = await tx.getRun(runId);
      if (run === null) throw new NotFoundError(`There is no run ${quote(runId)}.`);
      const attempts = await tx.listAttempts(runId, 0);
      const own = attempts.findLast((attempt) => attempt.agent_id === agentId);
      return own === undefined ? "fenced" : apply(tx, own.attempt);
    });
  }
}
