/** Statements about what runs and tasks wait for without an agent. */
import type { WaitIntentions, WaitRecord } from "../store.ts";
import type { Statements } from "./statements.ts";

const WAITS = "SELECT workflow_instance_id, task, task_instance_id, kind, due_ms, data, since_ms FROM waits";
const BY_KEY = "WHERE workflow_instance_id = ? AND task = ?";

/** The operations of a unit of work on waits. */
export function waitIntentions(db: Statements): WaitIntentions {
  return {
    async addWait(wait) {
      db.insert("waits", wait, "ON CONFLICT DO NOTHING");
    },

    async getWait(runId, task) {
      return db.one<WaitRecord>(`${WAITS} ${BY_KEY}`, runId, task);
    },

    async listWaits(runId) {
      return db.all<WaitRecord>(`${WAITS} WHERE workflow_instance_id = ? ORDER BY task`, runId);
    },

    async changeWait({ workflow_instance_id, task, due_ms, data }) {
      db.run(`UPDATE waits SET due_ms = ?, data = ? ${BY_KEY}`, due_ms, data, workflow_instance_id, task);
    },

    async waitsForEndedRuns() {
      // One that is damaged must not hide the others.
      const child = "CASE WHEN json_valid(data) THEN json_extract(data, '$.child') END";
      const sql = `${WAITS} WHERE kind = 'run' AND ${child} IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.workflow_instance_id = ${child} AND finished_at_ms IS NULL)`;
      return db.all<WaitRecord>(sql);
    },

    async waitsOfKind(kind, limit, workflowId) {
      const isOf =
        "workflow_instance_id IN (SELECT workflow_instance_id FROM runs WHERE workflow_id = ?3 AND finished_at_ms IS NULL)";
      return db.all<WaitRecord>(
        `${WAITS} WHERE kind = ?1 ${workflowId === undefined ? "" : `AND ${isOf}`} ORDER BY since_ms, workflow_instance_id, task LIMIT ?2`,
        ...(workflowId === undefined ? [kind, limit] : [kind, limit, workflowId]),
      );
    },

    async endWait(runId, task) {
      db.run(`DELETE FROM waits ${BY_KEY}`, runId, task);
    },

    async dueWaits(nowMs, limit) {
      return db.all<WaitRecord>(`${WAITS} WHERE due_ms <= ? ORDER BY due_ms LIMIT ?`, nowMs, limit);
    },

    async nextDueWait() {
      const sql = "SELECT min(due_ms) AS next FROM waits WHERE due_ms IS NOT NULL";
      return db.one<{ next: number | null }>(sql)?.next ?? null;
    },
  };
}
