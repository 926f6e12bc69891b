/** Statements about runs, their definitions and their idempotency keys. */
import type { SQLQueryBindings } from "bun:sqlite";
import { dropOldest } from "../../../recent.ts";
import type { RunStatus } from "../../../workflow/status.ts";
import { requireLegal } from "../legal.ts";
import type { RecentStatus, RunIntentions, RunRecord, RunRest } from "../store.ts";
import { conflict, type Statements } from "./statements.ts";
import { appendRunStatus, nextStatusId, writeRunStatus } from "./statuses.ts";
import { textsOf } from "./stored-json.ts";

type StoredRun = Omit<
  RunRecord,
  "params" | "event" | "queued" | "hooks_stopped" | "from_start" | "resting" | "admitted"
> & {
  params: string;
  event: string | null;
  queued: number;
  hooks_stopped: number;
  from_start: number;
  resting: number;
  admitted: 1 | null;
};

/** Those of a {@link RunRecord}. */
const COLUMNS =
  "workflow_instance_id, workflow_id, workflow_name, definition_hash, params, event, outputs, trigger, scheduled_time_ms, retry_of, actor, trigger_depth, parent_run, parent_task, depth, from_start, created_at_ms, status, resting, attempt, crashed_attempts, queued, needs, revision, agent_id, agents, cancel_requested_at_ms, timed_out_at_ms, deadline_ms, start_at_ms, hooks_stopped, tasks_total, tasks_done, allowed_failures, started_at_ms, finished_at_ms, duration_ms, status_at_ms, error, log_stream_id, log_seq, hold, group_key, group_max, on_conflict, admitted, priority, rank_ms, schedule, backfill_id, cancel_reason, traceparent";
const RUNS = `SELECT ${COLUMNS} FROM runs`;
const LISTED = `SELECT ${COLUMNS.replace(" params, event, outputs,", "")} FROM runs`;
const RUN = `${RUNS} WHERE workflow_instance_id = ?`;
const TAKE = `UPDATE runs SET queued = 0, agent_id = ? WHERE workflow_instance_id = ? AND queued = 1 RETURNING ${COLUMNS}`;

/** Matches a run that is unchanged since it was read. */
export const AS_READ =
  "workflow_instance_id = ? AND attempt = ? AND status = ? AND queued = ? AND cancel_requested_at_ms IS ? AND revision = ? AND timed_out_at_ms IS ?";
const TRANSITION = `UPDATE runs SET status = ?, resting = 0, hold = NULL, status_at_ms = ?, error = ?, queued = 0, deadline_ms = ?, started_at_ms = ?, finished_at_ms = ?,
  duration_ms = ?, crashed_attempts = ?, allowed_failures = ?, outputs = ?, log_stream_id = ?, log_seq = ?, last_outbox_id = ? WHERE ${AS_READ}`;

/** The values of {@link AS_READ}. */
export function asRead(run: RunRecord): SQLQueryBindings[] {
  const { workflow_instance_id, attempt, status, cancel_requested_at_ms, revision, timed_out_at_ms } = run;
  const queued = run.queued ? 1 : 0;
  return [workflow_instance_id, attempt, status, queued, cancel_requested_at_ms, revision, timed_out_at_ms];
}

/** Runs whose time limit no agent watches: those that are split, and those that wait. */
const WATCHED = "(revision > 0 OR queued = 1)";

/** Runs that wait as a whole and that any agent may have. */
const PLAIN = "queued = 1 AND needs = ''";

/** Runs whose id begins with a prefix. */
const BEGINS = "workflow_instance_id >= ? AND workflow_instance_id < ?";
const rangeOf = (prefix: string) => [prefix, `${prefix}\u{10ffff}`] as const;

/** A run in messages. */
/** Number of definitions of which it is remembered that they are stored: thousands of workflows may fire at once. */
const MOST_HASHES = 10_000;

/** Firings of a workflow that wait as a whole, or split, or for their group, before a time, of one entry. */
const DUE =
  "workflow_id = ?1 AND attempt = 1 AND scheduled_time_ms < ?2 AND created_at_ms < ?2 AND schedule IS ?3";
