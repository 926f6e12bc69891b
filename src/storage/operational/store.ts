/**
 * The operational state: runs, slices, leases, agents, cursors, and the feeds that others read. This is its interface; `sqlite/` is the store
 * of one principal on one disk.
 *
 * It speaks in intentions, each a single statement or a few: a change names the state that it expects, and throws
 * {@link StateConflictError} if it finds another. Nothing here assumes a single process or connection. Deadlines use the store's clock.
 */
import type { Differences, NewIdentity, StateIdentity } from "../../contract/history.ts";
import type { AlertRow, AuditRow, HistoricStatuses, PendingStatus } from "../../contract/history-rows.ts";
import { CdktrError } from "../../errors.ts";
import type { Service } from "../../service.ts";
import type { RunStatus } from "../../workflow/status.ts";
import type { AgentState } from "./agent-state.ts";
import type { AlertIntentions } from "./alerts.ts";
import type { BackfillIntentions } from "./backfills.ts";
import type { BlobIntentions } from "./blobs.ts";
import type { ExpectationIntentions } from "./expectations.ts";
import type { GroupIntentions } from "./groups.ts";
import type { LeaseState } from "./lease-state.ts";
import type { PauseIntentions } from "./pauses.ts";
import type { PoolIntentions } from "./pools.ts";
import type { QueryAlertIntentions } from "./query-alerts.ts";
import type {
  AgentRecord,
  AttemptName,
  AttemptRecord,
  FollowUp,
  ListedRun,
  NotedReason,
  PlainWorkflowVersion,
  QueueHead,
  RecentStatus,
  RunNote,
  RunRecord,
  RunRest,
  ScheduleCursor,
  SchedulePosition,
  SliceRecord,
  TaskRunRecord,
  WaitRecord,
  WorkflowVersion,
} from "./records.ts";
import type { SettingIntentions } from "./settings.ts";

export type { StateIdentity } from "../../contract/history.ts";
export type { BackfillFiring, BackfillRecord } from "./backfills.ts";
export type { ArtifactsRecord, BlobIntentions } from "./blobs.ts";
export type { PoolHolder, QueueEntry } from "./pools.ts";
export type * from "./records.ts";

/** An agent's process that asks for work. */
interface Claimant {
  readonly agent_id: string;
  /** Null for agents that do not identify their process. */
  readonly session_id: string | null;
  /** Id of the request; the same when it is repeated. */
  readonly fetch_id: string | null;
  readonly assigned_at_ms: number;
  /** How long an unconfirmed offer is valid, ms. */
  readonly offer_ms: number;
  /** It gets what waits longest with exactly these needs; by default, without any. */
  readonly needs?: string;
  /** What that is, if {@link LeaseIntentions.queueHeads} has just told in the same unit of work. */
  readonly head?: QueueHead;
  /** Whether the lease is held at once: the agent need not confirm it. Default false. */
  readonly isHeld?: boolean;
}

/** A run, or a slice of one, that belongs to an agent from now on. */
export interface Claim {
  readonly run: RunRecord;
  /** Null for the run as a whole. */
  readonly slice: SliceRecord | null;
  readonly attempt: AttemptRecord;
  /** False when the same request was given it before. */
  readonly isNew: boolean;
}

/** The next status of a run, and further changes; omitted fields stay. */
export type RunStep = Pick<RunRecord, "status" | "status_at_ms" | "error"> &
  Partial<
    Pick<
      RunRecord,
      | "started_at_ms"
      | "finished_at_ms"
      | "duration_ms"
      | "crashed_attempts"
      | "allowed_failures"
      | "outputs"
      | "log_stream_id"
      | "log_seq"
    >
  >;

/** The next state of a lease, the status of its attempt, and further changes; omitted fields stay. */
type LeaseStep = { readonly lease: LeaseState; readonly status: RunStatus } & Partial<
  Pick<
    AttemptRecord,
    "clock_offset_ms" | "started_at_ms" | "finished_at_ms" | "error" | "log_stream_id" | "log_seq"
  >
>;

/** An attempt whose agent has to stop it. */
export type AttemptToStop = AttemptName &
  Pick<AttemptRecord, "session_id"> & { readonly reason: "cancelled" | "timed out" };

