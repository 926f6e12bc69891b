/**
 * Gives queued runs and slices to waiting agents, in the order of limits/order.ts. The queue is in the operational state; the requests of
 * the agents wait here. What cannot be given now is passed over:
 *
 *   no agent that is up can take it          it holds up nothing
 *   a pool does not exist or is too small    it holds up nothing
 *   it lacks slots of its pools              nothing behind it gets slots of those: they get free for it
 *   it has its slots, its agents are full    those slots are kept for it
 */

import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import { MOST_RUNS_AT_ONCE, type RunAssignment, type RunAssignments } from "../../contract/messages.ts";
import { errorMessage } from "../../errors.ts";
import { BackgroundService } from "../../service.ts";
import type {
  Claim,
  CommitStep,
  OperationalStore,
  OperationalTx,
  QueueHead,
} from "../../storage/operational/store.ts";
import { isStoreError } from "../../storage/operational/store-errors.ts";
import { Timer } from "../../timer.ts";
import { readNeeds } from "../limits/needs.ts";
import { QueueOrder } from "../limits/order.ts";
import type { Slots } from "../limits/pool-pass.ts";
import { Pools } from "../limits/pools.ts";
import { logFailure } from "../log-failure.ts";
import type { PrincipalEvents } from "../principal-events.ts";
import type { SecretStore } from "../secrets/secret-store.ts";
import type { Tracing } from "../telemetry/tracing.ts";
import { Assignments, UnassignableError } from "./assignments.ts";
import type { Definitions } from "./definitions.ts";
import type { ProgressOfRuns } from "./progress-of-runs.ts";
import type { RunChanges } from "./run-changes.ts";
import type { RunQueue } from "./run-queue.ts";
import { WaitingAgents } from "./waiting-agents.ts";

/** A request for work from a registered agent. */
export interface FetchRequest {
  readonly agentId: string;
  /** Null for agents that do not identify their process. */
  readonly sessionId: string | null;
  /** The same in a repeated request. */
  readonly fetchId: string | null;
  readonly waitMs: number;
  /** How many runs the agent takes at once; 1 by default. */
  readonly most?: number;
}

interface Waiter extends FetchRequest {
  readonly reply: (assignment: RunAssignments | null) => void;
  readonly patience: Timer;
}

/** What a request is given in a commit. */
interface Given {
  readonly waiter: Waiter;
  readonly head: QueueHead;
  readonly first: RunAssignment;
  readonly others: RunAssignment[];
  /** Their length as JSON. */
  characters: number;
}

/** No further runs are added to a reply that is longer than this. */
const TOGETHER_CHARACTERS = 256 * 1024;

/** Maximum number of waiting requests per agent: one in progress, plus abandoned ones. */
const WAITERS_OF_AGENT = 16;
/** Maximum number of waiting requests from agents without a process id: anyone can make up their names. */
const PLAIN_WAITERS = 1000;

/** Assignments per commit. */
const BATCH = 100;

/** Delay after a failed assignment. */
const RETRY_MS = 500;

