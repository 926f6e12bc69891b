/** Statements about leases and task runs. Leases on slices are in a table of their own, which an older cdktr does not know. */
import { isTerminal, RUN_STATUSES } from "../../../workflow/status.ts";
import { TASK_TRANSITIONS } from "../../../workflow/task-state.ts";
import { requireLegal } from "../legal.ts";
import type {
  AttemptName,
  AttemptRecord,
  AttemptToStop,
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
import { writeTaskStatuses } from "./statuses.ts";

const ATTEMPT_COLUMNS =
  "attempt, agent_id, session_id, fetch_id, assigned_at_ms, clock_offset_ms, deadline_ms, lease, status, started_at_ms, finished_at_ms, error";
const OF_RUNS = `SELECT workflow_instance_id, 0 AS slice, ${ATTEMPT_COLUMNS}, NULL AS log_stream_id, 0 AS log_seq FROM attempts`;
const OF_SLICES = `SELECT workflow_instance_id, slice, ${ATTEMPT_COLUMNS}, log_stream_id, log_seq FROM slice_attempts`;
/** The attempts, of runs and of slices, that meet a condition. Its parameters have numbers. */
const every = (condition: string) =>
  `${OF_RUNS} WHERE ${condition} UNION ALL ${OF_SLICES} WHERE ${condition}`;

const OPEN = "lease IN ('OFFERED', 'HELD')";
const OPEN_OF_AGENT = every(`${OPEN} AND agent_id = ?1`);
const IN_LIST = "workflow_instance_id IN (SELECT value FROM json_each(?1))";
const AGENTS_OF_RUNS = `SELECT workflow_instance_id, agent_id FROM attempts WHERE ${IN_LIST}
  UNION SELECT workflow_instance_id, agent_id FROM slice_attempts WHERE ${IN_LIST}`;
const CLAIMED_BY = every(`${OPEN} AND agent_id = ?1 AND fetch_id = ?2`);
const BY_KEY = "WHERE workflow_instance_id = ? AND attempt = ?";
const GET = `${OF_RUNS} ${BY_KEY}`;
const GET_OF_SLICE = `${OF_SLICES} ${BY_KEY} AND slice = ?`;
/** An agent's attempts are few: they are searched first, then the run of each. See queue.ts about the parameter. */
const toStop = (table: string, slice: string, stopped: string) =>
  `SELECT a.workflow_instance_id, ${slice} AS slice, a.attempt, a.session_id,
     CASE WHEN r.cancel_requested_at_ms IS NULL AND r.hooks_stopped = 0 THEN 'timed out' ELSE 'cancelled' END AS reason
   FROM ${table} AS a CROSS JOIN runs AS r USING (workflow_instance_id)
   WHERE a.${OPEN} AND a.agent_id = (SELECT ?1) AND ${stopped}`;
const IS_STOPPED = "(r.cancel_requested_at_ms IS NOT NULL OR r.timed_out_at_ms IS NOT NULL)";
/** Hooks run although their run was stopped, until they are stopped themselves. */
const IS_SLICE_STOPPED = `(r.hooks_stopped = 1 OR (${IS_STOPPED} AND NOT EXISTS (
     SELECT 1 FROM slices AS s WHERE s.workflow_instance_id = a.workflow_instance_id AND s.slice = a.slice AND s.is_hook = 1)))`;
const TO_STOP = `${toStop("attempts", "0", IS_STOPPED)} UNION ALL ${toStop("slice_attempts", "a.slice", IS_SLICE_STOPPED)}`;

const SET_LEASE =
  "SET lease = ?, status = ?, deadline_ms = NULL, clock_offset_ms = ?, started_at_ms = ?, finished_at_ms = ?, error = ?";
const LEASE_AS_READ = "WHERE workflow_instance_id = ? AND attempt = ? AND lease = ? AND status = ?";
const CHANGE_LEASE = `UPDATE attempts ${SET_LEASE} ${LEASE_AS_READ}`;
const CHANGE_LEASE_OF_SLICE = `UPDATE slice_attempts ${SET_LEASE}, log_stream_id = ?, log_seq = ? ${LEASE_AS_READ} AND slice = ?`;

/** Those of a task run, without what it published. */
export const TASK_STATE_COLUMNS =
  "workflow_instance_id, task_instance_id, task_id, task_name, slice, attempt, task_attempt, status, exit_code, signal, error, cpu_ms, max_rss_kb, started_at_ms, finished_at_ms, duration_ms, status_at_ms, due_ms, allowed, item_key, item_index, items_total";
const TASK_RUN_COLUMNS = `${TASK_STATE_COLUMNS}, outputs`;
const GET_TASK = `SELECT ${TASK_RUN_COLUMNS} FROM task_runs WHERE workflow_instance_id = ? AND task_instance_id = ?`;
const CHANGE_TASK = `UPDATE task_runs SET task_attempt = ?, status = ?, exit_code = ?, signal = ?, error = ?, cpu_ms = ?, max_rss_kb = ?,
    started_at_ms = ?, finished_at_ms = ?, duration_ms = ?, status_at_ms = ?, due_ms = ?, allowed = ?, items_total = ?, outputs = ?
  WHERE workflow_instance_id = ? AND task_instance_id = ? AND slice = ? AND attempt = ? AND status = ?`;

/** Texts of the statements that list task runs: of a run, and of a slice. */
function listing(columns: string, condition = ""): { ofRun: string; ofSlice: string } {
  // See queue.ts: a bare parameter would make SQLite prepare these each time, and they are asked for every run.
  const tasks = `SELECT ${columns} FROM task_runs WHERE workflow_instance_id = (SELECT ?)${condition}`;
  return {
    ofRun: `${tasks} ORDER BY seq`,
    ofSlice: `${tasks} AND slice > 0 AND slice = (SELECT ?) ORDER BY seq`,
  };
}
const TASK_RUNS = listing(TASK_RUN_COLUMNS);
const TASK_STATES = listing(TASK_STATE_COLUMNS);
const TASK_ENDS = listing("task_id, item_key, slice, attempt, status, allowed");
const NO_ITEMS = listing(TASK_STATE_COLUMNS, " AND item_key IS NULL");
const UNFINISHED = RUN_STATUSES.filter((status) => !isTerminal(TASK_TRANSITIONS, status));
const UNFINISHED_LIST = UNFINISHED.map((status) => `'${status}'`).join(", ");
const OPEN_TASKS = listing(TASK_STATE_COLUMNS, ` AND status IN (${UNFINISHED_LIST})`);

function tasksOf<T>(db: Statements, list: ReturnType<typeof listing>, runId: string, slice?: number): T[] {
  return slice === undefined ? db.all<T>(list.ofRun, runId) : db.all<T>(list.ofSlice, runId, slice);
}

/** An attempt of a run, or of a slice of it. */
export function getAttempt(
  db: Statements,
  { workflow_instance_id, slice, attempt }: AttemptName,
): AttemptRecord | null {
  return slice === 0
    ? db.one<AttemptRecord>(GET, workflow_instance_id, attempt)
    : db.one<AttemptRecord>(GET_OF_SLICE, workflow_instance_id, attempt, slice);
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
  const attempt = db.one<AttemptRecord>(CLAIMED_BY, agentId, fetchId);
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

function nameOf({ workflow_instance_id, slice, attempt }: AttemptName): string {
  return `attempt ${attempt} of ${slice === 0 ? "" : `slice ${slice} of `}run ${workflow_instance_id}`;
}

/** By how many tasks its run has more that are over. */
function doneBy(task: TaskRunRecord): number {
  return task.item_key === null && isTerminal(TASK_TRANSITIONS, task.status) ? 1 : 0;
}

/** What a task run has published is in this row of the history too. */
function statusWritten(db: Statements, task: TaskRunRecord, row: number): void {
  if (task.outputs === null) return;
  db.run(
    "UPDATE task_runs SET outputs_row = ? WHERE workflow_instance_id = ? AND task_instance_id = ?",
    row,
    task.workflow_instance_id,
    task.task_instance_id,
  );
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

    async claim({ offer_ms, needs = "", head: told, isHeld = false, ...to }) {
      const known = claimedBy(db, to.agent_id, to.fetch_id);
      if (known !== null) return known;
      const head = told ?? queueHead(db, needs);
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
        deadline_ms: isHeld ? null : now() + Math.round(offer_ms),
        lease: isHeld ? "HELD" : "OFFERED",
        status: isHeld ? "RUNNING" : "PENDING",
        clock_offset_ms: 0,
        started_at_ms: isHeld ? Math.max(run.status_at_ms, to.assigned_at_ms) : null,
        finished_at_ms: null,
        error: null,
        log_stream_id: null,
        log_seq: 0,
      };
      insertAttempt(db, attempt);
      return { run, slice, attempt, isNew: true };
    },

    async addOffer(attempt) {
      insertAttempt(db, attempt);
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
      const asRead = [id, attempt.attempt, attempt.lease, attempt.status];
      const { changes } =
        slice === 0
          ? db.run(CHANGE_LEASE, ...changed, ...asRead)
          : db.run(CHANGE_LEASE_OF_SLICE, ...changed, next.log_stream_id, next.log_seq, ...asRead, slice);
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
      const ofRun = "WHERE workflow_instance_id = ?";
      if (slice === 0) return db.all<AttemptRecord>(`${OF_RUNS} ${ofRun} ORDER BY attempt`, runId);
      if (slice !== undefined)
        return db.all<AttemptRecord>(`${OF_SLICES} ${ofRun} AND slice = ? ORDER BY attempt`, runId, slice);
      const sql = `${every("workflow_instance_id = ?1")} ORDER BY slice, attempt`;
      return db.all<AttemptRecord>(sql, runId);
    },

    async agentsOfRuns(runIds) {
      const rows = db.all<Pick<AttemptRecord, "workflow_instance_id" | "agent_id">>(
        AGENTS_OF_RUNS,
        JSON.stringify(runIds),
      );
      const byRun = Map.groupBy(rows, (row) => row.workflow_instance_id);
      return new Map([...byRun].map(([id, of]) => [id, new Set(of.map((row) => row.agent_id))]));
    },

    async openAttempts(agentId) {
      const attempts =
        agentId === undefined
          ? db.all<AttemptRecord>(every(OPEN))
          : db.all<AttemptRecord>(OPEN_OF_AGENT, agentId);
      return attempts.sort((a, b) => a.assigned_at_ms - b.assigned_at_ms);
    },

    async attemptsToStop(agentId) {
      return db.all<AttemptToStop>(TO_STOP, agentId);
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
          CHANGE_TASK,
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
          task.due_ms,
          task.allowed,
          task.items_total,
          task.outputs,
          task.workflow_instance_id,
          task.task_instance_id,
          task.slice,
          task.attempt,
          from,
        );
      }
      statusWritten(db, task, writeTaskStatuses(db, [task], of, doneBy(task)));
    },

    async wholeTask(begun, ended, of) {
      requireLegal("task", "PENDING", begun.status);
      requireLegal("task", begun.status, ended.status);
      db.insert("task_runs", ended);
      statusWritten(db, ended, writeTaskStatuses(db, [begun, ended], of, doneBy(ended)));
    },

    async withdrawTasks(runId, taskInstanceIds) {
      let withdrawn = 0;
      for (const id of taskInstanceIds) {
        const gone = db.one<{ item_key: string | null }>(
          "DELETE FROM task_runs WHERE workflow_instance_id = ? AND task_instance_id = ? AND slice = 0 AND status IN ('SKIPPED', 'FAILED', 'CANCELLED', 'CRASHED') RETURNING item_key",
          runId,
          id,
        );
        if (gone?.item_key === null) withdrawn++;
      }
      db.run("UPDATE runs SET tasks_done = tasks_done - ? WHERE workflow_instance_id = ?", withdrawn, runId);
    },

    async forgetCompleted({ workflow_instance_id: id, slice, attempt }, taskIds) {
      if (taskIds.length === 0) return;
      const gone = db.all<{ item_key: string | null }>(
        `DELETE FROM task_runs WHERE workflow_instance_id = ? AND slice = ? AND attempt = ? AND status = 'COMPLETED'
           AND task_id IN (SELECT value FROM json_each(?)) RETURNING item_key`,
        id,
        slice,
        attempt,
        JSON.stringify(taskIds),
      );
      if (gone.length > 0)
        db.run(
          `DELETE FROM artifacts WHERE workflow_instance_id = ?1
             AND task_instance_id NOT IN (SELECT task_instance_id FROM task_runs WHERE workflow_instance_id = ?1)`,
          id,
        );
      const tasks = gone.filter(({ item_key }) => item_key === null).length;
      db.run("UPDATE runs SET tasks_done = tasks_done - ? WHERE workflow_instance_id = ?", tasks, id);
    },

    async forgetTasks(runId, taskIds, taskInstanceIds) {
      if (taskIds.length === 0) return;
      const ids = JSON.stringify(taskIds);
      const inList = "workflow_instance_id = ? AND task_id IN (SELECT value FROM json_each(?))";
      const gone = db.all<{ task_id: string; item_key: string | null }>(
        `DELETE FROM task_runs WHERE ${inList} AND status NOT IN (${UNFINISHED_LIST})
           AND task_instance_id IN (SELECT value FROM json_each(?)) RETURNING task_id, item_key`,
        runId,
        ids,
        JSON.stringify(taskInstanceIds),
      );
      db.run(`DELETE FROM fan_outs WHERE ${inList}`, runId, ids);
      const tasks = new Set(gone.flatMap(({ task_id, item_key }) => (item_key === null ? [task_id] : [])));
      const update = "UPDATE runs SET tasks_done = tasks_done - ? WHERE workflow_instance_id = ?";
      db.run(update, tasks.size, runId);
    },

    async getTaskRun(runId, taskInstanceId) {
      return db.one<TaskRunRecord>(GET_TASK, runId, taskInstanceId);
    },

    async listTaskRuns(runId) {
      return tasksOf<TaskRunRecord>(db, TASK_RUNS, runId);
    },

    async listTaskStates(runId, slice) {
      return tasksOf<TaskRunState>(db, TASK_STATES, runId, slice);
    },

    async listTasks(runId) {
      return tasksOf<TaskRunState>(db, NO_ITEMS, runId);
    },

    async listTaskEnds(runId, slice) {
      return tasksOf<TaskEnd>(db, TASK_ENDS, runId, slice);
    },

    async listOpenTasks(runId, slice) {
      return tasksOf<TaskRunState>(db, OPEN_TASKS, runId, slice);
    },

    async outputsOf(runId, taskIds) {
      const outputs = new Map<string, string>();
      for (const id of taskIds) {
        const row = db.one<{ outputs: string }>(
          `SELECT outputs FROM task_runs WHERE workflow_instance_id = ? AND task_id = ? AND outputs_bytes > 0 AND status = 'COMPLETED' AND item_key IS NULL
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
          "SELECT task_id FROM task_runs WHERE workflow_instance_id = (SELECT ?) AND status = 'COMPLETED' AND item_key IS NULL GROUP BY task_id ORDER BY min(seq)",
          runId,
        )
        .map((row) => row.task_id);
    },

    async countRunningTasks() {
      // From the open leases to their tasks, and not through all tasks.
      const rows = db.all<{ agent_id: string; n: number }>(
        `SELECT agent_id, count(*) AS n FROM attempts AS a CROSS JOIN task_runs AS t USING (workflow_instance_id, attempt)
         WHERE ${OPEN} AND t.slice = 0 AND t.status = 'RUNNING' AND t.items_total IS NULL GROUP BY agent_id
         UNION ALL
         SELECT agent_id, count(*) FROM slice_attempts AS a CROSS JOIN task_runs AS t USING (workflow_instance_id, slice, attempt)
         WHERE ${OPEN} AND t.slice > 0 AND t.status = 'RUNNING' AND t.items_total IS NULL GROUP BY agent_id`,
      );
      const counts = new Map<string, number>();
      for (const { agent_id, n } of rows) counts.set(agent_id, (counts.get(agent_id) ?? 0) + n);
      return counts;
    },
  };
}
