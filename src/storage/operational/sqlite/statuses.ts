/** Statements about status rows for the history, and about the latest status of each workflow. */
import type {
  AlertRow,
  AuditRow,
  PendingStatus,
  RunStatusRow,
  TaskStatusRow,
} from "../../../contract/history-rows.ts";
import { DEFAULT_PRIORITY } from "../../../workflow/limits.ts";
import { toldStatus } from "../../../workflow/run-state.ts";
import { groupName } from "../records.ts";
import type { HistoryIntentions, RunNote, RunRecord, StateIdentity, TaskRunRecord } from "../store.ts";
import type { Statements } from "./statements.ts";

/** The id for the next status row of the history. Whoever writes the row also writes the id into its run, as the last one. */
export function nextStatusId(db: Statements): number {
  return db.nextStatusId(() => lastStatusId(db));
}

/** Records that a run has another status, or the same one in another attempt. @param position the id for the row, which the run has already */
export function writeRunStatus(db: Statements, run: RunRecord, position: number): void {
  insertRunStatus(db, position, run, null);
  db.run(
    "INSERT OR REPLACE INTO recent_statuses (workflow_id, workflow_instance_id, status, timestamp_ms, position) VALUES (?, ?, ?, ?, ?)",
    run.workflow_id,
    run.workflow_instance_id,
    run.status,
    run.status_at_ms,
    position,
  );
}

/** Records why a run waits; null: nothing of it waits any more. Its status stays. @param atMs since when, ms since the epoch */
export function writeRunReason(db: Statements, run: RunRecord, note: RunNote | null, atMs: number): void {
  // An error belongs to the row of the status that it explains.
  appendRunStatus(db, { ...run, error: null, status_at_ms: Math.max(run.status_at_ms, atMs) }, note);
}

/** Adds the status of a run to the rows for the history. @param note why it waits */
export function appendRunStatus(db: Statements, run: RunRecord, note: RunNote | null = null): void {
  const id = nextStatusId(db);
  insertRunStatus(db, id, run, note);
  db.run("UPDATE runs SET last_outbox_id = ? WHERE workflow_instance_id = ?", id, run.workflow_instance_id);
}

function insertRunStatus(db: Statements, id: number, run: RunRecord, note: RunNote | null): void {
  const row: RunStatusRow = {
    workflow_id: run.workflow_id,
    workflow_instance_id: run.workflow_instance_id,
    status: toldStatus(run),
    timestamp_ms: run.status_at_ms,
    workflow_name: run.workflow_name,
    trigger: run.trigger,
    attempt: run.attempt,
    agent_id: run.agent_id,
    scheduled_time_ms: run.scheduled_time_ms,
    created_at_ms: run.created_at_ms,
    params: JSON.stringify(run.params),
    error: run.error,
    retry_of: run.retry_of,
    reason: note?.reason ?? null,
    duration_ms: run.duration_ms,
    waits: note?.waits ?? null,
    agents: run.revision === 0 ? null : run.agents,
    ...(run.event === null ? {} : { event: JSON.stringify(run.event) }),
    ...(run.allowed_failures === 0 ? {} : { allowed_failures: run.allowed_failures }),
    ...(run.outputs === null ? {} : { outputs: run.outputs }),
    ...(run.parent_run === null ? {} : { parent_run: run.parent_run, parent_task: run.parent_task }),
    ...(run.priority === DEFAULT_PRIORITY ? {} : { priority: run.priority }),
    ...(run.group_key === null ? {} : { concurrency_group: groupName(run.group_key) }),
    ...(run.backfill_id === null ? {} : { backfill_id: run.backfill_id }),
    ...(run.schedule === null ? {} : { schedule: run.schedule }),
    ...(run.traceparent === null ? {} : { traceparent: run.traceparent }),
  };
  append(db, id, "workflow_run_status", row);
}

/**
 * Records that a task run has had these statuses, one after the other.
 * @param done number of tasks of its run that are over
 * @returns the id of the last row
 */
export function writeTaskStatuses(
  db: Statements,
  states: readonly [TaskRunRecord, ...TaskRunRecord[]],
  of: { workflow_id: string; agent_id: string | null; artifacts?: string | undefined },
  done: number,
): number {
  let id = 0;
  for (const task of states) {
    id = nextStatusId(db);
    append(db, id, "task_run_status", taskStatusRow(task, of));
  }
  db.run(
    "UPDATE runs SET last_outbox_id = ?, tasks_done = tasks_done + ? WHERE workflow_instance_id = ?",
    id,
    done,
    states[0].workflow_instance_id,
  );
  return id;
}

