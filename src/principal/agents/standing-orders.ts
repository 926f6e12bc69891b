/** Orders for agents: what to stop, that they drain, and how far their streams have been received. */
import type { AgentOrders, StopOrder } from "../../contract/messages.ts";
import type { OperationalStore, OperationalTx } from "../../storage/operational/store.ts";
import { RUN_TRANSITIONS } from "../../workflow/run-state.ts";
import { isTerminal } from "../../workflow/status.ts";
import type { Installation } from "../installation.ts";
import { type AttemptName, nameOf } from "../runs/attempt-name.ts";
import type { Contact } from "./agent-contacts.ts";

/** How far the history has received an agent's log stream. */
export interface LogPositions {
  position(streamId: string): { received: number; durable: number };
  /** The agent cannot send lines before `firstSeq` any more. */
  agentHoldsFrom(streamId: string, firstSeq: number): void;
  /**
   * Waits some seconds until {@link position} knows the stream.
   * @returns whether it does, or is not going to know it soon
   */
  locate(streamId: string): Promise<boolean>;
  /** Resolves when every line received before is in DuckDB. */
  flush(): Promise<void>;
}

/** An agent's process; its session is null if it does not identify itself. */
interface AgentProcess {
  readonly agentId: string;
  readonly sessionId: string | null;
}

/** Orders are derived from the operational state; they stand until they are carried out. */
export class StandingOrders {
  readonly #store: OperationalStore;
  readonly #logs: LogPositions;
  readonly #principalId: string;
  readonly #installation: Installation;

  constructor(options: {
    store: OperationalStore;
    logs: LogPositions;
    principalId: string;
    installation: Installation;
  }) {
    this.#installation = options.installation;
    this.#store = options.store;
    this.#logs = options.logs;
    this.#principalId = options.principalId;
  }

  /**
   * The orders for an agent's process.
   * @param running attempts that it is executing, as far as is known
   */
  of(agent: AgentProcess, running: readonly AttemptName[]): Promise<AgentOrders> {
    return this.#store.read((tx) => this.within(tx, agent, running));
  }

  /**
   * As {@link of}, as part of a unit of work: valid once that is committed.
   * @param stream the agent's stream, and its last report; by default the registered one
   */
  async within(
    tx: OperationalTx,
    { agentId, sessionId }: AgentProcess,
    running: readonly AttemptName[],
    stream?: { readonly id: string; readonly seq: number },
  ): Promise<AgentOrders> {
    const agent = await tx.getAgent(agentId);
    const stop: StopOrder[] = [];
    for (const attempt of await tx.attemptsToStop(agentId))
      if (attempt.session_id === sessionId) stop.push(stopOrder(attempt, attempt.reason));
    for (const { items, ...attempt } of await tx.itemsToStop(agentId)) {
      if (attempt.session_id !== sessionId) continue;
      stop.push({ ...stopOrder(attempt, "cancelled"), items: [...items] });
    }
    for (const one of await this.#lost(tx, { agentId, sessionId }, running)) {
      const run = await tx.getRun(one.workflow_instance_id);
      stop.push(stopOrder(one, run?.cancel_requested_at_ms != null ? "cancelled" : "superseded"));
    }
    const id = stream?.id ?? agent?.stream_id ?? null;
    const position = id === null ? { received: 0, durable: 0 } : this.#logs.position(id);
    return {
      principal_id: this.#principalId,
      installation_id: this.#installation.id,
      stop,
      drain: agent?.status === "DRAINING",
      log_received_seq: position.received,
      log_durable_seq: position.durable,
      report_durable_seq: stream?.seq ?? (id === null ? 0 : ((await tx.getStream(id))?.seq ?? 0)),
    };
  }

  /**
   * Those of the runs that are over: an agent that has had slices of them needs their directories no longer.
   * @param ids as an agent names them: there may be no such run, or none any more
   */
  overRuns(ids: readonly string[]): Promise<AgentOrders["over_runs"]> {
    return this.#store.read(async (tx) => {
      const over: NonNullable<AgentOrders["over_runs"]> = [];
      for (const workflow_instance_id of ids) {
        const status = (await tx.getRun(workflow_instance_id))?.status;
        if (status !== undefined && !isTerminal(RUN_TRANSITIONS, status)) continue;
        over.push({ workflow_instance_id, has_failed: status === "FAILED" || status === "CRASHED" });
      }
      return over;
    });
  }

  /** Those of the attempts that the process does not hold, and has not ended itself in the meantime. */
  async #lost(
    tx: OperationalTx,
    { agentId, sessionId }: AgentProcess,
    running: readonly AttemptName[],
  ): Promise<AttemptName[]> {
    if (running.length === 0) return [];
    const open = await tx.openAttempts(agentId);
    const held = new Set(open.filter((attempt) => attempt.session_id === sessionId).map(nameOf));
    const lost: AttemptName[] = [];
    for (const one of running) {
      if (held.has(nameOf(one))) continue;
      const attempt = await tx.getAttempt(one);
      if (attempt?.agent_id !== agentId || attempt.lease !== "RELEASED") lost.push(one);
    }
    return lost;
  }
}

/** Whether the orders contain something that the agent was not told yet. */
export function hasNews(contact: Contact, orders: AgentOrders): boolean {
  return newsIn(orders).some((news) => !contact.delivered.has(news));
}

/** Records that the agent is told these orders. */
export function delivered(contact: Contact, orders: AgentOrders): AgentOrders {
  // Only current orders are remembered.
  contact.delivered.clear();
  for (const news of newsIn(orders)) contact.delivered.add(news);
  return orders;
}

/** The part of the orders that justifies an immediate reply. */
function newsIn(orders: AgentOrders): string[] {
  const news = orders.stop.map(
    (order) =>
      `${order.reason} ${nameOf(order)}${order.items === undefined ? "" : ` ${order.items.length} items`}`,
  );
  if (orders.drain) news.push("drain");
  return news;
}

function stopOrder(of: AttemptName, reason: StopOrder["reason"]): StopOrder {
  const { workflow_instance_id, slice, attempt } = of;
  return { workflow_instance_id, slice, attempt, reason };
}