const WAITING_FIRINGS = [
  `runs WHERE queued = 1 AND trigger = 'cron' AND ${DUE}`,
  `runs WHERE status = 'PENDING' AND trigger = 'cron' AND revision > 0 AND agents = 0 AND cancel_requested_at_ms IS NULL AND ${DUE}`,
  `runs INDEXED BY runs_held_firings WHERE hold IS NOT NULL AND hold = 'group' AND trigger = 'cron' AND finished_at_ms IS NULL AND ${DUE}`,
];
const HAS_WAITING_FIRINGS = `SELECT 1 WHERE ${WAITING_FIRINGS.map((kind) => `EXISTS (SELECT 1 FROM ${kind})`).join(" OR ")}`;
const ALL_WAITING_FIRINGS = `${WAITING_FIRINGS.map((kind) => `SELECT ${COLUMNS}, seq FROM ${kind}`).join(" UNION ALL ")} ORDER BY seq LIMIT ?4`;

export const nameOf = (run: RunRecord) => `run ${run.workflow_instance_id}`;

/** Makes the record of a row, which is not used otherwise. */
function toRun(row: StoredRun): RunRecord {
  const params = textsOf(row.params);
  const event = row.event === null ? null : textsOf(row.event);
  const damage =
    params === null
      ? { damage: "the stored parameters are damaged" }
      : row.event !== null && event === null
        ? { damage: "the stored event is damaged" }
        : undefined;
  return Object.assign(row, { params: params ?? {}, event, ...flagsOf(row) }, damage);
}

function flagsOf({
  queued,
  hooks_stopped,
  from_start,
  resting,
  admitted,
}: Pick<StoredRun, "queued" | "hooks_stopped" | "from_start" | "resting" | "admitted">) {
  return {
    queued: queued === 1,
    hooks_stopped: hooks_stopped === 1,
    from_start: from_start === 1,
    resting: resting === 1,
    admitted: admitted === 1,
  };
}

export function getRun(db: Statements, id: string): RunRecord | null {
  const row = db.one<StoredRun>(RUN, id);
  return row === null ? null : toRun(row);
}

/** The runs for which a condition holds. @param where with what follows it */
export function runsWhere(db: Statements, where: string, ...values: SQLQueryBindings[]): RunRecord[] {
  return db.all<StoredRun>(`${RUNS} WHERE ${where}`, ...values).map(toRun);
}

/** Removes a waiting run from the queue, for an agent. */
export function takeQueuedRun(db: Statements, runId: string, agentId: string): RunRecord | null {
  const row = db.one<StoredRun>(TAKE, agentId, runId);
  return row === null ? null : toRun(row);
}

/**
 * The operations of a unit of work on runs.
 * @param now the store's clock, ms
 */