/** Assigns runs to agents. */
export class Dispatcher extends BackgroundService {
  readonly name = "dispatcher";
  readonly #store: OperationalStore;
  readonly #assignments: Assignments;
  readonly #changes: RunChanges;
  readonly #events: PrincipalEvents;
  readonly #log: ConsolaInstance;
  readonly #offerMs: number;
  readonly #ageingMs: number | undefined;
  readonly #givesSecrets: boolean;
  readonly #waiters = new Set<Waiter>();
  /** Requests that have an id, until they are answered. */
  readonly #fetching = new Map<string, Promise<RunAssignments | null>>();
  readonly #step: CommitStep = {
    work: (tx) => this.#assign(tx),
    failed: (error) => this.#failed(error),
  };
  readonly #retry = this.timer(() => void this.#kick());

  /** @param options.offerMs how long an unconfirmed offer is valid, ms */
  constructor(options: {
    store: OperationalStore;
    definitions: Definitions;
    progress: ProgressOfRuns;
    changes: RunChanges;
    queue: RunQueue;
    events: PrincipalEvents;
    clock: Clock;
    log: ConsolaInstance;
    offerMs: number;
    /** Names of environment variables that hold secrets; none by default. */
    secretVariables?: () => readonly string[];
    /** See limits/order.ts. */
    ageingMs?: number;
    /** The store of secrets for the tasks; without it, what needs any waits. */
    secrets?: Pick<SecretStore, "isOpen" | "given">;
    /** The traces of runs; by default there are none. */
    tracing?: Pick<Tracing, "forTasks">;
  }) {
    super(options.clock);
    this.#store = options.store;
    const { definitions, progress, secrets, tracing, secretVariables = () => [] } = options;
    this.#givesSecrets = secrets?.isOpen === false;
    this.#assignments = new Assignments({ definitions, progress, secretVariables, secrets, tracing });
    this.#changes = options.changes;
    this.#events = options.events;
    this.#log = options.log;
    this.#offerMs = options.offerMs;
    this.#ageingMs = options.ageingMs;
    options.queue.attendedBy((tx) => this.#queued(tx));
    options.events.on("agent dismissed", (agentId) => this.#dismiss(agentId));
  }

  /** The next run for an agent, perhaps with others, or null when there is none before its long poll ends. */
  fetch(request: FetchRequest): Promise<RunAssignments | null> {
    if (request.fetchId === null) return this.#fetch(request);
    // The request was repeated: whichever of the two is still listened to gets the answer.
    const key = `${request.agentId} ${request.fetchId}`;
    const known = this.#fetching.get(key);
    if (known !== undefined) return known;
    const fetching = this.#fetch(request).finally(() => this.#fetching.delete(key));
    this.#fetching.set(key, fetching);
    return fetching;
  }

  /** Something waits for an agent: if one is waiting, it is assigned in the same commit. Part of a unit of work. */
  #queued(tx: OperationalTx): void {
    if (this.#waiters.size > 0) tx.beforeCommit(this.#step);
  }

  /** Answers the agent's requests with nothing: its process is gone, or accepts no new work. */
  #dismiss(agentId: string): void {
    for (const waiter of this.#waiters) if (waiter.agentId === agentId) void this.#giveUp(waiter);
  }

  protected override onStart(): void {}

  /** Answers all requests with nothing, now and from now on. */
  protected override async onStop(): Promise<void> {
    await Promise.all([...this.#waiters].map((waiter) => this.#giveUp(waiter)));
  }

  async #fetch(request: FetchRequest): Promise<RunAssignments | null> {
    const again = await this.#assignedBefore(request);
    if (again !== null) return again;
    const { promise, resolve } = Promise.withResolvers<RunAssignments | null>();
    const patience = new Timer(() => void this.#giveUp(waiter), this.clock);
    const waiter: Waiter = { ...request, reply: resolve, patience };
    this.#waiters.add(waiter);
    this.#thin(waiter);
    if (this.isStopping) this.#answer(waiter, null);
    else if (request.waitMs > 0) {
      patience.in(request.waitMs);
      void this.#kick();
    } else {
      await this.#kick();
      this.#answer(waiter, null);
    }
    return promise;
  }

  /** Answers the oldest request when there are too many from one agent, or too many from agents without a process id. */
  #thin({ agentId, sessionId }: Waiter): void {
    const isOwn = (waiter: Waiter) => waiter.agentId === agentId && waiter.sessionId === sessionId;
    const isPlain = (waiter: Waiter) => waiter.sessionId === null;
    for (const [belongs, most] of [
      [isOwn, WAITERS_OF_AGENT],
      [isPlain, PLAIN_WAITERS],
    ] as const) {
      if (this.#waiters.size <= most) continue;
      const [oldest, ...others] = [...this.#waiters].filter(belongs);
      if (oldest !== undefined && others.length >= most) this.#answer(oldest, null);
    }
  }

  /** Ends the wait of a request. A run that is being written to disk for it is still given to it. */
  async #giveUp(waiter: Waiter): Promise<void> {
    // A read waits for the commit that is under way.
    await this.#store.read(async () => {}).catch(() => {});
    this.#answer(waiter, null);
  }

  /** Answers a waiting request, once. */
  #answer(waiter: Waiter, assignment: RunAssignments | null): void {
    if (!this.#waiters.delete(waiter)) return;
    waiter.patience.cancel();
    waiter.reply(assignment);
  }

  /** What a request was already given, if its reply was lost. */
  async #assignedBefore({ agentId, fetchId }: FetchRequest): Promise<RunAssignments | null> {
    if (fetchId === null) return null;
    return this.#store.read(async (tx) => {
      const claim = await tx.claimedBy(agentId, fetchId);
      const first = claim === null ? null : await this.#assignments.of(tx, claim);
      if (first === null) return null;
      const others: RunAssignment[] = [];
      for (let n = 1; n < MOST_RUNS_AT_ONCE; n++) {
        const further = await tx.claimedBy(agentId, furtherId(fetchId, n));
        const other = further === null ? null : await this.#assignments.of(tx, further);
        if (other !== null) others.push(other);
      }
      return together(first, others, false);
    });
  }

  /** Assigns as many runs as possible. Resolves when that is done, or is not possible now. */
  async #kick(): Promise<void> {
    if (this.#waiters.size === 0) return;
    try {
      await this.#store.transact(async (tx) => tx.beforeCommit(this.#step));
    } catch (error) {
      this.#failed(error);
    }
  }

  /** Part of a unit of work, which may be repeated: the waiters stay in the queue until it has committed. */
  async #assign(tx: OperationalTx): Promise<void> {
    const waiting = new WaitingAgents(tx, this.#inOrder(), this.#givesSecrets);
    const heads = (await tx.queueHeads()).filter(({ needs }) => !readNeeds(needs).isPaused);
    const queue = new QueueOrder(heads, this.clock.now(), this.#ageingMs);
    const pools = new Pools(tx);
    const given: Given[] = [];
    let assigned = 0;
    const after = async ({ needs }: QueueHead) => {
      for (const next of await tx.queueHeads(needs)) queue.add(next);
    };
    // What is passed over is so with all that needs the same.
    for (; assigned < BATCH && !waiting.isEmpty; ) {
      const head = queue.shift();
      if (head === undefined) break;
      const slots = slotsOf(head);
      if (slots !== undefined && !(await this.#mayTake(head, slots, waiting, pools))) continue;
      const take = async () => slots !== undefined && (await pools.pass()).take(slots);
      const waiter = await waiting.next(head);
      if (waiter === undefined) {
        // They are kept for it.
        await take();
        continue;
      }
      const claim = await this.#claim(tx, head, waiter, waiter.fetchId);
      if (claim === "empty") continue;
      // The agent gets nothing: it may not accept work, or not any more.
      const assignment = claim === "unfit" ? null : await this.#given(tx, claim);
      waiting.answered(waiter, assignment !== null);
      await after(head);
      if (assignment === null) tx.afterCommit(() => this.#answer(waiter, null));
      else {
        // A repeated request is given what it has already.
        if (claim !== "unfit" && claim.isNew) await take();
        const characters = queue.isEmpty ? 0 : lengthOf(assignment);
        given.push({ waiter, head, first: assignment, others: [], characters });
        assigned++;
      }
    }
    // All requests are served. Those that take more get further runs of their workflows, in turn, as long as the oldest one is such.
    for (; assigned < BATCH; ) {
      const head = queue.peek();
      const at = head === undefined ? -1 : given.findIndex((one) => takesMore(one, head));
      const [one] = at === -1 ? [] : given.splice(at, 1);
      if (head === undefined || one === undefined) break;
      queue.shift();
      given.push(one);
      const { waiter, others } = one;
      const claim = await this.#claim(tx, head, waiter, furtherId(waiter.fetchId ?? "", others.length + 1));
      if (claim === "empty" || claim === "unfit") break;
      const other = await this.#given(tx, claim);
      await after(head);
      if (other === null) continue;
      others.push(other);
      one.characters += lengthOf(other, true);
      assigned++;
    }
    const hasMore = !queue.isEmpty;
    for (const { waiter, first, others } of given)
      tx.afterCommit(() => this.#answer(waiter, together(first, others, hasMore)));
    if (assigned === BATCH) tx.afterCommit(() => void this.#kick());
  }

  /** Whether something that takes slots of pools has them now. If not, what that means for those behind it is noted. */
  async #mayTake(
    { needs }: QueueHead,
    slots: Slots,
    waiting: WaitingAgents<Waiter>,
    pools: Pools,
  ): Promise<boolean> {
    if (!(await waiting.couldTake(readNeeds(needs)))) return false;
    const pass = await pools.pass();
    const verdict = pass.verdict(slots);
    if (verdict === "lacks") pass.reserve(slots);
    return verdict === "fits";
  }

  async #claim(
    tx: OperationalTx,
    head: QueueHead,
    { agentId: agent_id, sessionId: session_id }: Waiter,
    fetch_id: string | null,
  ): Promise<Claim | "empty" | "unfit"> {
    const to = { agent_id, session_id, fetch_id };
    return tx.claim({
      ...to,
      head,
      isHeld: await this.#changes.startsAtOnce(tx, head, to),
      offer_ms: this.#offerMs,
      assigned_at_ms: this.clock.now(),
    });
  }

  /** What the agent is sent. Null if there is nothing that it could be: others must not wait for a run that fails each time. */
  async #given(tx: OperationalTx, claim: Claim): Promise<RunAssignment | null> {
    const held = claim.isNew ? await this.#begun(tx, claim) : claim;
    let reason = "what is stored of it is damaged";
    try {
      const assignment = await this.#assignments.of(tx, held);
      // An offer expires, which ends the run.
      if (assignment !== null || held.attempt.lease !== "HELD") return assignment;
    } catch (error) {
      if (isStoreError(error)) throw error;
      // Building it has changed nothing.
      reason = error instanceof UnassignableError ? error.message : unbuilt(error);
    }
    await this.#changes.giveUp(tx, held, reason);
    return null;
  }

  async #begun(tx: OperationalTx, claim: Claim): Promise<Claim> {
    const { run, slice, attempt } = claim;
    // The newest status row of a run is the one written when it was queued.
    const since = slice === null ? run.status_at_ms : slice.queued_at_ms;
    tx.afterCommit(() => this.#events.emit("run assigned", attempt.assigned_at_ms - since));
    if (attempt.lease === "OFFERED") tx.afterCommit(() => this.#events.emit("run offered"));
    return { ...claim, ...(await this.#changes.given(tx, claim)) };
  }

  /** Longest wait first; agents that send heartbeats come before those known only by name. */
  *#inOrder(): Iterable<Waiter> {
    for (const waiter of this.#waiters) if (waiter.sessionId !== null) yield waiter;
    for (const waiter of this.#waiters) if (waiter.sessionId === null) yield waiter;
  }

  /** The disk has failed: keep them waiting and retry soon. */
  #failed(error: unknown): void {
    logFailure(this.#log, "Runs cannot be assigned", error);
    this.#retry.in(RETRY_MS);
  }
}

/** Why a run ends whose assignment cannot be built. */
function unbuilt(error: unknown): string {
  return `what an agent needs to execute it cannot be put together: ${errorMessage(error)}; what is stored of the run may be damaged`;
}

/** The key of a further run that a request is given. */
function furtherId(fetchId: string, n: number): string {
  return `${fetchId}.${n}`;
}

/** What something in the queue takes of pools; undefined for nothing. */
function slotsOf({ needs }: QueueHead): Slots | undefined {
  return needs === "" ? undefined : readNeeds(needs).placement.pool;
}

/** Whether a request takes this, too: a run of the same workflow as a whole, which needs the same of an agent. */
function takesMore({ waiter, head, first, others, characters }: Given, next: QueueHead): boolean {
  const isAlike =
    next.needs === head.needs && next.slice === 0 && next.definition_hash === head.definition_hash;
  const isPlain = head.slice === 0 && first.bundle === undefined && first.stored_secrets === undefined;
  const hasRoom = others.length + 1 < (waiter.most ?? 1) && characters < TOGETHER_CHARACTERS;
  return isAlike && isPlain && hasRoom && waiter.fetchId !== null && waiter.sessionId !== null;
}

function lengthOf({ workflow, ...rest }: RunAssignment, isFurther = false): number {
  return JSON.stringify(isFurther ? rest : { ...rest, workflow }).length;
}

/** The reply with all that a request was given. */
function together(first: RunAssignment, others: readonly RunAssignment[], hasMore: boolean): RunAssignments {
  return {
    ...first,
    ...(others.length === 0 ? {} : { others: others.map(({ workflow: _same, ...other }) => other) }),
    ...(hasMore ? { has_more: true } : {}),
  };
}