function taskStatusRow(
  task: TaskRunRecord,
  of: { workflow_id: string; agent_id: string | null; artifacts?: string | undefined },
): TaskStatusRow {
  return {
    task_id: task.task_id,
    task_instance_id: task.task_instance_id,
    workflow_instance_id: task.workflow_instance_id,
    status: task.status,
    timestamp_ms: task.status_at_ms,
    workflow_id: of.workflow_id,
    task_name: task.task_name,
    attempt: task.attempt,
    task_attempt: task.task_attempt,
    agent_id: of.agent_id,
    exit_code: task.exit_code,
    signal: task.signal,
    error: task.error,
    cpu_ms: task.cpu_ms,
    max_rss_kb: task.max_rss_kb,
    slice: task.slice,
    outputs: task.outputs,
    duration_ms: task.duration_ms,
    item_key: task.item_key,
    item_index: task.item_index,
    ...(task.allowed === 0 ? {} : { allowed: true }),
    ...(of.artifacts === undefined || task.status !== "COMPLETED" ? {} : { artifacts: of.artifacts }),
  };
}

/** The operations of a unit of work that write rows for the history which belong to no run. */
export function historyIntentions(db: Statements): HistoryIntentions {
  return {
    async audit(row: AuditRow) {
      append(db, nextStatusId(db), "audit_log", row);
    },
    async logAlert(row: AlertRow) {
      append(db, nextStatusId(db), "alert_log", row);
    },
  };
}

function append(db: Statements, id: number, target: PendingStatus["table"], row: object): void {
  db.run("INSERT INTO status_outbox (id, target, row) VALUES (?, ?, ?)", id, target, JSON.stringify(row));
}

/**
 * Since there is only one process, ids grow with the order of commits.
 * @param limit negative for none
 * @param maxBytes fewer rows are taken if they are larger together, but one at least
 */
export function takeStatuses(
  db: Statements,
  afterId: number,
  limit: number,
  maxBytes = Number.POSITIVE_INFINITY,
): PendingStatus[] {
  const sizes = db.all<{ id: number; bytes: number }>(
    "SELECT id, octet_length(row) AS bytes FROM status_outbox WHERE id > ? ORDER BY id LIMIT ?",
    afterId,
    limit,
  );
  let last = afterId;
  let taken = 0;
  for (const { id, bytes } of sizes) {
    taken += bytes;
    if (taken > maxBytes && last !== afterId) break;
    last = id;
  }
  const rows = db.all<{ id: number; target: PendingStatus["table"]; row: string }>(
    "SELECT id, target, row FROM status_outbox WHERE id > ? AND id <= ? ORDER BY id",
    afterId,
    last,
  );
  return rows.map((stored) => ({ id: stored.id, table: stored.target, row: JSON.parse(stored.row) }));
}

export function ackStatuses(db: Statements, upToId: number): void {
  db.run("DELETE FROM status_outbox WHERE id <= ?", upToId);
}

/** The stored part of the identity. */
type StoredIdentity = Pick<StateIdentity, "installation_id" | "state_id" | "taken_id">;

export function readIdentity(db: Statements): StoredIdentity {
  const identity = db.one<StoredIdentity>("SELECT installation_id, state_id, taken_id FROM identity");
  if (identity === null) throw new Error("the state has no identity");
  return identity;
}

export function changeIdentity(db: Statements, to: StoredIdentity): void {
  db.run(
    "UPDATE identity SET installation_id = ?, state_id = ?, taken_id = ?",
    to.installation_id,
    to.state_id,
    to.taken_id,
  );
}

/** Records the boot of the host. @returns the recorded one before, if it was another */
export function changeBoot(db: Statements, bootId: string): string | null {
  const before = db.one<{ boot_id: string | null }>("SELECT boot_id FROM identity")?.boot_id ?? null;
  if (before === bootId) return null;
  db.run("UPDATE identity SET boot_id = ?", bootId);
  return before;
}

/**
 * The clock of deadlines, as an offset to the monotonic time since the boot of the host: the same for all processes of one boot, so that
 * neither a change of the wall clock nor a suspended host moves a deadline when the principal is restarted. A new boot starts at the
 * wall time.
 * @param isNewBoot whether the host was restarted since the offset was recorded
 */
export function clockOffset(
  db: Statements,
  isNewBoot: boolean,
  time: { readonly wallMs: number; readonly sinceBootMs: number },
): number {
  const known = isNewBoot
    ? null
    : db.one<{ clock_offset_ms: number | null }>("SELECT clock_offset_ms FROM identity")?.clock_offset_ms;
  if (known != null) return known;
  const offset = Math.round(time.wallMs - time.sinceBootMs);
  db.run("UPDATE identity SET clock_offset_ms = ?", offset);
  return offset;
}

/** The last id that was assigned to a status row. */
export function lastStatusId(db: Statements): number {
  return db.one<{ seq: number }>("SELECT seq FROM sqlite_sequence WHERE name = 'status_outbox'")?.seq ?? 0;
}

/** The history of an older cdktr has one position for all states, and a new or restored state must not start below it. */
export function raiseStatusIds(db: Statements, least: number): void {
  db.run("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'status_outbox'", least);
}
