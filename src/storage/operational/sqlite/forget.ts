/** Statements that delete what is no longer needed. */
import type { HousekeepingIntentions } from "../store.ts";
import type { Statements } from "./statements.ts";

/** Maximum rows per step: a step must not hold up the requests of others. */
const STEP = 200;

/** Maximum number of outputs, of up to 256 KiB each, that are removed per step. */
const OUTPUTS_STEP = 64;

/** The tables whose rows go with their run. */
const OF_RUNS = [
  "task_runs",
  "attempts",
  "slice_attempts",
  "slices",
  "fan_outs",
  "waits",
  // Artifacts stay: see the table.
  "blob_refs",
  "runs",
] as const;

function forgetRun(db: Statements, runId: string): void {
  for (const table of OF_RUNS) db.run(`DELETE FROM ${table} WHERE workflow_instance_id = ?`, runId);
}

/** Removes the definitions that no run has. */
function forgetDefinitions(db: Statements): void {
  db.storedHashes.clear();
  db.run(
    "DELETE FROM definitions WHERE NOT EXISTS (SELECT 1 FROM runs WHERE runs.definition_hash = definitions.hash)",
  );
}

/** The clean-up operations of a unit of work. */
export function housekeepingIntentions(db: Statements): HousekeepingIntentions {
  return {
    async forget({ keepRuns, olderThanMs, followUpsOlderThanMs }) {
      db.run(
        "DELETE FROM follow_ups WHERE seq IN (SELECT seq FROM follow_ups WHERE created_at_ms < ? ORDER BY seq LIMIT ?)",
        followUpsOlderThanMs,
        STEP,
      );
      const oldest = db.one<{ id: number | null }>("SELECT min(id) AS id FROM status_outbox")?.id ?? null;
      const runs = db.all<{ workflow_instance_id: string }>(
        `SELECT workflow_instance_id FROM runs
         WHERE finished_at_ms IS NOT NULL AND (?1 IS NULL OR last_outbox_id < ?1)
           AND seq <= coalesce((SELECT seq FROM runs WHERE finished_at_ms IS NOT NULL ORDER BY seq DESC LIMIT 1 OFFSET ?2), -1)
         ORDER BY seq LIMIT ?3`,
        oldest,
        keepRuns,
        STEP,
      );
      for (const { workflow_instance_id: id } of runs) forgetRun(db, id);
      const keys = db.run(
        "DELETE FROM dedupe_keys WHERE key IN (SELECT key FROM dedupe_keys WHERE created_at_ms < ? LIMIT ?)",
        olderThanMs,
        STEP,
      ).changes;
      db.run(
        `DELETE FROM agent_streams WHERE updated_at_ms < ?
           AND stream_id NOT IN (SELECT stream_id FROM agents WHERE stream_id IS NOT NULL)`,
        olderThanMs,
      );
      if (runs.length > 0) forgetDefinitions(db);
      return { runs: runs.length, more: runs.length === STEP || keys === STEP };
    },

    async forgetRuns(ids) {
      const runs = db.all<{ workflow_instance_id: string }>(
        `SELECT workflow_instance_id FROM runs
         WHERE workflow_instance_id IN (SELECT value FROM json_each(?)) AND finished_at_ms IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM status_outbox WHERE id <= last_outbox_id)`,
        JSON.stringify(ids),
      );
      for (const { workflow_instance_id: id } of runs) forgetRun(db, id);
      if (runs.length > 0) forgetDefinitions(db);
    },

    async outputsBytes() {
      const sql = "SELECT sum(outputs_bytes) AS bytes FROM task_runs WHERE outputs_bytes > 0";
      return db.one<{ bytes: number | null }>(sql)?.bytes ?? 0;
    },

    async runsWithOutputs() {
      return db
        .all<{ workflow_instance_id: string; is_over: number }>(
          `SELECT workflow_instance_id, finished_at_ms IS NOT NULL AS is_over FROM runs
         WHERE workflow_instance_id IN (SELECT workflow_instance_id FROM task_runs WHERE outputs_bytes > 0)
         ORDER BY is_over DESC, seq`,
        )
        .map(({ workflow_instance_id, is_over }) => ({ workflow_instance_id, is_over: is_over === 1 }));
    },

    async moveOutputs(runId, needed) {
      const pending = db.one<{ id: number | null }>("SELECT min(id) AS id FROM status_outbox")?.id ?? null;
      const tasks = db.all<{ seq: number; bytes: number }>(
        `SELECT task_runs.seq, outputs_bytes AS bytes FROM task_runs JOIN runs USING (workflow_instance_id)
         WHERE workflow_instance_id = ?1 AND outputs_bytes > 0 AND task_id NOT IN (SELECT value FROM json_each(?2))
           AND (?3 IS NULL OR coalesce(outputs_row, last_outbox_id) < ?3)
         LIMIT ?4`,
        runId,
        JSON.stringify(needed),
        pending,
        OUTPUTS_STEP,
      );
      for (const { seq } of tasks)
        db.run("UPDATE task_runs SET outputs = NULL, outputs_moved = 1 WHERE seq = ?", seq);
      return {
        bytes: tasks.reduce((sum, { bytes }) => sum + bytes, 0),
        more: tasks.length === OUTPUTS_STEP,
      };
    },
  };
}
