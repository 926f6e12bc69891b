/**
 * Brings runs that wait and agents that wait together: the oldest run to the agent that waits longest. The queue is in
 * the operational state; the agents' requests wait here.
 */

import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import type { RunAssignment } from "../../contract/messages.ts";
import { BackgroundService } from "../../service.ts";
import type { Claim, CommitStep, OperationalStore, OperationalTx } from "../../storage/operational/store.ts";
import { Timer } from "../../timer.ts";
import { logFailure } from "../log-failure.ts";
import type { PrincipalEvents } from "../principal-events.ts";
import type { Definitions } from "./definitions.ts";

/** A request for work of a registered agent. */
export interface FetchRequest {
  readonly agentId: string;
  /** Null for agents that do not name their process. */
  readonly sessionId: string | null;
  /** The same in a repeated request. */
  readonly fetchId: string | null;
  readonly waitMs: number;
}

interface Waiter extends FetchRequest {
  readonly reply: (assignment: RunAssignment | null) => void;
  readonly patience: Timer;
}

/** Requests for work of one agent that wait; an agent has one under way, and those that nobody listens to any more. */
const WAITERS_OF_AGENT = 16;
/** Requests that wait of agents that do not name their process: anybody can make up their names. */
const PLAIN_WAITERS = 1000;

/** Assignments in one commit. */
const BATCH = 100;

/** Pause after a failed assignment. */
const RETRY_MS = 500;

