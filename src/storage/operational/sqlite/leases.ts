/** Statements about the queue, leases and task runs. */
import { isTerminal } from "../../../workflow/status.ts";
import { TASK_TRANSITIONS } from "../../../workflow/task-state.ts";
import { requireLegal } from "../legal.ts";
import type { AttemptRecord, Claim, LeaseIntentions, TaskRunRecord } from "../store.ts";
import { mayHaveWork } from "./agents.ts";
import { getRun, takeQueuedRun } from "./runs.ts";
import type { Statements } from "./statements.ts";
import { writeTaskStatus } from "./statuses.ts";

const OPEN = "SELECT * FROM attempts WHERE lease IN ('OFFERED', 'HELD')";
const TASK_RUN_COLUMNS =
  "workflow_instance_id, task_instance_id, task_id, task_name, attempt, task_attempt, status, exit_code, signal, error, cpu_ms, max_rss_kb, started_at_ms, finished_at_ms, status_at_ms";

function claimedBy(db: Statements, agentId: string, fetchId: string | null): Claim | null {
  if (fetchId === null) return null;
  const attempt = db.one<AttemptRecord>(`${OPEN} AND agent_id = ? AND fetch_id = ?`, agentId, fetchId);
  const run = attempt === null ? null : getRun(db, attempt.workflow_instance_id);
  return attempt === null || run === null ? null : { run, attempt, isNew: false };
}

/**
 * The operations of a unit of work on leases and task runs.
 * @param now the store's clock, ms
 */
