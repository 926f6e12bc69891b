/** Statements about pauses of workflows. */
import {
  type HeldByPause,
  type MissedEvent,
  PARKED,
  PARKED_ANY,
  type PauseIntentions,
  type PauseRecord,
} from "../pauses.ts";
import { runsWhere } from "./runs.ts";
import type { Statements } from "./statements.ts";

const COLUMNS = "workflow_id, paused_at_ms, paused_by, reason, is_auto, until_ms";
const PAUSES = `SELECT ${COLUMNS} FROM workflow_states WHERE paused_at_ms IS NOT NULL`;

type StoredPause = Omit<PauseRecord, "is_auto"> & { is_auto: number };

const toPause = (row: StoredPause): PauseRecord => ({ ...row, is_auto: row.is_auto === 1 });

/** Needs of what is parked are a range of texts. */
const AFTER_PARKED = PARKED.replace(/:$/, ";");
const isParked = (needs = "needs") => `${needs} >= '${PARKED}' AND ${needs} < '${AFTER_PARKED}'`;
const PARK = `'${PARKED}' || CASE needs WHEN '' THEN '${PARKED_ANY}' ELSE needs END`;
const UNPARK = `CASE needs WHEN '${PARKED}${PARKED_ANY}' THEN '' ELSE substr(needs, ${PARKED.length + 1}) END`;

/** A run that no agent has, and that has not begun. Next attempts of those that have begun go on. */
const NOT_BEGUN =
  "status = 'PENDING' AND started_at_ms IS NULL AND finished_at_ms IS NULL AND agent_id IS NULL";
/** Slices of such runs of a workflow that are queued. */
const SLICES_OF = `SELECT slices.seq FROM runs INDEXED BY runs_open JOIN slices USING (workflow_instance_id)
  WHERE runs.workflow_id = ?1 AND ${NOT_BEGUN} AND runs.revision > 0 AND slices.state = 'QUEUED'`;