/** The queue's front desk. */
export class Dispatcher extends BackgroundService {
  readonly name = "dispatcher";
  readonly #store: OperationalStore;
  readonly #definitions: Definitions;
  readonly #events: PrincipalEvents;
  readonly #log: ConsolaInstance;
  readonly #offerMs: number;
  readonly #waiters = new Set<Waiter>();
  /** Requests that have a name, until they are answered. */
  readonly #fetching = new Map<string, Promise<RunAssignment | null>>();
  readonly #step: CommitStep = {
    work: (tx) => this.#assign(tx),
    failed: (error) => this.#failed(error),
  };
  readonly #retry = this.timer(() => void this.#kick());

  /** @param options.offerMs how long an offer stands without a word from the agent, ms */
  constructor(options: {
    store: OperationalStore;
    definitions: Definitions;
    events: PrincipalEvents;
    clock: Clock;
    log: ConsolaInstance;
    offerMs: number;
  }) {
    super(options.clock);
    this.#store = options.store;
    this.#definitions = options.definitions;
    this.#events = options.events;
    this.#log = options.log;
    this.#offerMs = options.offerMs;
    options.events.on("agent dismissed", (agentId) => this.#dismiss(agentId));
  }

  /** The next run for an agent, or null when there is none within the time it waits. */
  fetch(request: FetchRequest): Promise<RunAssignment | null> {
    if (request.fetchId === null) return this.#fetch(request);
    // The request repeated: whichever of the two is still listened to gets the answer.
    const key = `${request.agentId} ${request.fetchId}`;
    const known = this.#fetching.get(key);
    if (known !== undefined) return known;
    const fetching = this.#fetch(request).finally(() => this.#fetching.delete(key));
    this.#fetching.set(key, fetching);
    return fetching;
  }

  /** A run waits for an agent: it is assigned in the same commit, when there is one. Part of a unit of work. */
  queued(tx: OperationalTx): void {
    if (this.#waiters.size > 0) tx.beforeCommit(this.#step);
  }

  /** The agent's requests are answered with nothing: its process is gone, or takes nothing new. */
  #dismiss(agentId: string): void {
    for (const waiter of this.#waiters) if (waiter.agentId === agentId) this.#giveUp(waiter);
  }

  protected override onStart(): void {}

  /** Answers everyone with nothing, now and from now on. */
  protected override onStop(): void {
    for (const waiter of this.#waiters) this.#giveUp(waiter);
  }

  async #fetch(request: FetchRequest): Promise<RunAssignment | null> {
    const again = await this.#assignedBefore(request);
    if (again !== null) return again;
    const { promise, resolve } = Promise.withResolvers<RunAssignment | null>();
    const patience = new Timer(() => this.#giveUp(waiter), this.clock);
    const waiter: Waiter = { ...request, reply: resolve, patience };
    this.#waiters.add(waiter);
    this.#thin(waiter);
    if (this.isStopping) this.#giveUp(waiter);
    else if (request.waitMs > 0) {
      patience.in(request.waitMs);
      void this.#kick();
    } else {
      await this.#kick();
      this.#giveUp(waiter);
    }
    return promise;
  }

  /** Answers the oldest of those that are too many for one agent, or too many that could be anybody's. */
  #thin({ agentId, sessionId }: Waiter): void {
    const isOwn = (waiter: Waiter) => waiter.agentId === agentId && waiter.sessionId === sessionId;
    const isPlain = (waiter: Waiter) => waiter.sessionId === null;
    for (const [belongs, most] of [
      [isOwn, WAITERS_OF_AGENT],
      [isPlain, PLAIN_WAITERS],
    ] as const) {
      if (this.#waiters.size <= most) continue;
      const [oldest, ...others] = [...this.#waiters].filter(belongs);
      if (oldest !== undefined && others.length >= most) this.#giveUp(oldest);
    }
  }

  #giveUp(waiter: Waiter): void {
    this.#answer(waiter, null);
  }

  /**
   * Answers a request that waits. One that was given up while its run was on the way to the disk hears nothing: the agent asks
   * again, and the offer runs out.
   */
  #answer(waiter: Waiter, assignment: RunAssignment | null): void {
    if (!this.#waiters.delete(waiter)) return;
    waiter.patience.cancel();
    waiter.reply(assignment);
  }

  /** The run that a request got already, when its reply was lost. */
  async #assignedBefore({ agentId, fetchId }: FetchRequest): Promise<RunAssignment | null> {
    if (fetchId === null) return null;
    return this.#store.read(async (tx) => {
      const claim = await tx.claimedBy(agentId, fetchId);
      return claim === null ? null : this.#assignment(tx, claim);
    });
  }

  /** Assigns what can be assigned to those that wait now. Resolves when that is done, or cannot be done now. */
  async #kick(): Promise<void> {
    if (this.#waiters.size === 0) return;
    try {
      await this.#store.transact(async (tx) => tx.beforeCommit(this.#step));
    } catch (error) {
      this.#failed(error);
    }
  }

  /** Part of a unit of work, which may be repeated: the waiters stay where they are until it has committed. */
  async #assign(tx: OperationalTx): Promise<void> {
    let assigned = 0;
    for (const waiter of this.#inOrder()) {
      const { agentId: agent_id, sessionId: session_id, fetchId: fetch_id } = waiter;
      const claim = await tx.claim({
        agent_id,
        session_id,
        fetch_id,
        offer_ms: this.#offerMs,
        assigned_at_ms: this.clock.now(),
      });
      if (claim === "empty") return;
      if (claim !== "unfit" && claim.isNew) this.#offered(tx, claim);
      // It goes without: it may have no work, or no more.
      const assignment = claim === "unfit" ? null : await this.#assignment(tx, claim);
      tx.afterCommit(() => this.#answer(waiter, assignment));
      if (assignment !== null && ++assigned === BATCH) break;
    }
    if (assigned === BATCH) tx.afterCommit(() => void this.#kick());
  }

  #offered(tx: OperationalTx, { run, attempt }: Claim): void {
    // The newest status row is the one with which it was queued.
    tx.afterCommit(() => this.#events.emit("run offered", attempt.assigned_at_ms - run.status_at_ms));
  }

  /** Who waits longest comes first; agents that send heartbeats come before those of which only a name is known. */
  *#inOrder(): Iterable<Waiter> {
    for (const waiter of this.#waiters) if (waiter.sessionId !== null) yield waiter;
    for (const waiter of this.#waiters) if (waiter.sessionId === null) yield waiter;
  }

  /** The disk fails: they wait on, and we try again soon. */
  #failed(error: unknown): void {
    logFailure(this.#log, "Nothing can be assigned", error);
    this.#retry.in(RETRY_MS);
  }

  /** Null for a run whose definition is damaged: the offer runs out, and the run ends. */
  async #assignment(tx: OperationalTx, { run, attempt }: Claim): Promise<RunAssignment | null> {
    const workflow = await this.#definitions.of(tx, run);
    if (workflow === null) return null;
    return {
      workflow_id: run.workflow_id,
      workflow_instance_id: run.workflow_instance_id,
      attempt: attempt.attempt,
      trigger: run.trigger,
      scheduled_time_ms: run.scheduled_time_ms,
      created_at_ms: run.created_at_ms,
      params: { ...run.params },
      completed_tasks: await tx.completedTasks(run.workflow_instance_id),
      workflow,
    };
  }
}