/** A task run without what it published. */
export type TaskRunState = Omit<TaskRunRecord, "outputs">;

/** A task run whose outputs are only in the history. */
export type MovedOutputs = Pick<TaskRunRecord, "task_id" | "task_instance_id">;

/** A fan-out whose items may be in several slices. */
export interface FanOutRecord {
  readonly task_id: string;
  /** JSON: `[{key, value}]`, in order. */
  readonly items: string;
  /** An item has failed, and the others are cancelled for it. */
  readonly is_cut: boolean;
}

/** How many items of a fan-out have a status. */
export interface ItemCount {
  readonly task_id: string;
  readonly status: RunStatus;
  readonly items: number;
}

/** What an item has published. */
export interface ItemOutputs {
  readonly task_id: string;
  readonly item_key: string;
  /** From 0. */
  readonly item_index: number;
  /** JSON object. */
  readonly outputs: string;
}

/** Items that an agent has to stop, because another one has failed. */
export interface ItemsToStop extends AttemptName, Pick<AttemptRecord, "session_id"> {
  readonly items: readonly { readonly task_id: string; readonly key: string; readonly index: number }[];
}

/** How a task run ended, or what its status is until then. */
export type TaskEnd = Pick<
  TaskRunRecord,
  "task_id" | "item_key" | "slice" | "attempt" | "status" | "allowed"
>;

/** Tasks of a split run that are ready for an agent. */
type NewSlice = Pick<SliceRecord, "slice" | "tasks" | "needs"> &
  Partial<Pick<SliceRecord, "is_hook" | "pools" | "rank_ms">>;

/** An agent that is not lost yet. */
export interface DueAgent {
  readonly agent_id: string;
  readonly session_id: string | null;
  /** Time until it is lost, ms; 0 or less when that has passed. */
  readonly left_ms: number;
}

/** Runs and their definitions. Every status change also writes the row for the history. */
export interface RunIntentions {
  /** Reserves an idempotency key for a run; returns the run that has it: this one, or an earlier one. */
  claimKey(key: string, runId: string, nowMs: number): Promise<string>;
  /**
   * Adds a run that waits for an agent.
   * @param definition JSON of the definition, stored under its hash
   * @param carried tasks that need not run again
   */
  createRun(run: RunRecord, definition: string, carried: readonly TaskRunRecord[]): Promise<void>;
  /** Changes the status of a run that is unchanged since it was read. Returns the new state. */
  transitionRun(run: RunRecord, to: RunStep): Promise<RunRecord>;
  /** Nothing of a RUNNING run runs any more, or something does again; with a row for the history. */
  restRun(run: RunRecord, resting: boolean, nowMs: number): Promise<RunRecord>;
  /** What of a run waits, and what runs. */
  restOf(runId: string): Promise<RunRest>;
  /** Runs that are not over and have tasks that wait, or that rest as far as is known. */
  runsThatMayRest(): Promise<string[]>;
  /**
   * Puts a run whose newest attempt is CRASHED back into the queue, as the next attempt. A split run is not queued itself: it waits for its
   * slices, which are.
   */
  requeueRun(run: RunRecord): Promise<RunRecord>;
  /** Records that a run that is not over is to be cancelled. */
  requestCancel(run: RunRecord, nowMs: number): Promise<RunRecord>;
  /** Records that a split run that is not over has taken longer than it may. */
  recordTimeout(run: RunRecord, nowMs: number): Promise<RunRecord>;
  /** Records that the hooks of a split run, whose other tasks are over, are to be stopped. */
  stopHooks(run: RunRecord): Promise<RunRecord>;
  /**
   * The time of a run that waited for it has come: from now on it waits for an agent.
   * @param to whether it does so as a whole, what an agent must have, and the revision of a split one
   */
  startRun(
    run: RunRecord,
    to: Pick<RunRecord, "queued" | "needs" | "revision">,
    nowMs: number,
  ): Promise<RunRecord>;
  /** Gives a split run another revision, which it never had. */
  reviseRun(run: RunRecord, revision: number): Promise<RunRecord>;
  /** Sets how long a run may take from now on, ms; null for no limit. */
  limitRun(run: RunRecord, leftMs: number | null): Promise<RunRecord>;
  /** How long a run may still take, ms, 0 or less if its deadline has passed; null without one. */
  timeLeft(run: RunRecord): Promise<number | null>;
  /**
   * Runs whose deadline has passed, oldest first. Whole runs are included only while they wait: the agent that executes one watches its
   * time limit.
   */
  overdueRuns(limit: number): Promise<RunRecord[]>;
  /** Time until the next deadline of such a run, ms, 0 or less if it has passed; null without any. */
  nextOverdueRun(): Promise<number | null>;