export function leaseIntentions(db: Statements, now: () => number): LeaseIntentions {
  return {
    async claim({ offer_ms, ...to }) {
      if (db.one("SELECT 1 FROM runs WHERE queued = 1 LIMIT 1") === null) return "empty";
      const known = claimedBy(db, to.agent_id, to.fetch_id);
      if (known !== null) return known;
      if (!mayHaveWork(db, to.agent_id, to.session_id)) return "unfit";
      const run = takeQueuedRun(db, to.agent_id);
      if (run === null) return "empty";
      const attempt: AttemptRecord = {
        ...to,
        workflow_instance_id: run.workflow_instance_id,
        attempt: run.attempt,
        deadline_ms: now() + Math.round(offer_ms),
        lease: "OFFERED",
        status: run.status,
        clock_offset_ms: 0,
        started_at_ms: null,
        finished_at_ms: null,
        error: null,
      };
      db.insert("attempts", attempt);
      return { run, attempt, isNew: true };
    },

    async claimedBy(agentId, fetchId) {
      return claimedBy(db, agentId, fetchId);
    },

    async transitionLease(attempt, to) {
      requireLegal("lease", attempt.lease, to.lease);
      requireLegal("run", attempt.status, to.status);
      const next: AttemptRecord = { ...attempt, ...to, deadline_ms: null };
      db.change(
        `attempt ${attempt.attempt} of run ${attempt.workflow_instance_id}`,
        `UPDATE attempts SET lease = ?, status = ?, deadline_ms = NULL, clock_offset_ms = ?, started_at_ms = ?, finished_at_ms = ?, error = ?
         WHERE workflow_instance_id = ? AND attempt = ? AND lease = ? AND status = ?`,
        next.lease,
        next.status,
        next.clock_offset_ms,
        next.started_at_ms,
        next.finished_at_ms,
        next.error,
        attempt.workflow_instance_id,
        attempt.attempt,
        attempt.lease,
        attempt.status,
      );
      return next;
    },

    async extendOffers(offerMs, of) {
      const extend = "UPDATE attempts SET deadline_ms = ? WHERE lease = 'OFFERED'";
      const deadline = now() + Math.round(offerMs);
      if (of === undefined) return db.run(extend, deadline).changes;
      let extended = 0;
      for (const { workflow_instance_id, attempt } of of.attempts) {
        const one = `${extend} AND agent_id = ? AND workflow_instance_id = ? AND attempt = ?`;
        extended += db.run(one, deadline, of.agentId, workflow_instance_id, attempt).changes;
      }
      return extended;
    },

    async overdueOffers(limit) {
      return db.all<AttemptRecord>(
        "SELECT * FROM attempts WHERE lease = 'OFFERED' AND deadline_ms <= ? ORDER BY deadline_ms LIMIT ?",
        now(),
        limit,
      );
    },

    async nextOverdueOffer() {
      const sql = "SELECT min(deadline_ms) AS next FROM attempts WHERE lease = 'OFFERED'";
      const next = db.one<{ next: number | null }>(sql)?.next ?? null;
      return next === null ? null : next - now();
    },

    async getAttempt(runId, attempt) {
      const sql = "SELECT * FROM attempts WHERE workflow_instance_id = ? AND attempt = ?";
      return db.one<AttemptRecord>(sql, runId, attempt);
    },

    async listAttempts(runId) {
      const sql = "SELECT * FROM attempts WHERE workflow_instance_id = ? ORDER BY attempt";
      return db.all<AttemptRecord>(sql, runId);
    },

    async openAttempts(agentId) {
      return agentId === undefined
        ? db.all<AttemptRecord>(`${OPEN} ORDER BY assigned_at_ms`)
        : db.all<AttemptRecord>(`${OPEN} AND agent_id = ? ORDER BY assigned_at_ms`, agentId);
    },

    async transitionTask(task, from, of) {
      // PENDING is the initial status of a task run: reporting it is not a transition.
      if (task.status !== (from ?? "PENDING")) requireLegal("task", from ?? "PENDING", task.status);
      if (from === null) db.insert("task_runs", task);
      else {
        db.change(
          `task run ${task.task_instance_id}`,
          `UPDATE task_runs SET task_attempt = ?, status = ?, exit_code = ?, signal = ?, error = ?, cpu_ms = ?, max_rss_kb = ?,
             started_at_ms = ?, finished_at_ms = ?, status_at_ms = ?
           WHERE workflow_instance_id = ? AND task_instance_id = ? AND attempt = ? AND status = ?`,
          task.task_attempt,
          task.status,
          task.exit_code,
          task.signal,
          task.error,
          task.cpu_ms,
          task.max_rss_kb,
          task.started_at_ms,
          task.finished_at_ms,
          task.status_at_ms,
          task.workflow_instance_id,
          task.task_instance_id,
          task.attempt,
          from,
        );
      }
      writeTaskStatus(db, task, of, isTerminal(TASK_TRANSITIONS, task.status) ? 1 : 0);
    },

    async getTaskRun(runId, taskInstanceId) {
      return db.one<TaskRunRecord>(
        `SELECT ${TASK_RUN_COLUMNS} FROM task_runs WHERE workflow_instance_id = ? AND task_instance_id = ?`,
        runId,
        taskInstanceId,
      );
    },

    async listTaskRuns(runId) {
      const sql = `SELECT ${TASK_RUN_COLUMNS} FROM task_runs WHERE workflow_instance_id = ? ORDER BY seq`;
      return db.all<TaskRunRecord>(sql, runId);
    },

    async completedTasks(runId) {
      return db
        .all<{ task_id: string }>(
          "SELECT task_id FROM task_runs WHERE workflow_instance_id = ? AND status = 'COMPLETED' GROUP BY task_id ORDER BY min(seq)",
          runId,
        )
        .map((row) => row.task_id);
    },

    async countRunningTasks() {
      const rows = db.all<{ agent_id: string; n: number }>(
        `SELECT agent_id, count(*) AS n FROM attempts JOIN task_runs USING (workflow_instance_id, attempt)
         WHERE lease IN ('OFFERED', 'HELD') AND task_runs.status = 'RUNNING' GROUP BY agent_id`,
      );
      return new Map(rows.map(({ agent_id, n }) => [agent_id, n]));
    },
  };
}