export function runIntentions(db: Statements, now: () => number): RunIntentions {
  /** Changes a run that is unchanged since it was read, and not over. */
  const change = (run: RunRecord, to: Partial<RunRecord>): RunRecord => {
    const set = Object.keys(to).map((name) => `${name} = ?`);
    const values = Object.values(to) as SQLQueryBindings[];
    const update = `UPDATE runs SET ${set.join(", ")} WHERE ${AS_READ} AND finished_at_ms IS NULL`;
    db.change(nameOf(run), update, ...values, ...asRead(run));
    return { ...run, ...to };
  };

  return {
    async claimKey(key, runId, nowMs) {
      const { changes } = db.insert(
        "dedupe_keys",
        { key, workflow_instance_id: runId, created_at_ms: nowMs },
        "ON CONFLICT DO NOTHING",
      );
      if (changes > 0) return runId;
      const sql = "SELECT workflow_instance_id AS id FROM dedupe_keys WHERE key = ?";
      return db.one<{ id: string }>(sql, key)?.id ?? runId;
    },

    async createRun(run, definition, carried) {
      if (!db.storedHashes.has(run.definition_hash)) {
        db.insert("definitions", { hash: run.definition_hash, definition }, "ON CONFLICT DO NOTHING");
        db.storedHashes.add(run.definition_hash);
        dropOldest(db.storedHashes, MOST_HASHES);
      }
      const last_outbox_id = nextStatusId(db);
      const [params, queued, hooks_stopped] = [JSON.stringify(run.params), run.queued ? 1 : 0, 0];
      const event = run.event === null ? null : JSON.stringify(run.event);
      const from_start = run.from_start ? 1 : 0;
      db.insert("runs", {
        ...run,
        params,
        event,
        queued,
        hooks_stopped,
        from_start,
        resting: 0,
        admitted: run.admitted ? 1 : null,
        last_outbox_id,
      });
      for (const task of carried) db.insert("task_runs", task);
      if (carried.length > 0) {
        // What is known of where their outputs are.
        db.run(
          `UPDATE task_runs SET outputs_row = old.outputs_row, outputs_moved = old.outputs_moved AND task_runs.outputs IS NULL
           FROM task_runs AS old
           WHERE task_runs.workflow_instance_id = ? AND old.workflow_instance_id = ? AND old.task_instance_id = task_runs.task_instance_id`,
          run.workflow_instance_id,
          run.retry_of,
        );
      }
      writeRunStatus(db, run, last_outbox_id);
    },

    async transitionRun(run, to) {
      requireLegal("run", run.status, to.status);
      // Its time goes on while it waits for its next attempt.
      const isOver = (to.finished_at_ms ?? run.finished_at_ms) !== null;
      const next: RunRecord = {
        ...run,
        ...to,
        queued: false,
        resting: false,
        hold: null,
        ...(isOver ? { deadline_ms: null } : {}),
      };
      const statusId = nextStatusId(db);
      db.change(
        nameOf(run),
        TRANSITION,
        next.status,
        next.status_at_ms,
        next.error,
        next.deadline_ms,
        next.started_at_ms,
        next.finished_at_ms,
        next.duration_ms,
        next.crashed_attempts,
        next.allowed_failures,
        next.outputs,
        next.log_stream_id,
        next.log_seq,
        statusId,
        ...asRead(run),
      );
      writeRunStatus(db, next, statusId);
      return next;
    },

    async requeueRun(run) {
      const statusId = nextStatusId(db);
      const row = db.one<StoredRun>(
        `UPDATE runs SET status = 'PENDING', attempt = attempt + 1, queued = (revision = 0), agent_id = NULL, last_outbox_id = ?,
           tasks_done = CASE WHEN revision > 0 THEN tasks_done ELSE (
             SELECT count(DISTINCT task_id) FROM task_runs
             WHERE task_runs.workflow_instance_id = runs.workflow_instance_id AND status = 'COMPLETED' AND item_key IS NULL) END
         WHERE ${AS_READ} AND status = 'CRASHED' AND finished_at_ms IS NULL RETURNING ${COLUMNS}`,
        statusId,
        ...asRead(run),
      );
      if (row === null) throw conflict(nameOf(run));
      const next = toRun(row);
      // The reason why the previous attempt ended belongs to that attempt's row.
      writeRunStatus(db, { ...next, error: null }, statusId);
      return next;
    },

    async restRun(run, resting, nowMs) {
      const status_at_ms = Math.max(run.status_at_ms, nowMs);
      const update = `UPDATE runs SET resting = ?, status_at_ms = ? WHERE ${AS_READ} AND status = 'RUNNING'`;
      db.change(nameOf(run), update, resting ? 1 : 0, status_at_ms, ...asRead(run));
      const next: RunRecord = { ...run, resting, status_at_ms };
      appendRunStatus(db, next);
      return next;
    },

    async restOf(runId) {
      const isBusy = `state = 'QUEUED' OR state = 'LEASED' AND NOT EXISTS (
        SELECT 1 FROM task_runs AS own WHERE own.workflow_instance_id = ?1 AND own.slice = slices.slice
          AND own.attempt = slices.attempt AND own.status = 'WAITING')`;
      const found = db.one<RunRest>(
        `SELECT count(*) FILTER (WHERE status = 'WAITING') AS waiting, max(status_at_ms) FILTER (WHERE status = 'WAITING') AS since_ms,
           count(*) FILTER (WHERE status = 'RUNNING' AND items_total IS NULL)
             + (SELECT count(*) FROM slices WHERE workflow_instance_id = ?1 AND (${isBusy}))
             + (SELECT count(*) FROM waits WHERE workflow_instance_id = ?1 AND kind = 'run') AS busy
         FROM task_runs WHERE workflow_instance_id = ?1 AND status IN ('WAITING', 'RUNNING')`,
        runId,
      );
      return found ?? { waiting: 0, since_ms: null, busy: 0 };
    },

    async runsThatMayRest() {
      const waits =
        "SELECT 1 FROM task_runs WHERE task_runs.workflow_instance_id = runs.workflow_instance_id AND task_runs.status = 'WAITING'";
      return db
        .all<{ id: string }>(
          `SELECT workflow_instance_id AS id FROM runs INDEXED BY runs_open
           WHERE finished_at_ms IS NULL AND status = 'RUNNING' AND (resting = 1 OR EXISTS (${waits}))`,
        )
        .map(({ id }) => id);
    },

    async requestCancel(run, nowMs) {
      return change(run, { cancel_requested_at_ms: run.cancel_requested_at_ms ?? nowMs });
    },

    async recordTimeout(run, nowMs) {
      return change(run, { timed_out_at_ms: run.timed_out_at_ms ?? nowMs, deadline_ms: null });
    },

    async stopHooks(run) {
      const update = `UPDATE runs SET hooks_stopped = 1 WHERE ${AS_READ} AND finished_at_ms IS NULL`;
      db.change(nameOf(run), update, ...asRead(run));
      return { ...run, hooks_stopped: true };
    },

    async startRun(run, { queued, needs, revision }, nowMs) {
      const statusId = nextStatusId(db);
      const status_at_ms = Math.max(run.status_at_ms, nowMs);
      db.change(
        nameOf(run),
        `UPDATE runs SET queued = ?, needs = ?, revision = ?, start_at_ms = NULL, status_at_ms = ?, rank_ms = ?, last_outbox_id = ?
         WHERE ${AS_READ} AND start_at_ms IS NOT NULL AND finished_at_ms IS NULL`,
        queued ? 1 : 0,
        needs,
        revision,
        status_at_ms,
        nowMs,
        statusId,
        ...asRead(run),
      );
      const next: RunRecord = {
        ...run,
        queued,
        needs,
        revision,
        start_at_ms: null,
        status_at_ms,
        rank_ms: nowMs,
      };
      writeRunStatus(db, next, statusId);
      return next;
    },

    async reviseRun(run, revision) {
      return change(run, { revision });
    },

    async limitRun(run, leftMs) {
      return change(run, { deadline_ms: leftMs === null ? null : now() + Math.round(leftMs) });
    },

    async timeLeft({ deadline_ms }) {
      return deadline_ms === null ? null : deadline_ms - now();
    },

    async overdueRuns(limit) {
      const sql = `${RUNS} WHERE deadline_ms <= ? AND ${WATCHED} ORDER BY deadline_ms LIMIT ?`;
      return db.all<StoredRun>(sql, now(), limit).map(toRun);
    },

    async nextOverdueRun() {
      const sql = `SELECT min(deadline_ms) AS next FROM runs WHERE deadline_ms IS NOT NULL AND ${WATCHED}`;
      const next = db.one<{ next: number | null }>(sql)?.next ?? null;
      return next === null ? null : next - now();
    },

    async plainDefinitions() {
      const sql = `SELECT DISTINCT definition_hash AS hash FROM runs WHERE ${PLAIN}`;
      return db.all<{ hash: string }>(sql).map(({ hash }) => hash);
    },

    async plainRuns(hash, limit) {
      const sql = `${RUNS} WHERE ${PLAIN} AND definition_hash = ? AND attempt = 1 ORDER BY seq LIMIT ?`;
      return db.all<StoredRun>(sql, hash, limit).map(toRun);
    },

    async placeRuns(hash, needs) {
      db.run(`UPDATE runs SET needs = ? WHERE ${PLAIN} AND definition_hash = ?`, needs, hash);
    },

    async splitRun(run, revision) {
      const update = `UPDATE runs SET queued = 0, needs = '', revision = ? WHERE ${AS_READ} AND queued = 1`;
      db.change(nameOf(run), update, revision, ...asRead(run));
      return { ...run, queued: false, needs: "", revision };
    },

    async getRun(id) {
      return getRun(db, id);
    },

    async findRuns(prefix, limit) {
      return db.all<StoredRun>(`${RUNS} WHERE ${BEGINS} LIMIT ?`, ...rangeOf(prefix), limit).map(toRun);
    },

    async waitingFirings(workflowId, dueMs, limit, entry = null) {
      // Mostly there are none, and the columns of a run are many.
      if (db.one(HAS_WAITING_FIRINGS, workflowId, dueMs, entry) === null) return [];
      return db
        .all<StoredRun & { seq: number }>(ALL_WAITING_FIRINGS, workflowId, dueMs, entry, limit)
        .map(({ seq: _seq, ...row }) => toRun(row));
    },

    async listRuns(filter) {
      const conditions: string[] = [];
      const values: SQLQueryBindings[] = [];
      if (filter.workflow_id !== undefined) {
        conditions.push("workflow_id = ?");
        values.push(filter.workflow_id);
      }
      if (filter.status !== undefined) {
        conditions.push("status = ?");
        values.push(filter.status === "WAITING" ? "RUNNING" : filter.status);
      }
      if (filter.status === "WAITING") conditions.push("resting = 1");
      else if (filter.status === "RUNNING" && filter.waiting === true) conditions.push("resting = 0");
      if (filter.id_prefix !== undefined) {
        conditions.push(BEGINS);
        values.push(...rangeOf(filter.id_prefix));
      }
      const where = conditions.length === 0 ? "" : `WHERE ${conditions.join(" AND ")}`;
      return db
        .all<Omit<StoredRun, "params" | "outputs">>(
          `${LISTED} ${where} ORDER BY seq DESC LIMIT ?`,
          ...values,
          filter.limit,
        )
        .map((row) => Object.assign(row, flagsOf(row)));
    },

    async oldestFinishedMs(among) {
      const newest =
        "SELECT seq, created_at_ms FROM runs WHERE finished_at_ms IS NOT NULL ORDER BY seq DESC LIMIT ?";
      const sql = `SELECT created_at_ms FROM (${newest}) ORDER BY seq LIMIT 1`;
      return db.one<{ created_at_ms: number }>(sql, among)?.created_at_ms ?? null;
    },

    async countRuns() {
      // Of indexes alone: clients ask again and again while thousands of runs wait.
      const counts = { pending: 0, running: 0, queued: 0 };
      const rows = db.all<{ status: RunStatus; n: number }>(
        "SELECT status, count(*) AS n FROM runs INDEXED BY runs_open WHERE finished_at_ms IS NULL GROUP BY status",
      );
      for (const { status, n } of rows) {
        if (status === "PENDING") counts.pending = n;
        if (status === "RUNNING") counts.running = n;
      }
      const queued = db.one<{ runs: number; slices: number }>(
        `SELECT (SELECT count(*) FROM runs INDEXED BY runs_queue WHERE queued = 1) AS runs,
           (SELECT count(*) FROM slices INDEXED BY slices_queue WHERE state = 'QUEUED') AS slices`,
      );
      return { ...counts, queued: (queued?.runs ?? 0) + (queued?.slices ?? 0) };
    },

    async getDefinition(hash) {
      const sql = "SELECT definition FROM definitions WHERE hash = ?";
      return db.one<{ definition: string }>(sql, hash)?.definition ?? null;
    },

    async childRuns(runId, tasks) {
      return db
        .all<Omit<StoredRun, "params" | "outputs">>(
          `WITH RECURSIVE chain(id, distance) AS (
             SELECT ?1, 0
             UNION ALL
             SELECT retry_of, distance + 1 FROM chain JOIN runs ON workflow_instance_id = id
             WHERE retry_of IS NOT NULL AND from_start = 0 AND distance < 1000
           )
           SELECT ${COLUMNS.replace(" params, event, outputs,", "")} FROM chain JOIN runs ON parent_run = id
           WHERE parent_task IN (SELECT value FROM json_each(?2)) ORDER BY distance, seq DESC`,
          runId,
          JSON.stringify(tasks),
        )
        .map((row) => Object.assign(row, flagsOf(row)));
    },

    async recentStatuses(limit) {
      return db.all<RecentStatus>(
        "SELECT workflow_id, workflow_instance_id, status, timestamp_ms FROM recent_statuses ORDER BY position DESC LIMIT ?",
        limit,
      );
    },
  };
}