  /** Hashes of the definitions of runs that wait as a whole and that any agent may have. */
  plainDefinitions(): Promise<string[]>;
  /** Such runs with this definition that have not had an attempt yet, oldest first. */
  plainRuns(definitionHash: string, limit: number): Promise<RunRecord[]>;
  /** Those with this definition need something special from now on. */
  placeRuns(definitionHash: string, needs: string): Promise<void>;
  /** A run that waits as a whole is split from now on. */
  splitRun(run: RunRecord, revision: number): Promise<RunRecord>;

  getRun(id: string): Promise<RunRecord | null>;
  /** Up to `limit` runs whose id begins with `prefix`. */
  findRuns(prefix: string, limit: number): Promise<RunRecord[]>;
  /**
   * Firings of a workflow's schedule of which no agent has taken anything, oldest first, also those that wait for their concurrency group. Only
   * those that were scheduled, and created, before `dueMs`.
   * @param entry the key of the entry that made them; null for a workflow with one schedule
   */
  waitingFirings(
    workflowId: string,
    dueMs: number,
    limit: number,
    entry?: string | null,
  ): Promise<RunRecord[]>;
  /** Newest first. */
  listRuns(filter: {
    limit: number;
    workflow_id?: string;
    status?: RunStatus;
    /** Whether those that rest are not RUNNING. */
    waiting?: boolean;
    id_prefix?: string;
  }): Promise<ListedRun[]>;
  /** When the oldest of the newest `among` finished runs was created; null if there are none. */
  oldestFinishedMs(among: number): Promise<number | null>;
  /** Numbers of unfinished runs by status, and of runs and slices waiting for an agent. */
  countRuns(): Promise<{ pending: number; running: number; queued: number }>;
  getDefinition(hash: string): Promise<string | null>;
  /**
   * The runs that these nodes of a run have started, and before it those of the runs that it retries, as far as these were not retried from
   * their beginning: the newest first.
   */
  childRuns(runId: string, tasks: readonly string[]): Promise<ListedRun[]>;
  /** The latest status of each workflow, newest first. */
  recentStatuses(limit: number): Promise<RecentStatus[]>;
}

/** What runs and tasks wait for without an agent. */
export interface WaitIntentions {
  /** Adds a wait, unless the run, or the task, has one already. */
  addWait(wait: WaitRecord): Promise<void>;
  getWait(runId: string, task: string): Promise<WaitRecord | null>;
  listWaits(runId: string): Promise<WaitRecord[]>;
  /** Changes when something is to be done about a wait, and what is to be known. */
  changeWait(wait: Pick<WaitRecord, "workflow_instance_id" | "task" | "due_ms" | "data">): Promise<void>;
  /** Waits for child runs that are over, or not known any more. */
  waitsForEndedRuns(): Promise<WaitRecord[]>;
  /** Those of a kind, of all runs, oldest first. @param workflowId only those of runs of this workflow */
  waitsOfKind(kind: WaitRecord["kind"], limit: number, workflowId?: string): Promise<WaitRecord[]>;
  /** It is over, or does not matter any more. */
  endWait(runId: string, task: string): Promise<void>;
  /** Those that are over at this time, ms since the epoch, oldest first. */
  dueWaits(nowMs: number, limit: number): Promise<WaitRecord[]>;
  /** When the next one is over, ms since the epoch; null for none. */
  nextDueWait(): Promise<number | null>;
}

