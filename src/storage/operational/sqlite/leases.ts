/** Statements about leases and task runs. Leases on slices are in a table of their own, which an older cdktr does not know. */
import { isTerminal } from "../../../workflow/status.ts";
import { TASK_TRANSITIONS } from "../../../workflow/task-state.ts";
import { requireLegal } from "../legal.ts";
import type {
  AttemptName,
  AttemptRecord,
  Claim,
  LeaseIntentions,
  MovedOutputs,
  TaskEnd,
  TaskRunRecord,
  TaskRunState,
} from "../store.ts";
import { mayHaveWork } from "./agents.ts";
import { queueHead, queueHeads } from "./queue.ts";
import { getRun, takeQueuedRun } from "./runs.ts";
import { getSlice, takeQueuedSlice } from "./slices.ts";
import { conflict, type Statements } from "./statements.ts";
import { writeTaskStatus } from "./statuses.ts";

const ATTEMPT_COLUMNS =
  "attempt, agent_id, session_id, fetch_id, assigned_at_ms, clock_offset_ms, deadline_ms, lease, status, started_at_ms, finished_at_ms, error";
const OF_RUNS = `SELECT workflow_instance_id, 0 AS slice, ${ATTEMPT_COLUMNS}, NULL AS log_stream_id, 0 AS log_seq FROM attempts`;
const OF_SLICES = `SELECT workflow_instance_id, slice, ${ATTEMPT_COLUMNS}, log_stream_id, log_seq FROM slice_attempts`;
/** The attempts, of runs and of slices, that meet a condition. Its parameters have numbers. */
const every = (condition: string) =>
  `${OF_RUNS} WHERE ${condition} UNION ALL ${OF_SLICES} WHERE ${condition}`;

const OPEN = "lease IN ('OFFERED', 'HELD')";
const TASK_STATE_COLUMNS =
  "workflow_instance_id, task_instance_id, task_id, task_name, slice, attempt, task_attempt, status, exit_code, signal, error, cpu_ms, max_rss_kb, started_at_ms, finished_at_ms, duration_ms, status_at_ms";
const TASK_RUN_COLUMNS = `${TASK_STATE_COLUMNS}, outputs`;

/** An attempt of a run, or of a slice of it. */
export function getAttempt(
  db: Statements,
  { workflow_instance_id, slice, attempt }: AttemptName,
): AttemptRecord | null {
  const key = "WHERE workflow_instance_id = ? AND attempt = ?";
  return slice === 0
    ? db.one<AttemptRecord>(`${OF_RUNS} ${key}`, workflow_instance_id, attempt)
    : db.one<AttemptRecord>(`${OF_SLICES} ${key} AND slice = ?`, workflow_instance_id, attempt, slice);
}

function insertAttempt(db: Statements, attempt: AttemptRecord): void {
  if (attempt.slice > 0) db.insert("slice_attempts", attempt);
  else {
    const { slice: _slice, log_stream_id: _id, log_seq: _seq, ...row } = attempt;
    db.insert("attempts", row);
  }
}

function claimedBy(db: Statements, agentId: string, fetchId: string | null): Claim | null {
  if (fetchId === null) return null;
  const attempt = db.one<AttemptRecord>(
    every(`${OPEN} AND agent_id = ?1 AND fetch_id = ?2`),
    agentId,
    fetchId,
  );
  const run = attempt === null ? null : getRun(db, attempt.workflow_instance_id);
  if (attempt === null || run === null) return null;
  const slice = attempt.slice === 0 ? null : getSlice(db, run.workflow_instance_id, attempt.slice);
  return { run, slice, attempt, isNew: false };
}

function take(
  db: Statements,
  of: { workflow_instance_id: string; slice: number },
  agentId: string,
): Pick<Claim, "run" | "slice"> | null {
  if (of.slice > 0) return takeQueuedSlice(db, of, agentId);
  const run = takeQueuedRun(db, of.workflow_instance_id, agentId);
  return run === null ? null : { run, slice: null };
}

