/** The records of the operational state. They are snapshots: changes go through the intentions of the store. */
import type { RunStatus } from "../../workflow/status.ts";
import type { AgentState } from "./agent-state.ts";
import type { LeaseState } from "./lease-state.ts";

/** A run. Its status is that of its newest attempt. */
export interface RunRecord {
  readonly workflow_instance_id: string;
  readonly workflow_id: string;
  readonly workflow_name: string;
  /** Hash of the stored definition. */
  readonly definition_hash: string;
  readonly params: Readonly<Record<string, string>>;
  readonly trigger: string;
  readonly scheduled_time_ms: number | null;
  /** The run that this one retries. */
  readonly retry_of: string | null;
  /** Number of runs before it in a chain of `on: workflow`. */
  readonly trigger_depth: number;
  readonly created_at_ms: number;
  readonly status: RunStatus;
  /** Number of the newest attempt, 1-based. */
  readonly attempt: number;
  /** Number of attempts that crashed after an agent had confirmed them: these are limited. */
  readonly crashed_attempts: number;
  /** Whether it waits for an agent. */
  readonly queued: boolean;
  readonly agent_id: string | null;
  readonly cancel_requested_at_ms: number | null;
  /** Number of tasks of the definition. */
  readonly tasks_total: number;
  /** Number of tasks that are over in the newest attempt, or completed before. */
  readonly tasks_done: number;
  readonly started_at_ms: number | null;
  readonly finished_at_ms: number | null;
  /** Time of the newest status row: the rows of a run never go back in time. */
  readonly status_at_ms: number;
  readonly error: string | null;
  /** The agent's log stream and its last line that belongs to the run, known when the run is over. */
  readonly log_stream_id: string | null;
  readonly log_seq: number;
}

/** One attempt of a run on one agent, with its lease. An attempt that was never assigned has no record. */
export interface AttemptRecord {
  readonly workflow_instance_id: string;
  readonly attempt: number;
  readonly agent_id: string;
  /** The agent's process; null for agents that do not identify it. */
  readonly session_id: string | null;
  /** The agent's request that this lease answers. */
  readonly fetch_id: string | null;
  readonly assigned_at_ms: number;
  /** Correction to add to the times in the agent's reports, because its clock is wrong. */
  readonly clock_offset_ms: number;
  /** While it is OFFERED: when an unconfirmed offer expires, by the store's clock; null for one of an older cdktr. */
  readonly deadline_ms: number | null;
  readonly lease: LeaseState;
  readonly status: RunStatus;
  readonly started_at_ms: number | null;
  readonly finished_at_ms: number | null;
  readonly error: string | null;
}

/** The latest state of a task run. */
export interface TaskRunRecord {
  readonly workflow_instance_id: string;
  readonly task_instance_id: string;
  readonly task_id: string;
  readonly task_name: string;
  /** Attempt of the run; 0 for a task that was carried over from the run that this one retries. */
  readonly attempt: number;
  readonly task_attempt: number;
  readonly status: RunStatus;
  readonly exit_code: number | null;
  readonly signal: string | null;
  readonly error: string | null;
  readonly cpu_ms: number | null;
  readonly max_rss_kb: number | null;
  readonly started_at_ms: number | null;
  readonly finished_at_ms: number | null;
  readonly status_at_ms: number;
}

/** Identifies an attempt of a run. */
export type AttemptName = Pick<AttemptRecord, "workflow_instance_id" | "attempt">;

/** A registered agent. */
export interface AgentRecord {
  readonly agent_id: string;
  readonly session_id: string | null;
  readonly stream_id: string | null;
  readonly host: string;
  readonly pid: number | null;
  readonly version: string;
  /** The newest and the oldest protocol version that it speaks. */
  readonly protocol: number;
  readonly oldest_protocol: number;
  readonly max_concurrent_workflows: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly status: Exclude<AgentState, "GONE">;
  readonly registered_at_ms: number;
  /** As of the last change of the record. */
  readonly last_heartbeat_ms: number;
  /** When it becomes lost if it stays silent, by the store's clock; null for one written by an older cdktr. */
  readonly deadline_ms: number | null;
}

/** The position of a workflow's schedule. */
export interface ScheduleCursor {
  readonly workflow_id: string;
  /** The schedule that the cursor belongs to: cron, time zone and start time. With another schedule it starts over. */
  readonly schedule: string;
  /** When the file was first seen with this schedule, or the last firing that became a run. */
  readonly cursor_ms: number;
}

/** The newest valid version of a workflow file. */
export interface WorkflowVersion {
  readonly workflow_id: string;
  /** Relative to the workflow directory. */
  readonly path: string;
  /** JSON of the definition. */
  readonly definition: string;
  /** The source text of the file. */
  readonly source: string;
}

/** A run that must follow the end of another. */
export interface FollowUp {
  /** The workflow to run. */
  readonly workflow_id: string;
  readonly after_workflow_id: string;
  readonly after_workflow_instance_id: string;
  readonly after_status: RunStatus;
  /** The `trigger_depth` of the run that follows. */
  readonly trigger_depth: number;
  readonly created_at_ms: number;
}

/** The latest status of a workflow. */
export interface RecentStatus {
  readonly workflow_id: string;
  readonly workflow_instance_id: string;
  readonly status: RunStatus;
  readonly timestamp_ms: number;
}