/** The slices of split runs. */
export interface SliceIntentions {
  /** Queues further slices of a split run. */
  addSlices(run: RunRecord, slices: readonly NewSlice[], nowMs: number): Promise<void>;
  /**
   * Puts a slice whose attempt is over back into its place in the queue, as the next attempt. A task run that waits goes on in that.
   * @param runAttempt the attempt of the run then, unless it has a higher one; by default that of the slice
   */
  requeueSlice(
    slice: SliceRecord,
    crashedAttempts: number,
    nowMs: number,
    runAttempt?: number,
  ): Promise<SliceRecord>;
  /** No agent has a slice, and its task, a poll, waits for its next try. Earlier crashes do not count any more. */
  sleepSlice(slice: SliceRecord): Promise<SliceRecord>;
  /**
   * The next try of a poll is due: its slice goes back into its place in the queue, as the next attempt, and its task run goes on in that.
   * Earlier attempts are removed, except the last one and the newest in each log stream. The attempt of the run stays.
   */
  wakeSlice(slice: SliceRecord, nowMs: number): Promise<SliceRecord>;
  /** Ends a slice. */
  endSlice(slice: SliceRecord): Promise<void>;
  getSlice(runId: string, slice: number): Promise<SliceRecord | null>;
  /** In order; those that are not over, or all. */
  listSlices(runId: string, which: "open" | "all"): Promise<SliceRecord[]>;
  /** The number of the newest slice of a run; 0 for none. */
  lastSlice(runId: string): Promise<number>;
  /** An older cdktr may have ended or removed split runs, whose slices it does not know: ends, or removes, those too. */
  settleSlices(): Promise<void>;
}

/** The queue, leases and task runs. */
export interface LeaseIntentions {
  /** What waits longest, of everything with the same needs, oldest first. @param needs only what has these */
  queueHeads(needs?: string): Promise<QueueHead[]>;
  /**
   * Gives the run or slice that waits longest to an agent: it belongs to the agent, by a lease with a deadline, when the unit of work
   * commits. A request that has an open lease gets the same one again. `empty`: nothing waits. `unfit`: no process with this name may get
   * work. The status of the run stays, also if the lease is held.
   */
  claim(to: Claimant): Promise<Claim | "empty" | "unfit">;
  /** Adds an offer of a run to the agent that has begun it by itself. */
  addOffer(attempt: AttemptRecord): Promise<void>;
  /** The open lease that a request was given before. */
  claimedBy(agentId: string, fetchId: string): Promise<Claim | null>;
  /** Changes a lease, and the status of its attempt, if it is unchanged since it was read. Returns the new state. */
  transitionLease(attempt: AttemptRecord, to: LeaseStep): Promise<AttemptRecord>;
  /** Sets what must be added to the times of an agent's reports about an attempt that it holds. Returns the new state. */
  correctClock(attempt: AttemptRecord, offsetMs: number): Promise<AttemptRecord>;
  /** Gives offers their full time again, those of some attempts or all. Returns how many there were. */
  extendOffers(offerMs: number, of?: { agentId: string; attempts: readonly AttemptName[] }): Promise<number>;
  /** Offers whose deadline has passed, oldest first. */
  overdueOffers(limit: number): Promise<AttemptRecord[]>;
  /** Time until the next offer expires, ms, 0 or less if it is overdue; null without any. */
  nextOverdueOffer(): Promise<number | null>;

  getAttempt(of: AttemptName): Promise<AttemptRecord | null>;
  /** In order, attempts of the run as a whole first; those of one slice, or all. */
  listAttempts(runId: string, slice?: number): Promise<AttemptRecord[]>;
  /** The agents that have had an attempt of these runs; a run without any is missing. */
  agentsOfRuns(runIds: readonly string[]): Promise<ReadonlyMap<string, ReadonlySet<string>>>;
  /** Attempts with an open lease, of one agent or of all, oldest first. */
  openAttempts(agentId?: string): Promise<AttemptRecord[]>;
  /** Those of an agent whose runs are to be cancelled, or take too long. */
  attemptsToStop(agentId: string): Promise<AttemptToStop[]>;
  /** Whether an agent has had a slice of a run. */
  hasHadSlice(agentId: string, runId: string): Promise<boolean>;