function listTasks<T>(db: Statements, columns: string, runId: string, slice: number | undefined): T[] {
  // See queue.ts: a bare parameter would make SQLite prepare these each time, and they are asked for every run.
  const tasks = `SELECT ${columns} FROM task_runs WHERE workflow_instance_id = (SELECT ?)`;
  return slice === undefined
    ? db.all<T>(`${tasks} ORDER BY seq`, runId)
    : db.all<T>(`${tasks} AND slice > 0 AND slice = (SELECT ?) ORDER BY seq`, runId, slice);
}

function nameOf({ workflow_instance_id, slice, attempt }: AttemptName): string {
  return `attempt ${attempt} of ${slice === 0 ? "" : `slice ${slice} of `}run ${workflow_instance_id}`;
}

/**
 * The operations of a unit of work on the queue, leases and task runs.
 * @param now the store's clock, ms
 */
export function leaseIntentions(db: Statements, now: () => number): LeaseIntentions {
  return {
    async queueHeads(needs) {
      if (needs === undefined) return queueHeads(db);
      const head = queueHead(db, needs);
      return head === null ? [] : [head];
    },

    async claim({ offer_ms, needs = "", ...to }) {
      const known = claimedBy(db, to.agent_id, to.fetch_id);
      if (known !== null) return known;
      const head = queueHead(db, needs);
      if (head === null) return "empty";
      if (!mayHaveWork(db, to.agent_id, to.session_id)) return "unfit";
      const taken = take(db, head, to.agent_id);
      if (taken === null) return "empty";
      const { run, slice } = taken;
      const attempt: AttemptRecord = {
        ...to,
        workflow_instance_id: run.workflow_instance_id,
        slice: slice?.slice ?? 0,
        attempt: (slice ?? run).attempt,
        deadline_ms: now() + Math.round(offer_ms),
        lease: "OFFERED",
        status: "PENDING",
        clock_offset_ms: 0,
        started_at_ms: null,
        finished_at_ms: null,
        error: null,
        log_stream_id: null,
        log_seq: 0,
      };
      insertAttempt(db, attempt);
      return { run, slice, attempt, isNew: true };
    },

    async claimedBy(agentId, fetchId) {
      return claimedBy(db, agentId, fetchId);
    },

    async transitionLease(attempt, to) {
      requireLegal("lease", attempt.lease, to.lease);
      requireLegal("run", attempt.status, to.status);
      const next: AttemptRecord = { ...attempt, ...to, deadline_ms: null };
      const { workflow_instance_id: id, slice } = attempt;
      const changed = [
        next.lease,
        next.status,
        next.clock_offset_ms,
        next.started_at_ms,
        next.finished_at_ms,
        next.error,
      ];
      const set =
        "SET lease = ?, status = ?, deadline_ms = NULL, clock_offset_ms = ?, started_at_ms = ?, finished_at_ms = ?, error = ?";
      const where = "WHERE workflow_instance_id = ? AND attempt = ? AND lease = ? AND status = ?";
      const asRead = [id, attempt.attempt, attempt.lease, attempt.status];
      const { changes } =
        slice === 0
          ? db.run(`UPDATE attempts ${set} ${where}`, ...changed, ...asRead)
          : db.run(
              `UPDATE slice_attempts ${set}, log_stream_id = ?, log_seq = ? ${where} AND slice = ?`,
              ...changed,
              next.log_stream_id,
              next.log_seq,
              ...asRead,
              slice,
            );
      if (changes === 0) throw conflict(nameOf(attempt));
      return next;
    },

    async correctClock(attempt, clock_offset_ms) {
      const { workflow_instance_id: id, slice } = attempt;
      const set = "SET clock_offset_ms = ? WHERE workflow_instance_id = ? AND attempt = ? AND lease = 'HELD'";
      const values = [clock_offset_ms, id, attempt.attempt];
      if (slice === 0) db.change(nameOf(attempt), `UPDATE attempts ${set}`, ...values);
      else db.change(nameOf(attempt), `UPDATE slice_attempts ${set} AND slice = ?`, ...values, slice);
      return { ...attempt, clock_offset_ms };
    },

    async extendOffers(offerMs, of) {
      const deadline = now() + Math.round(offerMs);
      const extend = (slice: number, condition: string, ...values: (string | number)[]) => {
        const table = slice === 0 ? "attempts" : "slice_attempts";
        const update = `UPDATE ${table} SET deadline_ms = ? WHERE lease = 'OFFERED' ${condition}`;
        return db.run(update, deadline, ...values).changes;
      };
      if (of === undefined) return extend(0, "") + extend(1, "");
      let extended = 0;
      for (const { workflow_instance_id, slice, attempt } of of.attempts) {
        const one = `AND agent_id = ? AND workflow_instance_id = ? AND attempt = ?${slice === 0 ? "" : " AND slice = ?"}`;
        const key = [of.agentId, workflow_instance_id, attempt, ...(slice === 0 ? [] : [slice])];
        extended += extend(slice, one, ...key);
      }
      return extended;
    },

    async overdueOffers(limit) {
      const overdue = every("lease = 'OFFERED' AND deadline_ms <= ?1");
      return db.all<AttemptRecord>(`${overdue} ORDER BY deadline_ms LIMIT ?2`, now(), limit);
    },

    async nextOverdueOffer() {
      const sql = `SELECT min(next) AS next FROM (
        SELECT min(deadline_ms) AS next FROM attempts WHERE lease = 'OFFERED'
        UNION ALL SELECT min(deadline_ms) FROM slice_attempts WHERE lease = 'OFFERED')`;
      const next = db.one<{ next: number | null }>(sql)?.next ?? null;
      return next === null ? null : next - now();
    },

    async getAttempt(of) {
      return getAttempt(db, of);
    },

    async listAttempts(runId, slice) {
      const condition = `workflow_instance_id = ?1${slice === undefined ? "" : " AND slice = ?2"}`;
      if (slice !== undefined && slice > 0)
        return db.all<AttemptRecord>(`${OF_SLICES} WHERE ${condition} ORDER BY attempt`, runId, slice);
      const sql = `${every("workflow_instance_id = ?1")} ORDER BY slice, attempt`;
      const attempts = db.all<AttemptRecord>(sql, runId);
      return slice === undefined ? attempts : attempts.filter((attempt) => attempt.slice === slice);
    },

    async openAttempts(agentId) {
      const sql = every(agentId === undefined ? OPEN : `${OPEN} AND agent_id = ?1`);
      return db.all<AttemptRecord>(
        `${sql} ORDER BY assigned_at_ms`,
        ...(agentId === undefined ? [] : [agentId]),
      );
    },

    async hasHadSlice(agentId, runId) {
      const sql = "SELECT 1 FROM slice_attempts WHERE workflow_instance_id = ? AND agent_id = ? LIMIT 1";
      return db.one(sql, runId, agentId) !== null;
    },

    async transitionTask(task, from, of) {
      // PENDING is the initial status of a task run: reporting it is not a transition.
      if (task.status !== (from ?? "PENDING")) requireLegal("task", from ?? "PENDING", task.status);
      if (from === null) db.insert("task_runs", task);
      else {
        db.change(
          `task run ${task.task_instance_id}`,
          `UPDATE task_runs SET task_attempt = ?, status = ?, exit_code = ?, signal = ?, error = ?, cpu_ms = ?, max_rss_kb = ?,
             started_at_ms = ?, finished_at_ms = ?, duration_ms = ?, status_at_ms = ?, outputs = ?
           WHERE workflow_instance_id = ? AND task_instance_id = ? AND slice = ? AND attempt = ? AND status = ?`,
          task.task_attempt,
          task.status,
          task.exit_code,
          task.signal,
          task.error,
          task.cpu_ms,
          task.max_rss_kb,
          task.started_at_ms,
          task.finished_at_ms,
          task.duration_ms,
          task.status_at_ms,
          task.outputs,
          task.workflow_instance_id,
          task.task_instance_id,
          task.slice,
          task.attempt,
          from,
        );
      }
      const row = writeTaskStatus(db, task, of, isTerminal(TASK_TRANSITIONS, task.status) ? 1 : 0);
      if (task.outputs === null) return;
      db.run(
        "UPDATE task_runs SET outputs_row = ? WHERE workflow_instance_id = ? AND task_instance_id = ?",
        row,
        task.workflow_instance_id,
        task.task_instance_id,
      );
    },

    async withdrawTasks(runId, taskInstanceIds) {
      let withdrawn = 0;
      for (const id of taskInstanceIds) {
        const { changes } = db.run(
          "DELETE FROM task_runs WHERE workflow_instance_id = ? AND task_instance_id = ? AND slice = 0 AND status = 'SKIPPED'",
          runId,
          id,
        );
        withdrawn += changes;
      }
      db.run("UPDATE runs SET tasks_done = tasks_done - ? WHERE workflow_instance_id = ?", withdrawn, runId);
    },

    async getTaskRun(runId, taskInstanceId) {
      return db.one<TaskRunRecord>(
        `SELECT ${TASK_RUN_COLUMNS} FROM task_runs WHERE workflow_instance_id = ? AND task_instance_id = ?`,
        runId,
        taskInstanceId,
      );
    },

    async listTaskRuns(runId, slice) {
      return listTasks<TaskRunRecord>(db, TASK_RUN_COLUMNS, runId, slice);
    },

    async listTaskStates(runId, slice) {
      return listTasks<TaskRunState>(db, TASK_STATE_COLUMNS, runId, slice);
    },

    async listTaskEnds(runId) {
      const sql =
        "SELECT task_id, slice, attempt, status FROM task_runs WHERE workflow_instance_id = ? ORDER BY seq";
      return db.all<TaskEnd>(sql, runId);
    },

    async outputsOf(runId, taskIds) {
      const outputs = new Map<string, string>();
      for (const id of taskIds) {
        const row = db.one<{ outputs: string }>(
          `SELECT outputs FROM task_runs WHERE workflow_instance_id = ? AND task_id = ? AND outputs_bytes > 0 AND status = 'COMPLETED'
           ORDER BY seq DESC LIMIT 1`,
          runId,
          id,
        );
        if (row !== null) outputs.set(id, row.outputs);
      }
      return outputs;
    },

    async movedOutputs(runId) {
      return db.all<MovedOutputs>(
        "SELECT task_id, task_instance_id FROM task_runs WHERE workflow_instance_id = ? AND outputs_moved = 1",
        runId,
      );
    },

    async completedTasks(runId) {
      return db
        .all<{ task_id: string }>(
          "SELECT task_id FROM task_runs WHERE workflow_instance_id = (SELECT ?) AND status = 'COMPLETED' GROUP BY task_id ORDER BY min(seq)",
          runId,
        )
        .map((row) => row.task_id);
    },

    async countRunningTasks() {
      const rows = db.all<{ agent_id: string; n: number }>(
        `SELECT agent_id, count(*) AS n FROM attempts AS a JOIN task_runs AS t USING (workflow_instance_id, attempt)
         WHERE ${OPEN} AND t.slice = 0 AND t.status = 'RUNNING' GROUP BY agent_id
         UNION ALL
         SELECT agent_id, count(*) FROM slice_attempts AS a JOIN task_runs AS t USING (workflow_instance_id, slice, attempt)
         WHERE ${OPEN} AND t.slice > 0 AND t.status = 'RUNNING' GROUP BY agent_id`,
      );
      const counts = new Map<string, number>();
      for (const { agent_id, n } of rows) counts.set(agent_id, (counts.get(agent_id) ?? 0) + n);
      return counts;
    },
  };
}
