/** The schema of the history database: the documented tables, as created by the migrations, and the views. */
import { type Columns, HISTORY_MIGRATIONS, type Table } from "./migrations.ts";

/** The documented tables; they are append-only. */
export const TABLES: Readonly<Record<Table, Columns>> = {
  logstore: columnsOf("logstore"),
  workflow_run_status: columnsOf("workflow_run_status"),
  task_run_status: columnsOf("task_run_status"),
  audit_log: columnsOf("audit_log"),
  alert_log: columnsOf("alert_log"),
};

function columnsOf(table: Table): Columns {
  return Object.assign({}, ...HISTORY_MIGRATIONS.map(({ adds }) => adds?.[table]));
}

/** The tables of statuses. */
export type StatusTable = "workflow_run_status" | "task_run_status";

/** The final statuses. */
export const TERMINAL = "('COMPLETED', 'FAILED', 'CRASHED', 'SKIPPED', 'CANCELLED')";

/**
 * The newest row wins. Rows are ordered by attempt, then by insertion: the principal writes changes in the order in which it made them,
 * while timestamps come from the clocks of several machines.
 */
export const NEWEST = "coalesce(attempt, 1)::BIGINT * 1099511627776 + rowid";

/** By one monotonic clock where that is known; else the difference of times that may come from several clocks. */
const DURATION =
  "CASE WHEN finished_at_ms IS NOT NULL AND started_at_ms IS NOT NULL THEN coalesce(latest.duration_ms, greatest(finished_at_ms - started_at_ms, 0)) END";

/** The documented views. */
export const VIEWS = {
  workflow_runs: `
    SELECT
      workflow_id, workflow_instance_id, latest.workflow_name, latest.status, latest.trigger, latest.attempt, latest.agent_id,
      latest.scheduled_time_ms, created_at_ms, started_at_ms, finished_at_ms,
      ${DURATION} AS duration_ms,
      latest.params, latest.error, latest.retry_of, latest.reason, latest.waits, latest.agents,
      latest.event, latest.outputs, coalesce(latest.allowed_failures, 0) AS allowed_failures, latest.parent_run, latest.parent_task,
      latest.bundle, coalesce(latest.priority, 5) AS priority, latest.concurrency_group, latest.backfill_id, latest.schedule,
      latest.traceparent
    FROM (
      SELECT
        *, CASE WHEN latest.status IN ${TERMINAL} THEN latest.timestamp_ms END AS finished_at_ms
      FROM (
        SELECT
          arg_max(workflow_id, ${NEWEST}) AS workflow_id,
          workflow_instance_id,
          coalesce(min(created_at_ms), min(timestamp_ms)) AS created_at_ms,
          min(timestamp_ms) FILTER (status = 'RUNNING') AS started_at_ms,
          arg_max({
            workflow_name: workflow_name, status: status, timestamp_ms: timestamp_ms, trigger: trigger, attempt: attempt,
            agent_id: agent_id, scheduled_time_ms: scheduled_time_ms, params: params, error: error, retry_of: retry_of,
            reason: reason, duration_ms: duration_ms, waits: waits, agents: agents, event: event, outputs: outputs,
            allowed_failures: allowed_failures, parent_run: parent_run, parent_task: parent_task, bundle: bundle,
            priority: priority, concurrency_group: concurrency_group, backfill_id: backfill_id, schedule: schedule,
            traceparent: traceparent
          }, ${NEWEST}) AS latest
        FROM workflow_run_status
        GROUP BY workflow_instance_id
      )
    )`,
  task_runs: `
    SELECT
      workflow_id, workflow_instance_id, latest.task_id, latest.task_name, task_instance_id, latest.status, latest.attempt,
      latest.task_attempt, latest.agent_id, created_at_ms, started_at_ms, finished_at_ms,
      ${DURATION} AS duration_ms,
      latest.exit_code, latest.signal, latest.error, latest.cpu_ms, latest.max_rss_kb, coalesce(latest.slice, 0) AS slice, latest.outputs,
      latest.item_key, latest.item_index, coalesce(latest.allowed, false) AS allowed, latest.artifacts
    FROM (
      SELECT
        *, CASE WHEN latest.status IN ${TERMINAL} THEN latest.timestamp_ms END AS finished_at_ms
      FROM (
        SELECT
          arg_max(workflow_id, ${NEWEST}) AS workflow_id,
          workflow_instance_id,
          task_instance_id,
          min(timestamp_ms) AS created_at_ms,
          min(timestamp_ms) FILTER (status = 'RUNNING') AS started_at_ms,
          arg_max({
            task_id: task_id, task_name: task_name, status: status, timestamp_ms: timestamp_ms, attempt: attempt,
            task_attempt: task_attempt, agent_id: agent_id, exit_code: exit_code, signal: signal, error: error,
            cpu_ms: cpu_ms, max_rss_kb: max_rss_kb, slice: slice, outputs: outputs,
            duration_ms: duration_ms, item_key: item_key, item_index: item_index, allowed: allowed, artifacts: artifacts
          }, ${NEWEST}) AS latest
        FROM task_run_status
        GROUP BY workflow_instance_id, task_instance_id
      )
    )`,
} as const;