  /**
   * Writes the current state of a task run; one that is over counts as done in its run.
   * @param from its status as it was read; null when it did not exist
   */
  transitionTask(
    task: TaskRunRecord,
    from: RunStatus | null,
    of: { workflow_id: string; agent_id: string | null; artifacts?: string | undefined },
  ): Promise<void>;
  /**
   * Writes a task run that nobody knew, and that has begun and ended: as two transitions.
   * @param begun its state when it was RUNNING
   */
  wholeTask(
    begun: TaskRunRecord,
    ended: TaskRunRecord,
    of: { workflow_id: string; agent_id: string | null; artifacts?: string | undefined },
  ): Promise<void>;
  /** Removes task runs that ended without an agent: the tasks are undecided again. The history keeps their rows. */
  withdrawTasks(runId: string, taskInstanceIds: readonly string[]): Promise<void>;
  /**
   * Removes what COMPLETED of these tasks in an attempt at a run, or at a slice, also their items: the tasks are undecided again. The history
   * keeps their rows.
   */
  forgetCompleted(attempt: AttemptName, taskIds: readonly string[]): Promise<void>;
  /**
   * Tasks of a split run are undecided again: removes these task runs of theirs, which are over, also those of items, and what fan-outs among
   * them were expanded to. The history keeps their rows.
   */
  forgetTasks(runId: string, taskIds: readonly string[], taskInstanceIds: readonly string[]): Promise<void>;
  getTaskRun(runId: string, taskInstanceId: string): Promise<TaskRunRecord | null>;
  /** In the order in which they were first written, with what they published, which may be large. */
  listTaskRuns(runId: string): Promise<TaskRunRecord[]>;
  /** As {@link listTaskRuns}, without what they published; of one slice, from 1, or all. */
  listTaskStates(runId: string, slice?: number): Promise<TaskRunState[]>;
  /** As {@link listTaskStates} of a run, without items of fan-outs. */
  listTasks(runId: string): Promise<TaskRunState[]>;
  /** As {@link listTaskStates}, but only what is needed to know how far the run has got. */
  listTaskEnds(runId: string, slice?: number): Promise<TaskEnd[]>;
  /** As {@link listTaskStates}, but only task runs that are not over. */
  listOpenTasks(runId: string, slice?: number): Promise<TaskRunState[]>;

  /** What tasks of a run published, by task id, as JSON; tasks that published nothing, and fan-outs, are omitted. */
  outputsOf(runId: string, taskIds: readonly string[]): Promise<ReadonlyMap<string, string>>;
  /** The task runs of a run whose outputs are only in the history, under the same id. */
  movedOutputs(runId: string): Promise<MovedOutputs[]>;
  /** Ids of the tasks of a run that completed, in any attempt, without items of fan-outs. */
  completedTasks(runId: string): Promise<string[]>;
  /** Number of running tasks, and items of fan-outs, in attempts with an open lease, by agent; agents without any are omitted. */
  countRunningTasks(): Promise<ReadonlyMap<string, number>>;
}

/** Which items of a fan-out are listed. */
interface ItemPage {
  readonly status?: RunStatus | undefined;
  /** Only those behind this place, and before that one. */
  readonly afterIndex?: number | undefined;
  readonly beforeIndex?: number | undefined;
  /** Only those of whose `load[orders] FAILED` all of these are a part, in upper or lower case (of ASCII); with `!` in front: are not. */
  readonly words?: readonly string[] | undefined;
  readonly limit: number;
}

