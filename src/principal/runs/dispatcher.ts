/**
 * Brings runs that wait and agents that wait together: the oldest run to the agent that waits longest. The queue is in
 * the operational state; the agents' requests wait here.
 */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import type { RunAssignment } from "../../contract/messages.ts";
import type { AttemptRecord, OperationalStore, OperationalTx, RunRecord } from "../../storage/operational.ts";
import { logFailure } from "../log-failure.ts";
import { completedTasks, type RunChanges } from "./run-changes.ts";

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
  /** Monotonic. */
  readonly deadline: number;
  timer: Timer | undefined;
}

/** Requests for work of one agent that wait; an agent has one under way, and those that nobody listens to any more. */
const WAITERS_OF_AGENT = 16;
/** Requests that wait of agents that do not name their process: anybody can make up their names. */
const PLAIN_WAITERS = 1000;

/** Assignments in one unit of work. */
const BATCH = 100;

/** The queue's front desk. */
export class Dispatcher {
  readonly #store: OperationalStore;
  readonly #changes: RunChanges;
  readonly #clock: Clock;
  readonly #log: ConsolaInstance;
  /** Whether an agent may have work; asked again at the moment of assignment. */
  readonly #mayWork: (tx: OperationalTx, agentId: string, sessionId: string | null) => Promise<boolean>;
  readonly #waiters: Waiter[] = [];
  /** Requests that have a name, until they are answered. */
  readonly #fetching = new Map<string, Promise<RunAssignment | null>>();
  #asked = false;
  #retry: Timer | undefined;
  #closed = false;

  constructor(options: {
    store: OperationalStore;
    changes: RunChanges;
    clock: Clock;
    log: ConsolaInstance;
    mayWork: (tx: OperationalTx, agentId: string, sessionId: string | null) => Promise<boolean>;
  }) {
    this.#store = options.store;
    this.#changes = options.changes;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#mayWork = options.mayWork;
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

  /** Work or workers may have come: assigns what can be assigned, in the commit that comes next. */
  kick(): void {
    if (this.#asked || this.#waiters.length === 0) return;
    this.#asked = true;
    void this.#pump();
  }

  /** The agent's requests are answered with nothing: its process is gone, or takes nothing new. */
  dismiss(agentId: string): void {
    for (const waiter of this.#waiters.filter((waiter) => waiter.agentId === agentId)) this.#giveUp(waiter);
  }

  /** Answers everyone with nothing, now and from now on. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
    for (const waiter of [...this.#waiters]) this.#giveUp(waiter);
  }

  async #fetch(request: FetchRequest): Promise<RunAssignment | null> {
    const again = await this.#assignedBefore(request);
    if (again !== null) return again;
    const { promise, resolve } = Promise.withResolvers<RunAssignment | null>();
    const deadline = this.#clock.monotonic() + request.waitMs;
    const waiter: Waiter = { ...request, reply: resolve, deadline, timer: undefined };
    this.#waiters.push(waiter);
    this.#thin(waiter);
    if (this.#closed) this.#giveUp(waiter);
    else if (request.waitMs > 0) {
      waiter.timer = setTimeout(() => this.#giveUp(waiter), request.waitMs);
      this.kick();
    } else await this.#pumpOnce(waiter);
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
      if (this.#waiters.length <= most) continue;
      const [oldest, ...others] = this.#waiters.filter(belongs);
      if (oldest !== undefined && others.length >= most) this.#giveUp(oldest);
    }
  }

  #giveUp(waiter: Waiter): void {
    const index = this.#waiters.indexOf(waiter);
    if (index === -1) return;
    this.#waiters.splice(index, 1);
    this.#answer(waiter, null);
  }

  #answer(waiter: Waiter, assignment: RunAssignment | null): void {
    clearTimeout(waiter.timer);
    waiter.reply(assignment);
  }

  /** The run that a request got already, when its reply was lost. */
  async #assignedBefore(request: FetchRequest): Promise<RunAssignment | null> {
    if (request.fetchId === null) return null;
    return this.#store.read(async (tx) => {
      const open = await tx.openAttempts(request.agentId);
      const attempt = open.find((candidate) => candidate.fetch_id === request.fetchId);
      if (attempt === undefined) return null;
      const run = await tx.getRun(attempt.workflow_instance_id);
      return run === null ? null : this.#assignment(tx, run, attempt);
    });
  }

  /** For a request that does not wait. */
  async #pumpOnce(waiter: Waiter): Promise<void> {
    this.kick();
    await this.#store.transactLast(async () => {}).catch(() => {});
    this.#giveUp(waiter);
  }

  async #pump(): Promise<void> {
    const taken: Waiter[] = [];
    try {
      const assignments = await this.#store.transactLast(async (tx) => {
        this.#asked = false;
        const made: [Waiter, RunAssignment][] = [];
        for (const run of await tx.queuedRuns(Math.min(BATCH, this.#waiters.length))) {
          const waiter = await this.#nextWaiter(tx, taken);
          if (waiter === undefined) break;
          const attempt = await this.#changes.assign(tx, run, waiter);
          made.push([waiter, await this.#assignment(tx, run, attempt)]);
        }
        return made;
      });
      for (const [waiter, assignment] of assignments) this.#answer(waiter, assignment);
      const idle = taken.filter((waiter) => !assignments.some(([served]) => served === waiter));
      for (const waiter of idle) this.#answer(waiter, null);
      if (assignments.length === BATCH) this.kick();
    } catch (error) {
      this.#asked = false;
      logFailure(this.#log, "Nothing can be assigned", error);
      this.#putBack(taken);
    }
  }

  /**
   * Takes the agent that waits longest and may work, one that sends heartbeats before one of which only a name is known. Those
   * that may not are taken as well, and go without.
   */
  async #nextWaiter(tx: OperationalTx, taken: Waiter[]): Promise<Waiter | undefined> {
    while (this.#waiters.length > 0) {
      const known = this.#waiters.findIndex((waiter) => waiter.sessionId !== null);
      const [waiter] = this.#waiters.splice(Math.max(known, 0), 1);
      if (waiter === undefined) break;
      taken.push(waiter);
      if (await this.#mayWork(tx, waiter.agentId, waiter.sessionId)) return waiter;
    }
    return undefined;
  }

  /** The disk fails: they wait on, and we try again soon. */
  #putBack(waiters: Waiter[]): void {
    this.#waiters.unshift(...waiters);
    if (this.#closed) {
      this.close();
      return;
    }
    for (const waiter of waiters) {
      clearTimeout(waiter.timer);
      const left = Math.max(0, waiter.deadline - this.#clock.monotonic());
      waiter.timer = setTimeout(() => this.#giveUp(waiter), left);
    }
    this.#retry = setTimeout(() => this.kick(), RETRY_MS);
  }

  async #assignment(tx: OperationalTx, run: RunRecord, attempt: AttemptRecord): Promise<RunAssignment> {
    return {
      workflow_id: run.workflow_id,
      workflow_instance_id: run.workflow_instance_id,
      attempt: attempt.attempt,
      trigger: run.trigger,
      scheduled_time_ms: run.scheduled_time_ms,
      created_at_ms: run.created_at_ms,
      params: { ...run.params },
      completed_tasks: [...(await completedTasks(tx, run.workflow_instance_id))],
      workflow: await this.#changes.definitionOf(tx, run),
    };
  }
}

/** Pause after a failed assignment. */
const RETRY_MS = 500;
