/**
 * The operational state: runs, leases, agents, cursors, and the outbox of status rows on their way into the history.
 * This is the narrow interface behind which it lives; `operational-sqlite.ts` is the store of one principal on one disk.
 * Everything is asynchronous so that a store elsewhere fits.
 */
import { CdktrError } from "../errors.ts";
import type { Service } from "../service.ts";
import type { RunStatus } from "../workflow/status.ts";
import type { RunStatusRow, TaskStatusRow } from "./history-rows.ts";
import type { StatusOutbox } from "./status-outbox.ts";

/** OFFERED and HELD leases are open: the attempt belongs to the agent. The table of transitions is in principal/runs/lease-state.ts. */
export type LeaseState = "OFFERED" | "HELD" | "RELEASED" | "REVOKED" | "EXPIRED";

/** The table of transitions is in principal/agents/agent-state.ts; GONE is never stored. */
export type AgentState = "UP" | "DRAINING" | "LOST" | "GONE";

/** A run. Its status is that of its newest attempt. */
export interface RunRecord {
  readonly workflow_instance_id: string;
  readonly workflow_id: string;
  readonly workflow_name: string;
  /** Names the stored definition. */
  readonly definition_hash: string;
  readonly params: Readonly<Record<string, string>>;
  readonly trigger: string;
  readonly scheduled_time_ms: number | null;
  /** The run that this one retries. */
  readonly retry_of: string | null;
  readonly created_at_ms: number;
  status: RunStatus;
  /** Number of the newest attempt, 1-based. */
  attempt: number;
  /** Attempts that crashed after an agent had confirmed them: these are limited. */
  crashed_attempts: number;
  /** Waits for an agent. */
  queued: boolean;
  agent_id: string | null;
  cancel_requested_at_ms: number | null;
  /** Tasks of the definition. */
  readonly tasks_total: number;
  /** Those that are over in the newest attempt, or completed before. */
  tasks_done: number;
  started_at_ms: number | null;
  finished_at_ms: number | null;
  /** Time of the newest status row: rows of a run never go back in time. */
  status_at_ms: number;
  error: string | null;
  /** The agent's log stream and the last line of it that belongs to the run, known when the run is over. */
  log_stream_id: string | null;
  log_seq: number;
}

/** One attempt of a run on one agent, with its lease. An attempt that was never assigned has no record. */
export interface AttemptRecord {
  readonly workflow_instance_id: string;
  readonly attempt: number;
  readonly agent_id: string;
  /** The agent's process; null for agents that do not name it. */
  readonly session_id: string | null;
  /** The agent's request that this lease answers. */
  readonly fetch_id: string | null;
  readonly assigned_at_ms: number;
  lease: LeaseState;
  status: RunStatus;
  started_at_ms: number | null;
  finished_at_ms: number | null;
  error: string | null;
}

/** The latest state of a task run. */
export interface TaskRunRecord {
  readonly workflow_instance_id: string;
  readonly task_instance_id: string;
  readonly task_id: string;
  readonly task_name: string;
  /** Attempt of the run; 0 for a task that was carried over from the run that this one retries. */
  readonly attempt: number;
  task_attempt: number;
  status: RunStatus;
  exit_code: number | null;
  signal: string | null;
  error: string | null;
  cpu_ms: number | null;
  max_rss_kb: number | null;
  started_at_ms: number | null;
  finished_at_ms: number | null;
  status_at_ms: number;
}

/** An agent that registered. */
export interface AgentRecord {
  readonly agent_id: string;
  session_id: string | null;
  stream_id: string | null;
  host: string;
  pid: number | null;
  version: string;
  /** The newest and the oldest protocol that it speaks. */
  protocol: number;
  oldest_protocol: number;
  max_concurrent_workflows: number;
  labels: Readonly<Record<string, string>>;
  status: Exclude<AgentState, "GONE">;
  registered_at_ms: number;
  /** As of the last change of the record; the registry knows better while it runs. */
  last_heartbeat_ms: number;
}

/** How far a workflow's schedule has come. */
export interface ScheduleCursor {
  readonly workflow_id: string;
  /** What the cursor belongs to: cron, time zone and start time. With another schedule it begins anew. */
  readonly schedule: string;
  /** When the file was first seen with this schedule, or the last firing that became a run. */
  readonly cursor_ms: number;
}

/** The newest version of a workflow file that was valid. */
export interface WorkflowVersion {
  readonly workflow_id: string;
  /** Relative to the workflow directory. */
  readonly path: string;
  /** JSON of the definition. */
  readonly definition: string;
  /** The text of the file. */
  readonly source: string;
}

/** A run that must follow the end of another. */
export interface FollowUp {
  /** The workflow that is to run. */
  readonly workflow_id: string;
  readonly after_workflow_id: string;
  readonly after_workflow_instance_id: string;
  readonly after_status: RunStatus;
  readonly created_at_ms: number;
}

/** The latest status of a workflow. */
export interface RecentStatus {
  readonly workflow_id: string;
  readonly workflow_instance_id: string;
  readonly status: RunStatus;
  readonly timestamp_ms: number;
}

/** What a unit of work may do. Records are copies: a change counts when it is saved. */
export interface OperationalTx {
  insertRun(run: RunRecord): Promise<void>;
  getRun(id: string): Promise<RunRecord | null>;
  /** Up to `limit` runs whose id begins with `prefix`. */
  findRuns(prefix: string, limit: number): Promise<RunRecord[]>;
  saveRun(run: RunRecord): Promise<void>;
  /** Runs that wait for an agent, oldest first. */
  queuedRuns(limit: number): Promise<RunRecord[]>;
  /** Newest first. */
  listRuns(filter: { limit: number; workflow_id?: string; status?: RunStatus }): Promise<RunRecord[]>;
  /** When the oldest of the runs that are over was created; those from before are in the history alone. */
  oldestFinishedMs(): Promise<number | null>;
  /** Runs that are not over: by status, and those that wait for an agent. */
  countRuns(): Promise<{ pending: number; running: number; queued: number }>;