/** Fan-outs and their items. */
export interface ItemIntentions {
  /** Keeps the items of a fan-out that may be in several slices. @param items as in {@link FanOutRecord} */
  putFanOut(runId: string, taskId: string, items: string): Promise<void>;
  /** Whether the items of a fan-out that are not over are to be stopped. */
  cutFanOut(runId: string, taskId: string, isCut: boolean): Promise<void>;
  /** Copies the items of these fan-outs of a run that completed, in any attempt, to the run that retries it. */
  carryItems(
    runId: string,
    toRunId: string,
    fanOuts: readonly string[],
    except?: readonly string[],
  ): Promise<void>;
  /** Puts back what task runs published that only the history had, as JSON, by their ids. */
  restoreOutputs(runId: string, outputs: ReadonlyMap<string, string>): Promise<void>;
  fanOutsOf(runId: string): Promise<FanOutRecord[]>;
  /** Numbers of items of a run, by fan-out and by the status of their newest task runs. */
  countItems(runId: string): Promise<ItemCount[]>;
  /** The newest task runs of the items of a fan-out, in order. */
  listItems(runId: string, taskId: string, page: ItemPage): Promise<TaskRunState[]>;
  /**
   * What items of these fan-outs have published, in order. There may be gigabytes: the list ends with the item by which it has more than
   * `mostBytes` of JSON.
   * @param afterIndex only those behind this place
   */
  itemOutputs(
    runId: string,
    taskIds: readonly string[],
    mostBytes: number,
    afterIndex?: number,
  ): Promise<ItemOutputs[]>;
  /** The items of a run that completed, in any attempt. */
  completedItems(runId: string): Promise<Pick<ItemOutputs, "task_id" | "item_key" | "item_index">[]>;
  /** The items that an agent has to stop although the rest of their slices goes on. */
  itemsToStop(agentId: string): Promise<ItemsToStop[]>;
}

/** The agents, their keys and their streams of reports. */
export interface AgentIntentions {
  /**
   * Writes a registering agent.
   * @param known its record as read before; null if there was none
   * @param aliveMs time until it becomes lost if it stays silent
   */
  registerAgent(
    agent: Omit<AgentRecord, "deadline_ms">,
    known: AgentRecord | null,
    aliveMs: number,
  ): Promise<void>;
  /** Records a sign of life of an agent's process at `heardMs`. If it is not lost, its timeout starts again. */
  heardOfAgent(
    agent: Pick<AgentRecord, "agent_id" | "session_id">,
    aliveMs: number,
    heardMs: number,
  ): Promise<void>;
  /** Agents whose deadline passes within this time, ms. */
  dueAgents(withinMs: number): Promise<DueAgent[]>;
  /** Time until the next deadline of an agent, ms, 0 or less when it has passed; null without any. */
  nextDueAgent(): Promise<number | null>;
  /** Changes the state of an agent that is unchanged since it was read. GONE removes it. @param heardMs time of its last sign of life */
  transitionAgent(agent: AgentRecord, to: AgentState, heardMs?: number): Promise<void>;
  /** Removes LOST agents whose last sign of life was before a given time. */
  forgetLostAgents(beforeMs: number): Promise<void>;
  getAgent(agentId: string): Promise<AgentRecord | null>;
  listAgents(): Promise<AgentRecord[]>;

  /** The public key to which an agent's id belongs; null when it belongs to none. It outlives the agent's record. */
  getAgentKey(agentId: string): Promise<string | null>;
  /** Transfers an agent's id from one key to another; null for none. */
  transferAgentKey(agentId: string, from: string | null, to: string | null, nowMs: number): Promise<void>;
  listAgentKeys(): Promise<{ agent_id: string; public_key: string }[]>;

  /** Sequence number of the last applied report of an agent's stream; null for an unknown stream. */
  getStream(streamId: string): Promise<{ agent_id: string; seq: number } | null>;
  /** Records that reports up to `to` were applied. @param from the previous number; null for an unknown stream */
  advanceStream(
    streamId: string,
    agentId: string,
    from: number | null,
    to: number,
    nowMs: number,
  ): Promise<void>;
}

/** Runs that follow others, as a feed: numbers grow with the order of commits and are never reused. */
export interface FollowUpIntentions {
  appendFollowUp(followUp: FollowUp): Promise<void>;
  /** Those after a number, in order. */
  listFollowUps(afterSeq: number, limit: number): Promise<(FollowUp & { seq: number })[]>;
  /** The name of this sequence of follow-ups, and its last number; 0 when there was none. */
  followUpFeed(): Promise<{ id: string; last_seq: number }>;
  /** The number of the last one before a given time; `lastSeq` when there is none after it. */
  followUpsBefore(ms: number, lastSeq: number): Promise<number>;
}

