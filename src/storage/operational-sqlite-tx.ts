/** The queries of the operational state in sqlite. */
import type { Database, SQLQueryBindings } from "bun:sqlite";
import type { RunStatus } from "../workflow/status.ts";
import type { RunStatusRow, TaskStatusRow } from "./history-rows.ts";
import type {
  AgentRecord,
  AttemptRecord,
  FollowUp,
  OperationalTx,
  RecentStatus,
  RunRecord,
  ScheduleCursor,
  TaskRunRecord,
  WorkflowVersion,
} from "./operational.ts";

/** Rows of one step of {@link SqliteOperationalTx.forget}: a step must not hold up the requests of others. */
const FORGET_STEP = 200;

type Stored<T, K extends keyof T> = Omit<T, K> & { [P in K]: string | number };
type StoredRun = Stored<RunRecord, "params" | "queued">;
type StoredAgent = Stored<AgentRecord, "labels">;

/** Statements against the connection that is open at the moment, inside whatever transaction is open on it. */
export class SqliteOperationalTx implements OperationalTx {
  readonly #database: () => Database;
  readonly afterCommit: (effect: () => void) => void;

  constructor(database: () => Database, afterCommit: (effect: () => void) => void) {
    this.#database = database;
    this.afterCommit = afterCommit;
  }

  // ---------------------------------------------------------------- runs

  async insertRun(run: RunRecord): Promise<void> {
    this.#write("runs", "INSERT", runColumns(run));
  }

  async getRun(id: string): Promise<RunRecord | null> {
    const row = this.#one<StoredRun>("SELECT * FROM runs WHERE workflow_instance_id = ?", id);
    return row === null ? null : toRun(row);
  }