/** The operations of a unit of work on pauses. */
export function pauseIntentions(db: Statements): PauseIntentions {
  return {
    async getPause(workflowId) {
      const row = db.one<StoredPause>(`${PAUSES} AND workflow_id = ?`, workflowId);
      return row === null ? null : toPause(row);
    },

    async listPauses() {
      return db.all<StoredPause>(`${PAUSES} ORDER BY workflow_id`).map(toPause);
    },

    async setPause({ workflow_id, paused_at_ms, paused_by, reason, is_auto, until_ms }, nowMs) {
      db.run(
        `INSERT INTO workflow_states (${COLUMNS}, changed_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (workflow_id) DO UPDATE SET paused_at_ms = excluded.paused_at_ms, paused_by = excluded.paused_by, reason = excluded.reason,
           is_auto = excluded.is_auto, until_ms = excluded.until_ms, changed_at_ms = excluded.changed_at_ms`,
        workflow_id,
        paused_at_ms,
        paused_by,
        reason,
        is_auto ? 1 : 0,
        until_ms,
        nowMs,
      );
    },

    async endPause(workflowId, nowMs) {
      const { changes } = db.run(
        `UPDATE workflow_states SET paused_at_ms = NULL, paused_by = NULL, reason = NULL, is_auto = 0, until_ms = NULL, failures = 0,
           changed_at_ms = ? WHERE workflow_id = ? AND paused_at_ms IS NOT NULL`,
        nowMs,
        workflowId,
      );
      return changes > 0;
    },

    async parkQueued(workflowId, limit) {
      const runs = db.run(
        `UPDATE runs SET needs = ${PARK} WHERE seq IN (
           SELECT seq FROM runs INDEXED BY runs_queue WHERE queued = 1 AND workflow_id = ?1 AND ${NOT_BEGUN} AND NOT (${isParked()}) LIMIT ?2)`,
        workflowId,
        limit,
      ).changes;
      if (runs >= limit) return runs;
      const slices = db.run(
        `UPDATE slices SET needs = ${PARK} WHERE seq IN (${SLICES_OF} AND NOT (${isParked("slices.needs")}) LIMIT ?2)`,
        workflowId,
        limit - runs,
      ).changes;
      return runs + slices;
    },

    async unparkQueued(workflowId, limit) {
      const runs = db.run(
        `UPDATE runs SET needs = ${UNPARK} WHERE seq IN (
           SELECT seq FROM runs INDEXED BY runs_queue_by_needs WHERE queued = 1 AND ${isParked()} AND workflow_id = ?1 LIMIT ?2)`,
        workflowId,
        limit,
      ).changes;
      if (runs >= limit) return runs;
      const slices = db.run(
        `UPDATE slices SET needs = ${UNPARK} WHERE seq IN (
           SELECT slices.seq FROM slices INDEXED BY slices_queue JOIN runs USING (workflow_instance_id)
           WHERE slices.state = 'QUEUED' AND ${isParked("slices.needs")} AND runs.workflow_id = ?1 LIMIT ?2)`,
        workflowId,
        limit - runs,
      ).changes;
      return runs + slices;
    },

    async pausedRuns(workflowId, limit) {
      return runsWhere(
        db,
        `workflow_id = ? AND hold = 'pause' AND finished_at_ms IS NULL
         ORDER BY coalesce(rank_ms, created_at_ms) - priority * 600000, seq LIMIT ?`,
        workflowId,
        limit,
      );
    },

    async countPaused(workflowId) {
      const found = db.one<HeldByPause>(
        `SELECT
           (SELECT count(*) FROM runs INDEXED BY runs_paused WHERE workflow_id = ?1 AND hold = 'pause' AND finished_at_ms IS NULL) AS held,
           (SELECT count(*) FROM runs INDEXED BY runs_queue_by_needs WHERE queued = 1 AND ${isParked()} AND workflow_id = ?1)
             + (SELECT count(DISTINCT runs.seq) FROM slices INDEXED BY slices_queue JOIN runs USING (workflow_instance_id)
                WHERE slices.state = 'QUEUED' AND ${isParked("slices.needs")} AND runs.workflow_id = ?1) AS parked,
           (SELECT count(*) FROM runs INDEXED BY runs_open WHERE finished_at_ms IS NULL AND workflow_id = ?1
             AND (status <> 'PENDING' OR started_at_ms IS NOT NULL OR agent_id IS NOT NULL)) AS begun`,
        workflowId,
      );
      return found ?? { held: 0, parked: 0, begun: 0 };
    },

    async countAllPaused() {
      const found = db.one<{ n: number }>(
        `SELECT (SELECT count(*) FROM runs INDEXED BY runs_paused WHERE hold = 'pause' AND finished_at_ms IS NULL)
           + (SELECT count(*) FROM runs INDEXED BY runs_queue_by_needs WHERE queued = 1 AND ${isParked()})
           + (SELECT count(DISTINCT workflow_instance_id) FROM slices INDEXED BY slices_queue WHERE state = 'QUEUED' AND ${isParked()}) AS n`,
      );
      return found?.n ?? 0;
    },

    async workflowsAtRest() {
      return db
        .all<{ id: string }>(
          `SELECT DISTINCT workflow_id AS id FROM runs INDEXED BY runs_paused WHERE hold = 'pause' AND finished_at_ms IS NULL
           UNION SELECT workflow_id FROM runs INDEXED BY runs_queue_by_needs WHERE queued = 1 AND ${isParked()}
           UNION SELECT runs.workflow_id FROM slices INDEXED BY slices_queue JOIN runs USING (workflow_instance_id)
             WHERE slices.state = 'QUEUED' AND ${isParked("slices.needs")}
           UNION SELECT workflow_id FROM missed_events`,
        )
        .map(({ id }) => id);
    },

    async addMissedEvent(event, keep) {
      const { workflow_id, workflow_instance_id, trigger, options, at_ms } = event;
      db.insert("missed_events", { workflow_id, workflow_instance_id, trigger, options, at_ms });
      return db.run(
        `DELETE FROM missed_events WHERE workflow_id = ?1 AND seq NOT IN (
           SELECT seq FROM missed_events WHERE workflow_id = ?1 ORDER BY seq DESC LIMIT ?2)`,
        workflow_id,
        keep,
      ).changes;
    },

    async missedEvents(workflowId, limit) {
      return db.all<MissedEvent>(
        `SELECT workflow_id, workflow_instance_id, trigger, options, at_ms FROM missed_events
         WHERE workflow_id = ? ORDER BY seq LIMIT ?`,
        workflowId,
        limit,
      );
    },

    async dropMissedEvent({ workflow_id, workflow_instance_id }) {
      const sql = "DELETE FROM missed_events WHERE workflow_id = ? AND workflow_instance_id = ?";
      db.run(sql, workflow_id, workflow_instance_id);
    },

    async countFailure(workflowId, hasFailed, nowMs) {
      // A workflow that has never failed needs no row.
      if (!hasFailed)
        db.run(
          "UPDATE workflow_states SET failures = 0, changed_at_ms = ? WHERE workflow_id = ? AND failures > 0",
          nowMs,
          workflowId,
        );
      else
        db.run(
          `INSERT INTO workflow_states (workflow_id, failures, changed_at_ms) VALUES (?, 1, ?)
           ON CONFLICT (workflow_id) DO UPDATE SET failures = failures + 1, changed_at_ms = excluded.changed_at_ms`,
          workflowId,
          nowMs,
        );
      const sql = "SELECT failures FROM workflow_states WHERE workflow_id = ?";
      return db.one<{ failures: number }>(sql, workflowId)?.failures ?? 0;
    },

    async forgetWorkflowStates(beforeMs) {
      db.run(
        `DELETE FROM workflow_states WHERE paused_at_ms IS NULL AND changed_at_ms < ?
           AND NOT EXISTS (SELECT 1 FROM workflow_files WHERE workflow_files.workflow_id = workflow_states.workflow_id)`,
        beforeMs,
      );
    },
  };
}
