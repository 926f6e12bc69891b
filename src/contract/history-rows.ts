/** The rows of the history tables, exactly as in DuckDB. */
import type { RunStatus } from "../workflow/status.ts";

/** A row of `workflow_run_status`: an attempt of a run got a new status. */
export interface RunStatusRow {
  readonly workflow_id: string;
  readonly workflow_instance_id: string;
  readonly status: RunStatus;
  /** When it happened, ms since the epoch. */
  readonly timestamp_ms: number;
  readonly workflow_name: string | null;
  readonly trigger: string | null;
  readonly attempt: number;
  readonly agent_id: string | null;
  /** The scheduled time, ms since the epoch. */
  readonly scheduled_time_ms: number | null;
  /** When the run was triggered, ms since the epoch. */
  readonly created_at_ms: number;
  /** JSON object: parameter → value. */
  readonly params: string;
  readonly error: string | null;
  /** The run that this one retries. */
  readonly retry_of: string | null;
  /** Why the run waits, or some of its tasks; null when nothing does. Absent in rows of an older cdktr. */
  readonly reason?: string | null;
  /** In the row of an end: how long it took, by one monotonic clock. Absent in rows of an older cdktr. */
  readonly duration_ms?: number | null;
  /** In a row with a reason, for a split run: JSON array, for each reason `{reason, slices, tasks, more_tasks}`. */
  readonly waits?: string | null;
  /** Number of agents that have had parts of the run; null when one agent has it as a whole. */
  readonly agents?: number | null;
  /** JSON object: what the event offered that triggered the run. */
  readonly event?: string | null;
  /** JSON object: the outputs of the workflow. */
  readonly outputs?: string | null;
  /** Number of tasks that failed and were allowed to. */
  readonly allowed_failures?: number | null;
  /** The run and the task that triggered this run. */
  readonly parent_run?: string | null;
  readonly parent_task?: string | null;
  /** Hash of the files that travel with the run. */
  readonly bundle?: string | null;
  /** From 0 to 9; absent for 5. */
  readonly priority?: number | null;
  /** The concurrency group of the run. */
  readonly concurrency_group?: string | null;
  readonly backfill_id?: string | null;
  /** The entry of its workflow's schedules that made it. */
  readonly schedule?: string | null;
  /** The context of the trace that its trigger is part of, as in the header of the W3C. */
  readonly traceparent?: string | null;
}

/** A row of `task_run_status`: a task run got a new status. */
export interface TaskStatusRow {
  readonly task_id: string;
  readonly task_instance_id: string;
  readonly workflow_instance_id: string;
  readonly status: RunStatus;
  /** When it happened, ms since the epoch. */
  readonly timestamp_ms: number;
  readonly workflow_id: string;
  readonly task_name: string | null;
  /** Attempt of the run. */
  readonly attempt: number;
  /** Attempt of the task within that attempt. */
  readonly task_attempt: number;
  readonly agent_id: string | null;
  readonly exit_code: number | null;
  /** Name of the signal that ended the process. */
  readonly signal: string | null;
  readonly error: string | null;
  /** User and system time of the process, ms. */
  readonly cpu_ms: number | null;
  /** Peak resident memory, KiB. */
  readonly max_rss_kb: number | null;
  /** The slice of the run that the task is in; 0 when one agent has the whole run. Absent in rows of an older cdktr. */
  readonly slice?: number;
  /** JSON object: the task's outputs. */
  readonly outputs?: string | null;
  /** In the row of an end: how long it took, by one monotonic clock. Absent in rows of an older cdktr. */
  readonly duration_ms?: number | null;
  /** The key and the place, from 0, of the item of a fan-out; null for a task. */
  readonly item_key?: string | null;
  readonly item_index?: number | null;
  /** It failed, and was allowed to. */
  readonly allowed?: boolean | null;
  /** Hash of the list of the files that it left. */
  readonly artifacts?: string | null;
}

/** A row of `audit_log`: somebody changed something, or was refused to. */
export interface AuditRow {
  /** When it happened, ms since the epoch. */
  readonly timestamp_ms: number;
  /** Name of the key, or system user; null if nobody is known. */
  readonly actor: string | null;
  /** Role of the key; null without keys. */
  readonly role: string | null;
  /** What was done: a word of the table of verbs, such as `run.trigger`. */
  readonly action: string;
  /** What it was done to: the id of a workflow or a run, the name of a pool … */
  readonly subject: string | null;
  /** JSON object: particulars. Never the value of a secret. */
  readonly detail: string | null;
  /** `done`, or `refused: ` and the reason. */
  readonly outcome: string;
  /** Where it came from: an address, or `local`. */
  readonly source: string | null;
}

/** What may happen to an alert and its messages. */
type AlertEvent = "raised" | "resolved" | "sent" | "failed" | "dead" | "dropped";

/** A row of `alert_log`: something happened to an alert. */
export interface AlertRow {
  readonly alert_id: string;
  /** When it happened, ms since the epoch. */
  readonly timestamp_ms: number;
  readonly event: AlertEvent;
  readonly kind: string;
  readonly workflow_id: string | null;
  readonly workflow_instance_id: string | null;
  /** What is unique among alerts that are not resolved. */
  readonly key: string;
  /** One line. */
  readonly subject: string;
  /** The channel of a message. */
  readonly channel: string | null;
  readonly error: string | null;
}

/** A row that the history does not have yet, with its position in the operational state. An older cdktr passes over those of tables that it does not know. */
export type PendingStatus =
  | { readonly id: number; readonly table: "workflow_run_status"; readonly row: RunStatusRow }
  | { readonly id: number; readonly table: "task_run_status"; readonly row: TaskStatusRow }
  | { readonly id: number; readonly table: "audit_log"; readonly row: AuditRow }
  | { readonly id: number; readonly table: "alert_log"; readonly row: AlertRow };

/** The latest statuses of a run and its task runs in the history. */
export interface HistoricStatuses {
  readonly workflow_instance_id: string;
  /** 0 if the history does not have the run. */
  readonly attempt: number;
  readonly status: RunStatus;
  /** By id of the task run. */
  readonly tasks: ReadonlyMap<string, { readonly attempt: number; readonly status: RunStatus }>;
}
