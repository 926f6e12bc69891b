/** Statements about the loaded workflows and their schedules. */
import type {
  PlainWorkflowVersion,
  ScheduleCursor,
  SchedulePosition,
  WorkflowIntentions,
  WorkflowVersion,
} from "../store.ts";
import type { Statements } from "./statements.ts";

/** The operations of a unit of work on workflows. */
export function workflowIntentions(db: Statements): WorkflowIntentions {
  return {
    async listWorkflowVersions(afterId = "", limit = -1) {
      return db.all<WorkflowVersion>(
        "SELECT * FROM workflow_files WHERE workflow_id > ? ORDER BY workflow_id LIMIT ?",
        afterId,
        limit,
      );
    },

    async listPlainVersions(afterId, limit) {
      return db.all<PlainWorkflowVersion>(
        `SELECT * FROM workflow_versions AS plain
         WHERE workflow_id > ? AND NOT EXISTS (SELECT 1 FROM workflow_files AS other WHERE other.workflow_id = plain.workflow_id)
         ORDER BY workflow_id LIMIT ?`,
        afterId,
        limit,
      );
    },

    async putWorkflowVersion({ workflow_id, path, fingerprint, facts, texts }, isSame = false) {
      if (!isSame) db.run("DELETE FROM workflow_versions WHERE workflow_id = ?", workflow_id);
      db.run(
        "INSERT OR REPLACE INTO workflow_files (workflow_id, path, fingerprint, facts, texts) VALUES (?, ?, ?, ?, ?)",
        workflow_id,
        path,
        fingerprint,
        facts,
        texts,
      );
    },

    async dropWorkflow(workflowId) {
      db.run("DELETE FROM workflow_versions WHERE workflow_id = ?", workflowId);
      db.run("DELETE FROM workflow_files WHERE workflow_id = ?", workflowId);
      db.run("DELETE FROM schedule_cursors WHERE workflow_id = ?", workflowId);
      db.run("DELETE FROM schedule_positions WHERE workflow_id = ?", workflowId);
    },

    async listScheduleCursors() {
      return db.all<ScheduleCursor>("SELECT * FROM schedule_cursors");
    },

    async setSchedule(workflowId, schedule, cursorMs) {
      if (schedule === null) db.run("DELETE FROM schedule_cursors WHERE workflow_id = ?", workflowId);
      else {
        db.run(
          `INSERT INTO schedule_cursors (workflow_id, schedule, cursor_ms) VALUES (?, ?, ?)
           ON CONFLICT (workflow_id) DO UPDATE SET schedule = excluded.schedule, cursor_ms = excluded.cursor_ms
             WHERE schedule <> excluded.schedule`,
          workflowId,
          schedule,
          cursorMs,
        );
      }
    },

    async listSchedulePositions() {
      return db.all<SchedulePosition>("SELECT * FROM schedule_positions");
    },

    async setPositions(workflowId, positions) {
      db.run(
        "DELETE FROM schedule_positions WHERE workflow_id = ? AND entry NOT IN (SELECT value FROM json_each(?))",
        workflowId,
        JSON.stringify([...positions.keys()]),
      );
      for (const [entry, cursor_ms] of positions) {
        const row: SchedulePosition = { workflow_id: workflowId, entry, cursor_ms };
        db.insert("schedule_positions", row, "ON CONFLICT DO NOTHING");
      }
    },

    async moveSchedule(workflowId, firedMs, nowMs, entry = null) {
      if (entry !== null) {
        db.run(
          "UPDATE schedule_positions SET cursor_ms = ?1 WHERE workflow_id = ?2 AND entry = ?4 AND (cursor_ms < ?1 OR cursor_ms > ?3)",
          firedMs,
          workflowId,
          nowMs,
          entry,
        );
        return;
      }
      db.run(
        "UPDATE schedule_cursors SET cursor_ms = ?1 WHERE workflow_id = ?2 AND (cursor_ms < ?1 OR cursor_ms > ?3)",
        firedMs,
        workflowId,
        nowMs,
      );
    },
  };
}
