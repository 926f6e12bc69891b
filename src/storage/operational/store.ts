/**
 * The operational state: runs, leases, agents, cursors, and the feeds that others read. This is the interface behind which it
 * lives; `sqlite/` is the store of one principal on one disk.
 *
 * It speaks in intentions, each one statement or a few: a change names the state that it expects, and one that meets another
 * throws {@link StateConflictError}. Nothing here assumes one process or one connection. Deadlines go by the store's own clock.
 */
import { CdktrError } from "../../errors.ts";
import type { Service } from "../../service.ts";
import type { RunStatus } from "../../workflow/status.ts";
import type { PendingStatus } from "../history-rows.ts";
import type { AgentState } from "./agent-state.ts";
import type { LeaseState } from "./lease-state.ts";
import type {
  AgentRecord,
  AttemptName,
  AttemptRecord,
  FollowUp,
  RecentStatus,
  RunRecord,
  ScheduleCursor,
  TaskRunRecord,
  WorkflowVersion,
} from "./records.ts";

export type * from "./records.ts";

/** An agent's process that asks for a run. */
interface Claimant {
  readonly agent_id: string;
  /** Null for agents that do not name their process. */
  readonly session_id: string | null;
  /** Names the request; the same in a repeated one. */
  readonly fetch_id: string | null;
  readonly assigned_at_ms: number;
  /** How long the offer stands without a word from the agent, ms. */
  readonly offer_ms: number;
}

/** A run that belongs to an agent from now on. */
export interface Claim {
  readonly run: RunRecord;
  readonly attempt: AttemptRecord;
  /** False when the same request was given it before. */
  readonly isNew: boolean;
}

/** The next status of a run, and what changes with it; what is left out stays. */
export type RunStep = Pick<RunRecord, "status" | "status_at_ms" | "error"> &
  Partial<
    Pick<RunRecord, "started_at_ms" | "finished_at_ms" | "crashed_attempts" | "log_stream_id" | "log_seq">
  >;

/** The next state of a lease and status of its attempt, and what changes with them; what is left out stays. */
type LeaseStep = { readonly lease: LeaseState; readonly status: RunStatus } & Partial<
  Pick<AttemptRecord, "started_at_ms" | "finished_at_ms" | "error">
>;

/** An agent that is not lost yet. */
export interface DueAgent {
  readonly agent_id: string;
  readonly session_id: string | null;
  /** Time until it is, ms; 0 or less when that has passed. */
  readonly left_ms: number;
}

/** Runs and their definitions. Whatever changes a status writes the row that the history gets of it. */
export interface RunIntentions {
  /** Holds an idempotency key for a run; returns the run that has it: this one, or one from before. */
  claimKey(key: string, runId: string, nowMs: number): Promise<string>;
  /**
   * Adds a run that waits for an agent.
   * @param definition JSON of the definition, kept under its hash
   * @param carried tasks that need not run again
   */
  createRun(run: RunRecord, definition: string, carried: readonly TaskRunRecord[]): Promise<void>;
  /** Changes the status of a run that is as it was read. Returns it as it is then. */
  transitionRun(run: RunRecord, to: RunStep): Promise<RunRecord>;
  /** Puts a run whose newest attempt is CRASHED back into the queue, as the next attempt. */
  requeueRun(run: RunRecord): Promise<RunRecord>;
  /** Notes that a run that is not over is to be cancelled. */
  requestCancel(run: RunRecord, nowMs: number): Promise<RunRecord>;

  getRun(id: string): Promise<RunRecord | null>;
  /** Up to `limit` runs whose id begins with `prefix`. */
  findRuns(prefix: string, limit: number): Promise<RunRecord[]>;
  /** Newest first. */
  listRuns(filter: { limit: number; workflow_id?: string; status?: RunStatus }): Promise<RunRecord[]>;
  /** When the oldest of the runs that are over was created; those from before are in the history alone. */
  oldestFinishedMs(): Promise<number | null>;
  /** Runs that are not over: by status, and those that wait for an agent. */
  countRuns(): Promise<{ pending: number; running: number; queued: number }>;
  getDefinition(hash: string): Promise<string | null>;
  /** The latest status of each workflow, newest first. */
  recentStatuses(limit: number): Promise<RecentStatus[]>;
}