  async findRuns(prefix: string, limit: number): Promise<RunRecord[]> {
    return this.#all<StoredRun>(
      "SELECT * FROM runs WHERE workflow_instance_id >= ? AND workflow_instance_id < ? LIMIT ?",
      prefix,
      `${prefix}\u{10ffff}`,
      limit,
    ).map(toRun);
  }

  async saveRun(run: RunRecord): Promise<void> {
    this.#run(
      `UPDATE runs SET status = ?, attempt = ?, crashed_attempts = ?, queued = ?, agent_id = ?, cancel_requested_at_ms = ?, tasks_done = ?,
         started_at_ms = ?, finished_at_ms = ?, status_at_ms = ?, error = ?, log_stream_id = ?, log_seq = ?
       WHERE workflow_instance_id = ?`,
      run.status,
      run.attempt,
      run.crashed_attempts,
      run.queued ? 1 : 0,
      run.agent_id,
      run.cancel_requested_at_ms,
      run.tasks_done,
      run.started_at_ms,
      run.finished_at_ms,
      run.status_at_ms,
      run.error,
      run.log_stream_id,
      run.log_seq,
      run.workflow_instance_id,
    );
  }

  async queuedRuns(limit: number): Promise<RunRecord[]> {
    return this.#all<StoredRun>("SELECT * FROM runs WHERE queued = 1 ORDER BY seq LIMIT ?", limit).map(toRun);
  }

  async listRuns(filter: { limit: number; workflow_id?: string; status?: RunStatus }): Promise<RunRecord[]> {
    const conditions: string[] = [];
    const values: SQLQueryBindings[] = [];
    if (filter.workflow_id !== undefined) {
      conditions.push("workflow_id = ?");
      values.push(filter.workflow_id);
    }
    if (filter.status !== undefined) {
      conditions.push("status = ?");
      values.push(filter.status);
    }
    const where = conditions.length === 0 ? "" : `WHERE ${conditions.join(" AND ")}`;
    return this.#all<StoredRun>(
      `SELECT * FROM runs ${where} ORDER BY seq DESC LIMIT ?`,
      ...values,
      filter.limit,
    ).map(toRun);
  }

  async oldestFinishedMs(): Promise<number | null> {
    const sql = "SELECT created_at_ms FROM runs WHERE finished_at_ms IS NOT NULL ORDER BY seq LIMIT 1";
    return this.#one<{ created_at_ms: number }>(sql)?.created_at_ms ?? null;
  }

  async countRuns(): Promise<{ pending: number; running: number; queued: number }> {
    const counts = { pending: 0, running: 0, queued: 0 };
    const rows = this.#all<{ status: RunStatus; n: number; queued: number | null }>(
      "SELECT status, count(*) AS n, sum(queued) AS queued FROM runs WHERE finished_at_ms IS NULL GROUP BY status",
    );
    for (const row of rows) {
      if (row.status === "PENDING") counts.pending = row.n;
      if (row.status === "RUNNING") counts.running = row.n;
      counts.queued += row.queued ?? 0;
    }
    return counts;
  }

  // ---------------------------------------------------------------- definitions

  async putDefinition(hash: string, json: string): Promise<void> {
    this.#run("INSERT OR IGNORE INTO definitions (hash, definition) VALUES (?, ?)", hash, json);
  }

  async getDefinition(hash: string): Promise<string | null> {
    return (
      this.#one<{ definition: string }>("SELECT definition FROM definitions WHERE hash = ?", hash)
        ?.definition ?? null
    );
  }

  // ---------------------------------------------------------------- attempts

  async insertAttempt(attempt: AttemptRecord): Promise<void> {
    this.#write("attempts", "INSERT", attempt);
  }

  async getAttempt(runId: string, attempt: number): Promise<AttemptRecord | null> {
    return this.#one<AttemptRecord>(
      "SELECT * FROM attempts WHERE workflow_instance_id = ? AND attempt = ?",
      runId,
      attempt,
    );
  }

  async saveAttempt(attempt: AttemptRecord): Promise<void> {
    this.#run(
      `UPDATE attempts SET lease = ?, status = ?, started_at_ms = ?, finished_at_ms = ?, error = ?
       WHERE workflow_instance_id = ? AND attempt = ?`,
      attempt.lease,
      attempt.status,
      attempt.started_at_ms,
      attempt.finished_at_ms,
      attempt.error,
      attempt.workflow_instance_id,
      attempt.attempt,
    );
  }

  async listAttempts(runId: string): Promise<AttemptRecord[]> {
    return this.#all<AttemptRecord>(
      "SELECT * FROM attempts WHERE workflow_instance_id = ? ORDER BY attempt",
      runId,
    );
  }

  async openAttempts(agentId?: string): Promise<AttemptRecord[]> {
    const open = "SELECT * FROM attempts WHERE lease IN ('OFFERED', 'HELD')";
    return agentId === undefined
      ? this.#all<AttemptRecord>(`${open} ORDER BY assigned_at_ms`)
      : this.#all<AttemptRecord>(`${open} AND agent_id = ? ORDER BY assigned_at_ms`, agentId);
  }

  async countRunningTasks(): Promise<ReadonlyMap<string, number>> {
    const rows = this.#all<{ agent_id: string; n: number }>(
      `SELECT agent_id, count(*) AS n FROM attempts JOIN task_runs USING (workflow_instance_id, attempt)
       WHERE lease IN ('OFFERED', 'HELD') AND task_runs.status = 'RUNNING' GROUP BY agent_id`,
    );
    return new Map(rows.map(({ agent_id, n }) => [agent_id, n]));
  }

  // ---------------------------------------------------------------- task runs

  async getTaskRun(runId: string, taskInstanceId: string): Promise<TaskRunRecord | null> {
    return this.#one<TaskRunRecord>(
      `SELECT ${TASK_RUN_COLUMNS} FROM task_runs WHERE workflow_instance_id = ? AND task_instance_id = ?`,
      runId,
      taskInstanceId,
    );
  }

  async saveTaskRun(task: TaskRunRecord): Promise<void> {
    this.#write(
      "task_runs",
      "INSERT",
      task,
      `ON CONFLICT (workflow_instance_id, task_instance_id) DO UPDATE SET task_attempt = excluded.task_attempt, status = excluded.status,
         exit_code = excluded.exit_code, signal = excluded.signal, error = excluded.error, cpu_ms = excluded.cpu_ms,
         max_rss_kb = excluded.max_rss_kb, started_at_ms = excluded.started_at_ms, finished_at_ms = excluded.finished_at_ms,
         status_at_ms = excluded.status_at_ms`,
    );
  }

  async listTaskRuns(runId: string): Promise<TaskRunRecord[]> {
    return this.#all<TaskRunRecord>(
      `SELECT ${TASK_RUN_COLUMNS} FROM task_runs WHERE workflow_instance_id = ? ORDER BY seq`,
      runId,
    );
  }

  // ---------------------------------------------------------------- agents

  async getAgent(agentId: string): Promise<AgentRecord | null> {
    const row = this.#one<StoredAgent>("SELECT * FROM agents WHERE agent_id = ?", agentId);
    return row === null ? null : toAgent(row);
  }

  async saveAgent(agent: AgentRecord): Promise<void> {
    this.#write("agents", "INSERT OR REPLACE", { ...agent, labels: JSON.stringify(agent.labels) });
  }

  async deleteAgent(agentId: string): Promise<void> {
    this.#run("DELETE FROM agents WHERE agent_id = ?", agentId);
  }

  async listAgents(): Promise<AgentRecord[]> {
    return this.#all<StoredAgent>("SELECT * FROM agents ORDER BY agent_id").map(toAgent);
  }

  async getAgentKey(agentId: string): Promise<string | null> {
    const row = this.#one<{ public_key: string }>(
      "SELECT public_key FROM agent_keys WHERE agent_id = ?",
      agentId,
    );
    return row?.public_key ?? null;
  }

  async saveAgentKey(agentId: string, publicKey: string | null, nowMs: number): Promise<void> {
    if (publicKey === null) this.#run("DELETE FROM agent_keys WHERE agent_id = ?", agentId);
    else {
      this.#run(
        "INSERT OR REPLACE INTO agent_keys (agent_id, public_key, bound_at_ms) VALUES (?, ?, ?)",
        agentId,
        publicKey,
        nowMs,
      );
    }
  }

  async listAgentKeys(): Promise<{ agent_id: string; public_key: string }[]> {
    return this.#all("SELECT agent_id, public_key FROM agent_keys");
  }

  async getReportSeq(streamId: string): Promise<{ agent_id: string; seq: number } | null> {
    return this.#one("SELECT agent_id, report_seq AS seq FROM agent_streams WHERE stream_id = ?", streamId);
  }

  async setReportSeq(streamId: string, agentId: string, seq: number, nowMs: number): Promise<void> {
    this.#run(
      "INSERT OR REPLACE INTO agent_streams (stream_id, agent_id, report_seq, updated_at_ms) VALUES (?, ?, ?, ?)",
      streamId,
      agentId,
      seq,
      nowMs,
    );
  }

  // ---------------------------------------------------------------- idempotency, schedules, workflow files

  async findByDedupeKey(key: string): Promise<string | null> {
    const row = this.#one<{ workflow_instance_id: string }>(
      "SELECT workflow_instance_id FROM dedupe_keys WHERE key = ?",
      key,
    );
    return row?.workflow_instance_id ?? null;
  }

  async putDedupeKey(key: string, runId: string, nowMs: number): Promise<void> {
    this.#run(
      "INSERT INTO dedupe_keys (key, workflow_instance_id, created_at_ms) VALUES (?, ?, ?)",
      key,
      runId,
      nowMs,
    );
  }

  async listScheduleCursors(): Promise<ScheduleCursor[]> {
    return this.#all<ScheduleCursor>("SELECT * FROM schedule_cursors");
  }

  async getScheduleCursor(workflowId: string): Promise<ScheduleCursor | null> {
    return this.#one<ScheduleCursor>("SELECT * FROM schedule_cursors WHERE workflow_id = ?", workflowId);
  }

  async saveScheduleCursor(cursor: ScheduleCursor): Promise<void> {
    this.#write("schedule_cursors", "INSERT OR REPLACE", cursor);
  }

  async deleteScheduleCursor(workflowId: string): Promise<void> {
    this.#run("DELETE FROM schedule_cursors WHERE workflow_id = ?", workflowId);
  }

  async listWorkflowVersions(): Promise<WorkflowVersion[]> {
    return this.#all<WorkflowVersion>("SELECT * FROM workflow_versions ORDER BY workflow_id");
  }

  async saveWorkflowVersion(version: WorkflowVersion): Promise<void> {
    this.#write("workflow_versions", "INSERT OR REPLACE", version);
  }

  async deleteWorkflowVersion(workflowId: string): Promise<void> {
    this.#run("DELETE FROM workflow_versions WHERE workflow_id = ?", workflowId);
  }

  // ---------------------------------------------------------------- follow-ups

  async appendFollowUp(followUp: FollowUp): Promise<void> {
    this.#write("follow_ups", "INSERT", { ...followUp });
  }

  async listFollowUps(afterSeq: number, limit: number): Promise<(FollowUp & { seq: number })[]> {
    return this.#all("SELECT * FROM follow_ups WHERE seq > ? ORDER BY seq LIMIT ?", afterSeq, limit);
  }

  async followUpFeed(): Promise<{ id: string; last_seq: number }> {
    const feed = this.#one<{ id: string; last_seq: number }>(
      `SELECT id, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'follow_ups'), 0) AS last_seq
       FROM follow_up_feed`,
    );
    if (feed === null) throw new Error("the feed of follow-ups has no id");
    return feed;
  }

  async followUpsBefore(ms: number, lastSeq: number): Promise<number> {
    const first = this.#one<{ seq: number | null }>(
      "SELECT min(seq) AS seq FROM follow_ups WHERE created_at_ms >= ?",
      ms,
    );
    return first?.seq == null ? lastSeq : first.seq - 1;
  }

  // ---------------------------------------------------------------- statuses

  async appendRunStatus(row: RunStatusRow): Promise<void> {
    const id = this.#appendStatus("workflow_run_status", row);
    this.#run(
      "UPDATE runs SET last_outbox_id = ? WHERE workflow_instance_id = ?",
      id,
      row.workflow_instance_id,
    );
    this.#run(
      "INSERT OR REPLACE INTO recent_statuses (workflow_id, workflow_instance_id, status, timestamp_ms, position) VALUES (?, ?, ?, ?, ?)",
      row.workflow_id,
      row.workflow_instance_id,
      row.status,
      row.timestamp_ms,
      id,
    );
  }

  async appendTaskStatus(row: TaskStatusRow): Promise<void> {
    const id = this.#appendStatus("task_run_status", row);
    this.#run(
      "UPDATE runs SET last_outbox_id = ? WHERE workflow_instance_id = ?",
      id,
      row.workflow_instance_id,
    );
  }

  /** Deletes outbox rows up to `id`. */
  async deleteStatuses(id: number): Promise<void> {
    this.#run("DELETE FROM status_outbox WHERE id <= ?", id);
  }

  async recentStatuses(limit: number): Promise<RecentStatus[]> {
    return this.#all<RecentStatus>(
      `SELECT workflow_id, workflow_instance_id, status, timestamp_ms FROM recent_statuses ORDER BY position DESC LIMIT ?`,
      limit,
    );
  }

  // ---------------------------------------------------------------- forgetting

  async forget(options: {
    keepRuns: number;
    olderThanMs: number;
    followUpsOlderThanMs: number;
  }): Promise<{ runs: number; more: boolean }> {
    this.#run(
      "DELETE FROM follow_ups WHERE seq IN (SELECT seq FROM follow_ups WHERE created_at_ms < ? ORDER BY seq LIMIT ?)",
      options.followUpsOlderThanMs,
      FORGET_STEP,
    );
    const oldest = this.#one<{ id: number | null }>("SELECT min(id) AS id FROM status_outbox")?.id ?? null;
    const runs = this.#all<{ workflow_instance_id: string }>(
      `SELECT workflow_instance_id FROM runs
       WHERE finished_at_ms IS NOT NULL AND (?1 IS NULL OR last_outbox_id < ?1)
         AND seq <= coalesce((SELECT seq FROM runs WHERE finished_at_ms IS NOT NULL ORDER BY seq DESC LIMIT 1 OFFSET ?2), -1)
       ORDER BY seq LIMIT ?3`,
      oldest,
      options.keepRuns,
      FORGET_STEP,
    );
    for (const { workflow_instance_id: id } of runs) {
      this.#run("DELETE FROM task_runs WHERE workflow_instance_id = ?", id);
      this.#run("DELETE FROM attempts WHERE workflow_instance_id = ?", id);
      this.#run("DELETE FROM runs WHERE workflow_instance_id = ?", id);
    }
    const keys = this.#run(
      "DELETE FROM dedupe_keys WHERE key IN (SELECT key FROM dedupe_keys WHERE created_at_ms < ? LIMIT ?)",
      options.olderThanMs,
      FORGET_STEP,
    );
    this.#run(
      `DELETE FROM agent_streams WHERE updated_at_ms < ?
         AND stream_id NOT IN (SELECT stream_id FROM agents WHERE stream_id IS NOT NULL)`,
      options.olderThanMs,
    );
    if (runs.length > 0) {
      this.#run(
        "DELETE FROM definitions WHERE NOT EXISTS (SELECT 1 FROM runs WHERE runs.definition_hash = definitions.hash)",
      );
    }
    return { runs: runs.length, more: runs.length === FORGET_STEP || keys === FORGET_STEP };
  }

  // ---------------------------------------------------------------- statements

  #one<T>(sql: string, ...values: SQLQueryBindings[]): T | null {
    return this.#database()
      .query<T, SQLQueryBindings[]>(sql)
      .get(...values);
  }

  #all<T>(sql: string, ...values: SQLQueryBindings[]): T[] {
    return this.#database()
      .query<T, SQLQueryBindings[]>(sql)
      .all(...values);
  }

  /** Returns the number of rows changed. */
  #run(sql: string, ...values: SQLQueryBindings[]): number {
    return this.#database()
      .query(sql)
      .run(...values).changes;
  }

  #write(table: string, verb: string, row: object, conflict = ""): void {
    const names = Object.keys(row);
    this.#run(
      `${verb} INTO ${table} (${names.join(", ")}) VALUES (${names.map(() => "?").join(", ")}) ${conflict}`,
      ...(Object.values(row) as SQLQueryBindings[]),
    );
  }

  #appendStatus(target: string, row: object): number {
    return Number(
      this.#database()
        .query("INSERT INTO status_outbox (target, row) VALUES (?, ?)")
        .run(target, JSON.stringify(row)).lastInsertRowid,
    );
  }
}

const TASK_RUN_COLUMNS =
  "workflow_instance_id, task_instance_id, task_id, task_name, attempt, task_attempt, status, exit_code, signal, error, cpu_ms, max_rss_kb, started_at_ms, finished_at_ms, status_at_ms";

function runColumns(run: RunRecord): StoredRun {
  return { ...run, params: JSON.stringify(run.params), queued: run.queued ? 1 : 0 };
}

function toRun(row: StoredRun): RunRecord {
  return { ...row, params: JSON.parse(String(row.params)), queued: row.queued === 1 };
}

function toAgent(row: StoredAgent): AgentRecord {
  return { ...row, labels: JSON.parse(String(row.labels)) };
}