/** The loaded workflows and the positions of their schedules. */
export interface WorkflowIntentions {
  /** At most `limit` with ids after `afterId`, in their order; by default all. */
  listWorkflowVersions(afterId?: string, limit?: number): Promise<WorkflowVersion[]>;
  /** The same for those that only an older cdktr has stored. */
  listPlainVersions(afterId: string, limit: number): Promise<PlainWorkflowVersion[]>;
  /** @param isSame whether an older cdktr may still use what it has stored of this workflow */
  putWorkflowVersion(version: WorkflowVersion, isSame?: boolean): Promise<void>;
  /** Removes a workflow and its schedule. */
  dropWorkflow(workflowId: string): Promise<void>;

  listScheduleCursors(): Promise<ScheduleCursor[]>;
  /** Sets a workflow's schedule; null for none. If it changes, its cursor starts over, at `cursorMs`. */
  setSchedule(workflowId: string, schedule: string | null, cursorMs: number): Promise<void>;
  listSchedulePositions(): Promise<SchedulePosition[]>;
  /** Sets the entries of a workflow whose schedules have positions of their own, and where new ones begin; those that are there stay. */
  setPositions(workflowId: string, positions: ReadonlyMap<string, number>): Promise<void>;
  /**
   * A firing became a run: moves the cursor, or the position of the entry that fired, unless it is further already. One in the future comes
   * from a wrong clock.
   */
  moveSchedule(workflowId: string, firedMs: number, nowMs: number, entry?: string | null): Promise<void>;
}

/** The reasons why runs wait, as they are in the history. */
export interface ReasonIntentions {
  /** Ids of the runs to which the first entries of the queue belong, this many, in the order of the queue. */
  queuedRuns(limit: number): Promise<string[]>;
  /** The reasons that were written last, of runs that may still wait. */
  notedReasons(): Promise<NotedReason[]>;
  /** Writes a row that says why a run waits; null: nothing of it waits any more. Its status stays. */
  noteReason(runId: string, note: RunNote | null, nowMs: number): Promise<void>;
}

/** Rows for the history that belong to no run. */
export interface HistoryIntentions {
  /** Records who did what, in the commit that does it. */
  audit(row: AuditRow): Promise<void>;
  /** Records what happened to an alert. */
  logAlert(row: AlertRow): Promise<void>;
}

/** A secret of the store, as it is listed. */
export interface StoredSecret {
  readonly name: string;
  /** Whose key set it; null if there was none. */
  readonly actor: string | null;
  readonly changed_at_ms: number;
}

/** Secrets for tasks. They are sealed before they come here. */
export interface SecretIntentions {
  putSecret(secret: StoredSecret & { readonly sealed: Uint8Array }): Promise<void>;
  /** The sealed values of those that exist, by name. */
  getSecrets(names: readonly string[]): Promise<ReadonlyMap<string, Uint8Array>>;
  /** By name. */
  listSecrets(): Promise<StoredSecret[]>;
  /** Returns whether there was one. */
  dropSecret(name: string): Promise<boolean>;
}

/** Retention. */
export interface HousekeepingIntentions {
  /**
   * Removes finished runs beyond the newest `keepRuns`, once their status rows were acknowledged, and idempotency keys, streams,
   * definitions and follow-ups that nothing needs. Does a bounded amount of work; returns how many runs were removed and whether more is
   * left.
   */
  forget(options: {
    keepRuns: number;
    olderThanMs: number;
    followUpsOlderThanMs: number;
  }): Promise<{ runs: number; more: boolean }>;
  /** Removes these runs, if they are over and the history has all of their status rows. */
  forgetRuns(ids: readonly string[]): Promise<void>;
  /** The size of what tasks published, bytes. */
  outputsBytes(): Promise<number>;
  /** The runs whose tasks published something that is here: those that are over, oldest first, then the others. */
  runsWithOutputs(): Promise<{ workflow_instance_id: string; is_over: boolean }[]>;
  /**
   * Removes what tasks of a run published and the history has, apart from some tasks. Does a bounded amount of work.
   * @param needed ids of the tasks whose outputs stay
   * @returns how much was removed, and whether there may be more
   */
  moveOutputs(runId: string, needed: readonly string[]): Promise<{ bytes: number; more: boolean }>;
}

