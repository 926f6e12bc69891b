/**
 * Simulated agents and what is on its way between them and a principal whose parts are real. What they do can go wrong: agents are killed, are
 * cut off and come back, replies are lost, reports come twice or late, the disk fails.
 */
import type { RunAssignments } from "../../src/contract/messages.ts";
import { applyReports } from "../../src/principal/agents/agent-reports.ts";
import type { StandingOrders } from "../../src/principal/agents/standing-orders.ts";
import type { PrincipalEvents } from "../../src/principal/principal-events.ts";
import { nameOf } from "../../src/principal/runs/attempt-name.ts";
import type { Dispatcher } from "../../src/principal/runs/dispatcher.ts";
import { agentLost, type RunChanges } from "../../src/principal/runs/run-changes.ts";
import {
  type AttemptRecord,
  type OperationalStore,
  type OperationalTx,
  StoreUnavailableError,
} from "../../src/storage/operational/store.ts";
import { agentRecord, silent, type TestStores } from "../storage/operational-support.ts";
import type { ManualClock } from "../support/manual-clock.ts";
import { type Deeds, SimulatedAgent } from "./simulated-agent.ts";

/** How long requests and agents wait, ms: longer than any world goes on. */
export const WAIT_MS = 1_000_000_000;

/** An agent and what is on its way to it. */
export interface Post {
  readonly agent: SimulatedAgent;
  /** The request that waits for work. */
  fetchId: string | null;
  isWaiting: boolean;
  /** The reply. */
  readonly inbox: RunAssignments[];
}

/** The parts of a principal that agents deal with; others after a restart. */
export interface PrincipalParts {
  /** The store below one that repeats units of work. */
  readonly plain: OperationalStore;
  readonly store: OperationalStore;
  readonly changes: RunChanges;
  readonly dispatcher: Dispatcher;
  readonly orders: StandingOrders;
  readonly events: PrincipalEvents;
}

/** What {@link AgentPosts} need. */
interface AgentPostsOptions {
  readonly random: () => number;
  readonly clock: ManualClock;
  readonly stores: TestStores;
  readonly trace: string[];
  readonly parts: () => PrincipalParts;
  /** Whether nothing goes wrong any more. */
  readonly isCalm: () => boolean;
  /** An agent is given this. */
  readonly offered?: (assignment: RunAssignments) => void;
  /** An agent begins with this. */
  readonly starts?: (agent: SimulatedAgent, assignment: RunAssignments) => Promise<void>;
}

/** Agents and their messages. */
export class AgentPosts {
  readonly deeds: Deeds = { starts: new Map(), ends: new Map() };
  readonly posts: readonly Post[];
  readonly #o: AgentPostsOptions;
  #fetches = 0;

  constructor(
    agents: readonly Pick<SimulatedAgent, "id" | "labels" | "protocol" | "capacity">[],
    options: AgentPostsOptions,
  ) {
    this.#o = options;
    this.posts = agents.map((agent) => ({
      agent: new SimulatedAgent(agent, this.deeds),
      fetchId: null,
      isWaiting: false,
      inbox: [],
    }));
  }