/** Who executes what: the queue, leases and task runs. */
export interface LeaseIntentions {
  /**
   * Gives the oldest run that waits to an agent: it is the agent's, by a lease with a deadline, when the unit of work commits.
   * A request that has an open lease gets that one again. `empty`: nothing waits. `unfit`: no process of this name may have work.
   */
  claim(to: Claimant): Promise<Claim | "empty" | "unfit">;
  /** The open lease that a request was given before. */
  claimedBy(agentId: string, fetchId: string): Promise<Claim | null>;
  /** Changes a lease, and the status of its attempt, that is as it was read. Returns it as it is then. */
  transitionLease(attempt: AttemptRecord, to: LeaseStep): Promise<AttemptRecord>;
  /** Gives offers their full time again, those of some attempts or all. Returns how many there were. */
  extendOffers(offerMs: number, of?: { agentId: string; attempts: readonly AttemptName[] }): Promise<number>;
  /** Offers whose time is up, oldest first. */
  overdueOffers(limit: number): Promise<AttemptRecord[]>;
  /** Time until the next offer is overdue, ms, 0 or less for one that is; null without any. */
  nextOverdueOffer(): Promise<number | null>;

  getAttempt(runId: string, attempt: number): Promise<AttemptRecord | null>;
  /** In order. */
  listAttempts(runId: string): Promise<AttemptRecord[]>;
  /** Attempts with an open lease, of one agent or of all, oldest first. */
  openAttempts(agentId?: string): Promise<AttemptRecord[]>;

  /**
   * Writes a task run as it is now; one that is over counts as done in its run.
   * @param from its status as it was read; null when it was not there
   */
  transitionTask(
    task: TaskRunRecord,
    from: RunStatus | null,
    of: { workflow_id: string; agent_id: string },
  ): Promise<void>;
  getTaskRun(runId: string, taskInstanceId: string): Promise<TaskRunRecord | null>;
  /** In the order in which they were first written. */
  listTaskRuns(runId: string): Promise<TaskRunRecord[]>;
  /** Ids of the tasks of a run that completed, in whichever attempt. */
  completedTasks(runId: string): Promise<string[]>;
  /** Tasks that run in attempts with an open lease, by agent; agents without any are left out. */
  countRunningTasks(): Promise<ReadonlyMap<string, number>>;
}

/** The agents, their keys and their streams of reports. */
export interface AgentIntentions {
  /**
   * Writes an agent that registers.
   * @param known what was read of it before; null for nothing
   * @param aliveMs time until it is lost if nothing is heard of it
   */
  registerAgent(
    agent: Omit<AgentRecord, "deadline_ms">,
    known: AgentRecord | null,
    aliveMs: number,
  ): Promise<void>;
  /** An agent's process was heard of, `heardMs`: if it is not lost, it has so much time until it is. */
  heardOfAgent(
    agent: Pick<AgentRecord, "agent_id" | "session_id">,
    aliveMs: number,
    heardMs: number,
  ): Promise<void>;
  /** Agents whose deadline passes within so long, ms. */
  dueAgents(withinMs: number): Promise<DueAgent[]>;
  /** Time until the next deadline of an agent, ms, 0 or less when it has passed; null without any. */
  nextDueAgent(): Promise<number | null>;
  /** Changes the state of an agent that is as it was read. GONE removes it. @param heardMs when it was last heard of */
  transitionAgent(agent: AgentRecord, to: AgentState, heardMs?: number): Promise<void>;
  /** Forgets the agents that are LOST and were last heard of before a time. */
  forgetLostAgents(beforeMs: number): Promise<void>;
  getAgent(agentId: string): Promise<AgentRecord | null>;
  listAgents(): Promise<AgentRecord[]>;

  /** The public key to which an agent's id belongs; null when it belongs to none. It outlives the agent's record. */
  getAgentKey(agentId: string): Promise<string | null>;
  /** Gives an agent's id from one key to another; null is none. */
  transferAgentKey(agentId: string, from: string | null, to: string | null, nowMs: number): Promise<void>;
  listAgentKeys(): Promise<{ agent_id: string; public_key: string }[]>;

  /** Sequence number of the last report of an agent's stream that was applied; null for a stream never heard of. */
  getStream(streamId: string): Promise<{ agent_id: string; seq: number } | null>;
  /** Notes that reports up to `to` were applied. @param from the number before; null for a stream never heard of */
  advanceStream(
    streamId: string,
    agentId: string,
    from: number | null,
    to: number,
    nowMs: number,
  ): Promise<void>;
}