/** A step that units of work request; the same object is the same step. */
export interface CommitStep {
  readonly work: UnitOfWork<void>;
  /** It was not committed. The unit that requested it may have committed without it. */
  readonly failed: (error: unknown) => void;
}

/** The operations of a unit of work. */
export interface OperationalTx
  extends RunIntentions,
    WaitIntentions,
    SliceIntentions,
    LeaseIntentions,
    ItemIntentions,
    GroupIntentions,
    AgentIntentions,
    FollowUpIntentions,
    WorkflowIntentions,
    ReasonIntentions,
    HistoryIntentions,
    AlertIntentions,
    PauseIntentions,
    SecretIntentions,
    BlobIntentions,
    PoolIntentions,
    BackfillIntentions,
    ExpectationIntentions,
    QueryAlertIntentions,
    SettingIntentions,
    HousekeepingIntentions {
  /** Calls `effect` once the unit of work is committed; never when it is not. */
  afterCommit(effect: () => void): void;
  /**
   * Runs a step after this unit of work, in the same commit, at no extra fsync: once, however many units of that commit request it. A
   * step that throws is undone alone; a unit that is undone has requested nothing.
   */
  beforeCommit(step: CommitStep): void;
}

/**
 * A unit of work. It awaits nothing but the transaction's own methods, because others wait behind it. The store may repeat it, so it
 * changes nothing outside the transaction; effects go through {@link OperationalTx.afterCommit} or its result.
 * An error of an intention undoes the unit: it must not be caught and ignored.
 */
export type UnitOfWork<T> = (tx: OperationalTx) => Promise<T>;

/** Status rows to be written to the history, in commit order. Ids increase and are never reused within a state. */
export interface StatusFeed {
  identity(): Promise<StateIdentity>;
  /**
   * Writes a copy of the state as of one moment to a file that does not exist.
   * @param fixed called at that moment: what is committed later is not part of the copy
   */
  copyTo(path: string, fixed?: () => void): Promise<void>;
  /** Changes the identity: it is another state from now on, or belongs to another installation. */
  changeIdentity(to: NewIdentity): Promise<void>;
  /** Committed rows after an id, in order: at most `limit`, and fewer if they have more than 8 MiB. */
  takeStatuses(afterId: number, limit: number): Promise<PendingStatus[]>;
  /** Deletes rows up to an id: the history has them. */
  ackStatuses(upToId: number): Promise<void>;
  /** The runs whose latest row has an id after `id`, whether or not that row was deleted. */
  runsChangedAfter(id: number): Promise<string[]>;
  /**
   * Compares runs with what the history has of them, up to the row `takenId`.
   * @param repeat adds what the history lacks to the rows again
   * @returns the unfinished runs that this state does not have, and the runs that it has otherwise
   */
  compareWithHistory(
    runs: readonly HistoricStatuses[],
    takenId: number,
    repeat: boolean,
  ): Promise<Differences>;
}

/**
 * The operational state. Every method throws {@link StoreUnavailableError} while the database fails, and {@link NestedUnitError}
 * inside a unit of work.
 */
export interface OperationalStore extends Service, StatusFeed {
  /**
   * Runs `work` all or nothing; resolves when it is committed. A unit that throws is undone alone.
   * @param patienceMs how long it may wait, ms, for others to commit with; 0 by default
   */
  transact<T>(work: UnitOfWork<T>, patienceMs?: number): Promise<T>;
  /** Reads committed data. */
  read<T>(work: UnitOfWork<T>): Promise<T>;
  /** Why nothing can be written; null when it can, which is tried out unless something was written just before. Never rejects. */
  writeProblem(): Promise<string | null>;
}

/** The database of the operational state fails. Nothing was changed, unless its hint says otherwise; the same request may succeed later. */
export class StoreUnavailableError extends CdktrError {}

/** Something is in another state than an intention expected. The unit of work was undone. */
export class StateConflictError extends CdktrError {}

/** A unit of work requested another one, which would wait for the first. */
export class NestedUnitError extends CdktrError {}

/** Another principal uses the same data directory. */
export class DataDirectoryInUseError extends CdktrError {}
