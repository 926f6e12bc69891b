/** Chooses which waiting request gets the next entry of the queue. */
import type { AgentRecord, OperationalTx, QueueHead } from "../../storage/operational/store.ts";
import { meets, type Needs, readNeeds } from "../limits/needs.ts";

/** A request for work. */
interface Request {
  readonly agentId: string;
}

/** The waiting requests, in order, during one unit of work. Each agent is looked up only once. */
export class WaitingAgents<R extends Request> {
  readonly #tx: OperationalTx;
  readonly #requests: Set<R>;
  readonly #givesSecrets: boolean;
  readonly #agents = new Map<string, AgentRecord | null>();
  readonly #room = new Map<string, number>();
  #up: readonly AgentRecord[] | undefined;

  /** @param givesSecrets whether they may get secrets of the principal's store */
  constructor(tx: OperationalTx, requests: Iterable<R>, givesSecrets: boolean) {
    this.#tx = tx;
    this.#givesSecrets = givesSecrets;
    this.#requests = new Set(requests);
  }

  get isEmpty(): boolean {
    return this.#requests.size === 0;
  }

  /**
   * The request that gets an entry: for tasks that spread, the one whose agent has the most room; otherwise preferably one whose agent has
   * had part of the same run. Undefined when none of the agents can take it.
   */
  async next(head: QueueHead): Promise<R | undefined> {
    if (head.needs === "") return this.#requests.values().next().value;
    const needs = readNeeds(head.needs);
    let best: R | undefined;
    let most = Number.NEGATIVE_INFINITY;
    for (const request of this.#requests) {
      const agent = await this.#agent(request.agentId);
      if (agent === null || !meets(agent, needs, this.#givesSecrets)) continue;
      const merit = needs.placement.spread ? await this.#roomOf(agent) : await this.#nearness(agent, head);
      if (merit <= most) continue;
      best = request;
      most = merit;
    }
    return best;
  }

  /** Whether an agent that is up could take this, whether or not it has asked for work. */
  async couldTake(needs: Needs): Promise<boolean> {
    this.#up ??= (await this.#tx.listAgents()).filter(({ status }) => status === "UP");
    return this.#up.some((agent) => meets(agent, needs, this.#givesSecrets));
  }

  /** A request is answered. @param takes whether its agent has less room now */
  answered(request: R, takes: boolean): void {
    this.#requests.delete(request);
    const room = this.#room.get(request.agentId);
    if (takes && room !== undefined) this.#room.set(request.agentId, room - 1);
  }

  async #agent(agentId: string): Promise<AgentRecord | null> {
    const known = this.#agents.get(agentId);
    if (known !== undefined) return known;
    const agent = await this.#tx.getAgent(agentId);
    this.#agents.set(agentId, agent);
    return agent;
  }

  async #nearness(agent: AgentRecord, { slice, workflow_instance_id }: QueueHead): Promise<number> {
    return slice > 0 && (await this.#tx.hasHadSlice(agent.agent_id, workflow_instance_id)) ? 1 : 0;
  }

  async #roomOf({ agent_id, max_concurrent_workflows }: AgentRecord): Promise<number> {
    const known = this.#room.get(agent_id);
    if (known !== undefined) return known;
    const room = max_concurrent_workflows - (await this.#tx.openAttempts(agent_id)).length;
    this.#room.set(agent_id, room);
    return room;
  }
}
