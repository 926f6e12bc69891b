/** Statements about blobs and who refers to them. */
import type { ArtifactsRecord, BlobIntentions } from "../store.ts";
import type { Statements } from "./statements.ts";

const COLUMNS = "task_id, item_key, item_index, task_instance_id, hash, bytes, files";

const UNUSED = `created_at_ms < ? AND NOT EXISTS (SELECT 1 FROM blob_refs WHERE blob_refs.hash = blobs.hash)
  AND NOT EXISTS (SELECT 1 FROM artifacts WHERE artifacts.hash = blobs.hash)`;

/** The operations of a unit of work on blobs. */
export function blobIntentions(db: Statements): BlobIntentions {
  return {
    async addBlob(hash, bytes, nowMs) {
      db.run(
        `INSERT INTO blobs (hash, bytes, created_at_ms, is_whole) VALUES (?, ?, ?, 1)
         ON CONFLICT (hash) DO UPDATE SET created_at_ms = max(created_at_ms, excluded.created_at_ms)`,
        hash,
        bytes,
        nowMs,
      );
    },

    async referToBlob(runId, kind, task, hash) {
      db.run(
        "INSERT OR REPLACE INTO blob_refs (workflow_instance_id, kind, task, path, hash) VALUES (?, ?, ?, '', ?)",
        runId,
        kind,
        task,
        hash,
      );
    },

    async referredBlob(runId, kind, task) {
      return db.one<{ hash: string; bytes: number }>(
        "SELECT hash, bytes FROM blob_refs JOIN blobs USING (hash) WHERE workflow_instance_id = ? AND kind = ? AND task = ?",
        runId,
        kind,
        task,
      );
    },

    async putArtifacts(artifacts) {
      db.insert("artifacts", artifacts, "ON CONFLICT DO NOTHING");
    },

    async carryArtifacts(runId, toRunId) {
      db.run(
        `INSERT INTO artifacts (workflow_instance_id, ${COLUMNS})
         SELECT ?1, ${COLUMNS} FROM artifacts WHERE workflow_instance_id = ?2
           AND task_instance_id IN (SELECT task_instance_id FROM task_runs WHERE workflow_instance_id = ?1)
         ORDER BY seq`,
        toRunId,
        runId,
      );
    },

    async artifactsOf(runId) {
      return db.all<ArtifactsRecord>(
        `SELECT workflow_instance_id, ${COLUMNS} FROM artifacts WHERE workflow_instance_id = ? ORDER BY seq`,
        runId,
      );
    },

    // Without the names of the files: those of thousands of items can have gigabytes.
    async archivesOf(runId, taskIds) {
      return db.all<Pick<ArtifactsRecord, "task_id" | "item_key" | "hash" | "bytes">>(
        `SELECT task_id, item_key, hash, bytes FROM artifacts
         WHERE workflow_instance_id = ? AND task_id IN (SELECT value FROM json_each(?)) ORDER BY seq`,
        runId,
        JSON.stringify(taskIds),
      );
    },

    async hasArtifacts(runId, hash) {
      const sql = "SELECT 1 FROM artifacts WHERE hash = ? AND workflow_instance_id = ? LIMIT 1";
      return db.one(sql, hash, runId) !== null;
    },

    async artifactsBytes(runId, exceptTask) {
      const sql =
        "SELECT coalesce(sum(bytes), 0) AS bytes FROM artifacts WHERE workflow_instance_id = ? AND task_instance_id <> ?";
      return db.one<{ bytes: number }>(sql, runId, exceptTask)?.bytes ?? 0;
    },

    async dropArtifacts(beforeMs, limit) {
      const sql = `DELETE FROM artifacts WHERE seq IN (
        SELECT seq FROM artifacts JOIN blobs USING (hash)
        WHERE created_at_ms < ? AND NOT EXISTS (
          SELECT 1 FROM runs WHERE runs.workflow_instance_id = artifacts.workflow_instance_id AND finished_at_ms IS NULL)
        ORDER BY seq LIMIT ?)`;
      return db.run(sql, beforeMs, limit).changes;
    },

    async endUploads() {
      db.run(
        `DELETE FROM blob_refs WHERE kind = 'upload'
           AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.workflow_instance_id = blob_refs.workflow_instance_id AND finished_at_ms IS NULL)`,
      );
    },

    async unusedBlobs(beforeMs, limit) {
      const sql = `SELECT hash FROM blobs WHERE ${UNUSED} LIMIT ?`;
      return db.all<{ hash: string }>(sql, beforeMs, limit).map(({ hash }) => hash);
    },

    async dropBlob(hash, beforeMs) {
      return db.run(`DELETE FROM blobs WHERE ${UNUSED} AND hash = ?`, beforeMs, hash).changes > 0;
    },

    async hasBlob(hash) {
      return db.one("SELECT 1 FROM blobs WHERE hash = ?", hash) !== null;
    },

    async countBlobs() {
      const sql = "SELECT count(*) AS blobs, coalesce(sum(bytes), 0) AS bytes FROM blobs";
      return db.one<{ blobs: number; bytes: number }>(sql) ?? { blobs: 0, bytes: 0 };
    },
  };
}