  /** Keeps a definition under its hash; one that is there already stays. */
  putDefinition(hash: string, json: string): Promise<void>;
  getDefinition(hash: string): Promise<string | null>;

  insertAttempt(attempt: AttemptRecord): Promise<void>;
  getAttempt(runId: string, attempt: number): Promise<AttemptRecord | null>;
  saveAttempt(attempt: AttemptRecord): Promise<void>;
  /** In order. */
  listAttempts(runId: string): Promise<AttemptRecord[]>;
  /** Attempts with an open lease, of one agent or of all, oldest first. */
  openAttempts(agentId?: string): Promise<AttemptRecord[]>;
  /** Tasks that run in attempts with an open lease, by agent; agents without any are left out. */
  countRunningTasks(): Promise<ReadonlyMap<string, number>>;

  getTaskRun(runId: string, taskInstanceId: string): Promise<TaskRunRecord | null>;
  /** Inserts or replaces. */
  saveTaskRun(task: TaskRunRecord): Promise<void>;
  /** In the order in which they were first saved. */
  listTaskRuns(runId: string): Promise<TaskRunRecord[]>;

  getAgent(agentId: string): Promise<AgentRecord | null>;
  /** Inserts or replaces. */
  saveAgent(agent: AgentRecord): Promise<void>;
  deleteAgent(agentId: string): Promise<void>;
  listAgents(): Promise<AgentRecord[]>;

  /** The public key to which an agent's id belongs; null when it belongs to none. It outlives the agent's record. */
  getAgentKey(agentId: string): Promise<string | null>;
  /** Sets it, or removes it with null. */
  saveAgentKey(agentId: string, publicKey: string | null, nowMs: number): Promise<void>;
  listAgentKeys(): Promise<{ agent_id: string; public_key: string }[]>;

  /** Sequence number of the last report of an agent's stream that was applied; null for a stream never heard of. */
  getReportSeq(streamId: string): Promise<{ agent_id: string; seq: number } | null>;
  setReportSeq(streamId: string, agentId: string, seq: number, nowMs: number): Promise<void>;

  /** The run that was created under an idempotency key. */
  findByDedupeKey(key: string): Promise<string | null>;
  putDedupeKey(key: string, runId: string, nowMs: number): Promise<void>;

  /** Numbers grow with the order of commits and are never used again. */
  appendFollowUp(followUp: FollowUp): Promise<void>;
  /** In order, those after a number. */
  listFollowUps(afterSeq: number, limit: number): Promise<(FollowUp & { seq: number })[]>;
  /** What this sequence of follow-ups is called, and its last number; 0 when there was none. */
  followUpFeed(): Promise<{ id: string; last_seq: number }>;
  /** The number of the last one from before a time; of none after it, `lastSeq`. */
  followUpsBefore(ms: number, lastSeq: number): Promise<number>;

  listScheduleCursors(): Promise<ScheduleCursor[]>;
  getScheduleCursor(workflowId: string): Promise<ScheduleCursor | null>;
  saveScheduleCursor(cursor: ScheduleCursor): Promise<void>;
  deleteScheduleCursor(workflowId: string): Promise<void>;

  listWorkflowVersions(): Promise<WorkflowVersion[]>;
  saveWorkflowVersion(version: WorkflowVersion): Promise<void>;
  deleteWorkflowVersion(workflowId: string): Promise<void>;

  /** Puts rows of the history into the outbox. */
  appendRunStatus(row: RunStatusRow): Promise<void>;
  appendTaskStatus(row: TaskStatusRow): Promise<void>;
  /** The latest status of each workflow, newest first. */
  recentStatuses(limit: number): Promise<RecentStatus[]>;

  /**
   * Forgets what is no longer needed: runs that are over beyond the newest `keepRuns`, once their status rows have left the outbox,
   * idempotency keys, streams and definitions that nothing refers to, follow-ups. Does a bounded piece of it; tells how many runs went and whether more is left.
   */
  forget(options: {
    keepRuns: number;
    olderThanMs: number;
    followUpsOlderThanMs: number;
  }): Promise<{ runs: number; more: boolean }>;

  /** Calls `effect` once the unit of work is on disk; never when it fails. */
  afterCommit(effect: () => void): void;
}

/** A unit of work. It awaits nothing but the transaction's own methods: others wait behind it. */
export type UnitOfWork<T> = (tx: OperationalTx) => Promise<T>;

/** The operational state. Any method throws {@link StoreUnavailableError} while the disk fails. */
export interface OperationalStore extends Service {
  /**
   * Does `work` as a whole or not at all; resolves when it is on disk. Units of one turn of the event loop share one
   * commit; one that throws is undone alone.
   */
  transact<T>(work: UnitOfWork<T>): Promise<T>;
  /** As {@link transact}, in the commit that comes next, behind all other units of it, those that are under way included. */
  transactLast<T>(work: UnitOfWork<T>): Promise<T>;
  /** Reads what is committed. */
  read<T>(work: UnitOfWork<T>): Promise<T>;
  readonly outbox: StatusOutbox;
}

/** The disk of the operational state fails. Nothing was changed; the same request may succeed later. */
export class StoreUnavailableError extends CdktrError {}

/** Another principal works on the same data directory. */
export class DataDirectoryInUseError extends CdktrError {}
