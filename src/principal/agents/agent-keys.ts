/**
 * Maps agents to keys on a secured principal. An agent's id belongs to the key that first registered it, until that key is revoked: no
 * other agent's key can act for it, take its work or write into the logs of its runs. An admin's key can; what it registers belongs to
 * no key from then on.
 */
import type { Clock } from "../../clock.ts";
import type { VerbEntry } from "../../contract/verb-entry.ts";
import { type Access, ForbiddenError, type Identity } from "../../protocol/doors/access.ts";
import { BackgroundService } from "../../service.ts";
import type { OperationalStore, OperationalTx } from "../../storage/operational/store.ts";
import { quote } from "../../terminal/foreign-text.ts";
import { turn } from "../../timer.ts";
import { registerFirst } from "./agent-contacts.ts";

/** Size of the cache of streams and runs; others are looked up in the store. */
const REMEMBERED = 10_000;
/** Number of runs to look up in the store at once. */
const AT_ONCE = 200;

/** What {@link AgentKeys} needs. */
export interface AgentKeysOptions {
  readonly store: OperationalStore;
  readonly clock: Clock;
  readonly access: Access;
}

/** The keys of agents. */
export class AgentKeys extends BackgroundService {
  readonly name = "agents' keys";
  readonly #o: AgentKeysOptions;
  /** Agent id → public key. */
  readonly #keys = new Map<string, string>();
  /** Stream → agent id, run → ids of the agents that had an attempt of it. */
  readonly #streams = new Map<string, string>();
  readonly #runs = new Map<string, ReadonlySet<string>>();

  constructor(options: AgentKeysOptions) {
    super(options.clock);
    this.#o = options;
  }

  protected override async onStart(): Promise<void> {
    for (const { agent_id, public_key } of await this.#o.store.read((tx) => tx.listAgentKeys()))
      this.#keys.set(agent_id, public_key);
  }

  /**
   * Rejects a request in the name of an agent for which the sender may not act.
   * @throws ForbiddenError, UnprocessableError see {@link check} and {@link checkClaim}
   */
  checkSpeaker(sender: Identity, { speaksFor }: VerbEntry, request: object): void {
    if (speaksFor === undefined || !namesAgent(request)) return;
    const speaker = speaksFor(request);
    if (speaker === "agent") this.check(sender, request.agent_id);
    else if (speaker === "new agent") this.checkClaim(sender, request.agent_id);
  }

  /**
   * Rejects a sender that may not act for an agent.
   * @throws ForbiddenError when its id belongs to another key
   * @throws UnprocessableError when it belongs to no key: it must register first
   */
  check(sender: Identity, agentId: string): void {
    if (sender.role === "admin") return;
    this.checkClaim(sender, agentId);
    if (this.#keys.get(agentId) !== sender.publicKey) throw registerFirst(agentId);
  }

  /**
   * Rejects a sender that could not register an agent.
   * @throws ForbiddenError when its id belongs to another key
   */
  checkClaim(sender: Identity, agentId: string): void {
    if (sender.role !== "admin") this.#refuse(sender, agentId, this.#keys.get(agentId));
  }

  /**
   * An agent registers: from then on its id belongs to that key. Part of the registration.
   * @throws ForbiddenError when it belongs to another key
   */
  async claim(tx: OperationalTx, sender: Identity, agentId: string): Promise<void> {
    const owner = await tx.getAgentKey(agentId);
    if (owner === sender.publicKey) return;
    if (sender.role === "admin") {
      if (owner === null) return;
      await tx.transferAgentKey(agentId, owner, null, this.#o.clock.now());
      tx.afterCommit(() => this.#keys.delete(agentId));
      return;
    }
    this.#refuse(sender, agentId, owner ?? undefined);
    await tx.transferAgentKey(agentId, owner, sender.publicKey, this.#o.clock.now());
    tx.afterCommit(() => this.#keys.set(agentId, sender.publicKey));
  }

  /** Why lines may not be delivered in the name of an agent; null when they may. */
  async refusal(sender: Identity, agentId: string, streamId: string): Promise<string | null> {
    if (sender.role !== "admin" && this.#keys.get(agentId) !== sender.publicKey)
      return `the key ${sender.name} may not act for agent ${quote(agentId)}`;
    const owner = await this.#streamOwner(streamId);
    if (owner === agentId) return null;
    return `agent ${quote(agentId)} sent lines of a stream that ${owner === undefined ? "no agent has registered" : "is another agent's"}`;
  }

  /**
   * Those of the runs into whose logs the key may not write, because all their attempts were other agents'. Runs that the principal has
   * removed belong to no one, so that very late lines are not lost.
   * @param agentId the agent that delivers, or null when it does not say; then any of the key's agents will do
   */
  async foreignRuns(
    sender: Identity,
    agentId: string | null,
    runIds: Iterable<string>,
  ): Promise<ReadonlySet<string>> {
    const foreign = new Set<string>();
    const isMine = (agent: string) =>
      agentId === null ? this.#keys.get(agent) === sender.publicKey : agent === agentId;
    if (agentId === null && sender.role === "admin") return foreign;
    const unknown = [...new Set(runIds)].filter((id) => ![...(this.#runs.get(id) ?? [])].some(isMine));
    for (let from = 0; from < unknown.length; from += AT_ONCE) {
      // A batch may name any number of runs that do not exist.
      if (from > 0) await turn();
      const some = unknown.slice(from, from + AT_ONCE);
      for (const [runId, agents] of await this.#o.store.read((tx) => tx.agentsOfRuns(some))) {
        remember(this.#runs, runId, agents);
        if (![...agents].some(isMine)) foreign.add(runId);
      }
    }
    return foreign;
  }

  async #streamOwner(streamId: string): Promise<string | undefined> {
    const known = this.#streams.get(streamId);
    if (known !== undefined) return known;
    const owner = (await this.#o.store.read((tx) => tx.getStream(streamId)))?.agent_id;
    if (owner !== undefined) remember(this.#streams, streamId, owner);
    return owner;
  }

  #refuse(sender: Identity, agentId: string, owner: string | undefined): void {
    if (owner === sender.publicKey) return;
    const holder = owner === undefined ? undefined : this.#o.access.identify(owner);
    if (holder === undefined || holder.revoked) return;
    throw new ForbiddenError(
      `The agent id ${quote(agentId)} belongs to the key ${holder.name}: the key ${sender.name} may not act for it.`,
      {
        hint: `Give this agent another id with --suffix. If its host has a new key, revoke the old one first: cdktr keys revoke ${holder.name}`,
      },
    );
  }
}

function namesAgent(request: object): request is { readonly agent_id: string } {
  return "agent_id" in request;
}

function remember<V>(map: Map<string, V>, key: string, value: V): void {
  if (map.size >= REMEMBERED) map.clear();
  map.set(key, value);
}