/** Runs that follow others, as a feed: numbers grow with the order of commits and are never used again. */
export interface FollowUpIntentions {
  appendFollowUp(followUp: FollowUp): Promise<void>;
  /** In order, those after a number. */
  listFollowUps(afterSeq: number, limit: number): Promise<(FollowUp & { seq: number })[]>;
  /** What this sequence of follow-ups is called, and its last number; 0 when there was none. */
  followUpFeed(): Promise<{ id: string; last_seq: number }>;
  /** The number of the last one from before a time; of none after it, `lastSeq`. */
  followUpsBefore(ms: number, lastSeq: number): Promise<number>;
}

/** The workflows in force and how far their schedules have come. */
export interface WorkflowIntentions {
  listWorkflowVersions(): Promise<WorkflowVersion[]>;
  putWorkflowVersion(version: WorkflowVersion): Promise<void>;
  /** Forgets a workflow and its schedule. */
  dropWorkflow(workflowId: string): Promise<void>;

  listScheduleCursors(): Promise<ScheduleCursor[]>;
  /** Sets what a workflow's schedule is; null for none. With another one than before its cursor begins anew, now. */
  setSchedule(workflowId: string, schedule: string | null, nowMs: number): Promise<void>;
  /** A firing became a run: the cursor follows, unless it is further already. One in the future comes from a clock that was wrong. */
  moveSchedule(workflowId: string, firedMs: number, nowMs: number): Promise<void>;
}

/** What is kept no longer than it is needed. */
export interface HousekeepingIntentions {
  /**
   * Forgets runs that are over beyond the newest `keepRuns`, once their status rows were acknowledged, and idempotency keys,
   * streams, definitions and follow-ups that nothing needs. Does a bounded piece of it; tells how many runs went and whether more is left.
   */
  forget(options: {
    keepRuns: number;
    olderThanMs: number;
    followUpsOlderThanMs: number;
  }): Promise<{ runs: number; more: boolean }>;
}

/** A step that units of work ask for; the same object is the same step. */
export interface CommitStep {
  readonly work: UnitOfWork<void>;
  /** It did not come to the commit. What asked for it may have committed without it. */
  readonly failed: (error: unknown) => void;
}

/** What a unit of work may do. */
export interface OperationalTx
  extends RunIntentions,
    LeaseIntentions,
    AgentIntentions,
    FollowUpIntentions,
    WorkflowIntentions,
    HousekeepingIntentions {
  /** Calls `effect` once the unit of work is committed; never when it is not. */
  afterCommit(effect: () => void): void;
  /**
   * Does a step behind this unit of work, in the same commit, which costs no write of its own: once, however many units of that
   * commit ask for it. A step that throws is undone alone; a unit that is undone asked for nothing.
   */
  beforeCommit(step: CommitStep): void;
}

/**
 * A unit of work. It awaits nothing but the transaction's own methods: others wait behind it. The store may repeat it, so it
 * changes nothing outside the transaction; what must follow goes through {@link OperationalTx.afterCommit} or what it returns.
 * An error of an intention undoes the unit: it must not be caught and passed over.
 */
export type UnitOfWork<T> = (tx: OperationalTx) => Promise<T>;

/**
 * Status rows on their way into the history, in the order of commits. Ids grow and are never used twice, not even by a state
 * made anew.
 */
export interface StatusFeed {
  /** Committed rows after an id, in order. */
  takeStatuses(afterId: number, limit: number): Promise<PendingStatus[]>;
  /** Forgets rows up to an id: the history has them. */
  ackStatuses(upToId: number): Promise<void>;
}

/**
 * The operational state. Any method throws {@link StoreUnavailableError} while the database fails, and
 * {@link NestedUnitError} inside a unit of work.
 */
export interface OperationalStore extends Service, StatusFeed {
  /** Does `work` as a whole or not at all; resolves when it is committed. One that throws is undone alone. */
  transact<T>(work: UnitOfWork<T>): Promise<T>;
  /** Reads what is committed. */
  read<T>(work: UnitOfWork<T>): Promise<T>;
}

/** The database of the operational state fails. Nothing was changed; the same request may succeed later. */
export class StoreUnavailableError extends CdktrError {}

/** Something is in another state than an intention expected. The unit of work was undone. */
export class StateConflictError extends CdktrError {}

/** A unit of work asked the store for another one, which would wait for the first. */
export class NestedUnitError extends CdktrError {}

/** Another principal works on the same data directory. */
export class DataDirectoryInUseError extends CdktrError {}