  get #parts(): PrincipalParts {
    return this.#o.parts();
  }

  /** The agent registers, after a start of its process if need be; what its former process had crashes. */
  async appear(post: Post): Promise<void> {
    const { agent } = post;
    if (agent.isRegistered) return;
    if (!agent.isUp) agent.start();
    const { session } = agent;
    const isDone = await this.attempt(`${agent.id} registers`, async (tx) => {
      const { id, labels, protocol, capacity } = agent;
      const record = agentRecord(id, {
        session_id: session,
        labels,
        protocol,
        max_concurrent_workflows: capacity,
        stream_id: `stream-${id}`,
      });
      await tx.registerAgent(record, await tx.getAgent(id), WAIT_MS);
    });
    if (!isDone) return;
    agent.isRegistered = true;
    if (this.#o.isCalm() || this.#chance(0.7)) await this.flush(post);
    await this.#crashAll(
      post,
      "the agent no longer knows of this run",
      (attempt) => attempt.session_id !== session,
    );
  }

  /** The principal has not heard of an agent for too long; the agent may be alive. */
  async lose(post: Post): Promise<void> {
    const { id } = post.agent;
    const isDone = await this.attempt(`${id} is lost`, async (tx) => {
      const agent = await tx.getAgent(id);
      if (agent === null || agent.status === "LOST") return;
      await tx.transitionAgent(agent, "LOST", this.#o.clock.now());
      for (const attempt of await tx.openAttempts(id)) await this.#crash(tx, attempt, agentLost(30));
    });
    if (!isDone) return;
    post.agent.isRegistered = false;
    this.#parts.events.emit("agent dismissed", id);
    await this.settle();
  }

  kill({ agent }: Post): void {
    this.#o.trace.push(`${agent.id} is killed`);
    agent.kill();
    this.#parts.events.emit("agent dismissed", agent.id);
  }

  async #crashAll(post: Post, reason: string, isIt: (attempt: AttemptRecord) => boolean): Promise<void> {
    await this.attempt(`${post.agent.id}: ${reason}`, async (tx) => {
      for (const attempt of await tx.openAttempts(post.agent.id))
        if (isIt(attempt)) await this.#crash(tx, attempt, reason);
    });
  }

  async #crash(tx: OperationalTx, attempt: AttemptRecord, reason: string): Promise<void> {
    const run = await tx.getRun(attempt.workflow_instance_id);
    if (run !== null) await this.#parts.changes.crash(tx, run, attempt, reason, "REVOKED");
  }

  /** What agents hold without knowing it: their process, or the reply, was lost. */
  async forget(post: Post): Promise<void> {
    const { agent, inbox } = post;
    if (!agent.isRegistered || (this.#o.isCalm() && (post.fetchId !== null || post.isWaiting))) return;
    const known = new Set([...agent.names, ...inbox].map((name) => nameOf(name)));
    await this.#crashAll(
      post,
      "the agent no longer knows of this run",
      (attempt) => attempt.lease === "HELD" && !known.has(nameOf(attempt)),
    );
  }

  /** Offers that no agent has any more. */
  async expire(): Promise<void> {
    const known = new Set(
      this.posts.flatMap(({ agent, inbox }) => [...agent.names, ...inbox].map((name) => nameOf(name))),
    );
    await this.attempt("offers expire", async (tx) => {
      for (const attempt of await tx.openAttempts()) {
        if (attempt.lease !== "OFFERED" || (this.#o.isCalm() && known.has(nameOf(attempt)))) continue;
        if (!this.#o.isCalm() && this.#chance(0.5)) continue;
        const run = await tx.getRun(attempt.workflow_instance_id);
        if (run !== null)
          await this.#parts.changes.crash(tx, run, attempt, "assignment never confirmed", "EXPIRED");
      }
    });
  }

  handOver({ agent }: Post): void {
    const slice = this.#one([...agent.slices.values()]);
    if (slice === undefined) return;
    this.#o.trace.push(`${agent.id} hands ${nameOf(slice.assignment)} over`);
    agent.handOver(slice);
  }

  fetch(post: Post): boolean {
    const { agent } = post;
    if (!agent.isRegistered || post.isWaiting || agent.slices.size + post.inbox.length >= agent.capacity)
      return false;
    post.fetchId ??= `fetch-${++this.#fetches}`;
    post.isWaiting = true;
    const { fetchId } = post;
    const { session } = agent;
    void this.#parts.dispatcher
      .fetch({ agentId: agent.id, sessionId: session, fetchId, waitMs: WAIT_MS })
      .catch((error) => {
        if (error instanceof StoreUnavailableError) return null;
        throw error;
      })
      .then((assignment) => {
        post.isWaiting = false;
        // The process that asked is gone, or the reply is lost; the same process repeats its request.
        if (!agent.isUp || agent.session !== session) post.fetchId = null;
        else if (assignment !== null && (this.#o.isCalm() || this.#chance(0.9))) {
          this.#o.trace.push(`${agent.id} is offered ${nameOf(assignment)}: ${assignment.tasks ?? "all"}`);
          post.fetchId = null;
          post.inbox.push(assignment);
        }
      });
    return true;
  }

  async receive({ agent, inbox }: Post): Promise<void> {
    for (const assignment of inbox.splice(0)) {
      if (!agent.isUp) continue;
      this.#o.offered?.(assignment);
      const slice = agent.take(assignment);
      if (slice === null) continue;
      await this.#o.starts?.(agent, assignment);
      agent.begin(slice);
    }
  }

  async flush(post: Post): Promise<void> {
    const { agent } = post;
    const batch = agent.batch();
    if (batch === null || !agent.isRegistered) return;
    let answer: { seq: number; fenced: readonly Parameters<typeof nameOf>[0][] } | undefined;
    const context = { changes: this.#parts.changes, log: silent, nowMs: this.#o.clock.now(), aheadMs: 0 };
    const streamId = batch.stream_id;
    const last = batch.reports.at(-1);
    const isDone = await this.attempt(`${agent.id} reports up to ${last?.seq}`, async (tx) => {
      const before = (await tx.getStream(streamId))?.seq ?? null;
      answer = await applyReports(tx, batch, { ...context, before });
    });
    // The reply may be lost: the reports are sent again.
    if (!isDone || answer === undefined || (!this.#o.isCalm() && this.#chance(0.2))) return;
    for (const slice of agent.confirmed(answer.seq, answer.fenced)) {
      await this.#o.starts?.(agent, slice.assignment);
      agent.begin(slice);
    }
  }

  async obey({ agent }: Post): Promise<void> {
    if (!agent.isRegistered) return;
    this.#o.stores.failStatement(null);
    const orders = await this.#parts.orders.of({ agentId: agent.id, sessionId: agent.session }, agent.names);
    for (const order of orders.stop) {
      this.#o.trace.push(`${agent.id} is told to stop ${nameOf(order)}: ${order.reason}`);
      agent.obey(order);
    }
  }

  finish({ agent }: Post, slice: SimulatedAgent["busy"][number]["slice"], task: string): void {
    if (slice.mayRest(task) && this.#chance(0.5)) {
      this.#o.trace.push(`${agent.id} ${nameOf(slice.assignment)} ${task} waits for its next try`);
      agent.rest(slice, task);
      return;
    }
    const status = this.#chance(0.92) ? "COMPLETED" : "FAILED";
    this.#o.trace.push(`${agent.id} ${nameOf(slice.assignment)} ${task} ${status}`);
    agent.finish(slice, task, status);
  }

  /** A unit of work, which fails when the disk does. */
  async attempt(what: string, work: (tx: OperationalTx) => Promise<unknown>): Promise<boolean> {
    this.#o.trace.push(what);
    try {
      await this.#parts.store.transact(async (tx) => {
        await work(tx);
      });
    } catch (error) {
      if (!(error instanceof StoreUnavailableError)) throw error;
      this.#o.trace.push("  the disk failed");
      this.#o.stores.failStatement(null);
      await this.settle();
      return false;
    }
    await this.settle();
    return true;
  }

  /** Whatever waits for the store has had its turn. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < 2; turn++) await this.#parts.plain.transact(async () => {}).catch(() => {});
  }

  #chance(of: number): boolean {
    return this.#o.random() < of;
  }

  #one<T>(list: readonly T[]): T | undefined {
    return list[Math.floor(this.#o.random() * list.length)];
  }
}
