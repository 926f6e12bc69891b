/** Statements about the evaluations of alert files. */
import type { QueryAlertIntentions, QueryAlertRecord, QueryRowRecord } from "../query-alerts.ts";
import type { Statements } from "./statements.ts";

type StoredRow = Omit<QueryRowRecord, "is_raised"> & { readonly is_raised: number };

/** The operations of a unit of work on the evaluations of alert files. */
export function queryAlertIntentions(db: Statements): QueryAlertIntentions {
  return {
    async listQueryAlerts() {
      return db.all<QueryAlertRecord>(
        `SELECT file, evaluated_at_ms, coalesce(next_ms, 0) AS next_ms, error, coalesce(rows, 0) AS rows, failures
         FROM query_alerts ORDER BY file`,
      );
    },

    async putQueryAlert({ file, evaluated_at_ms, next_ms, error, rows, failures }) {
      db.run(
        `INSERT OR REPLACE INTO query_alerts (file, evaluated_at_ms, next_ms, error, rows, failures)
         VALUES (?, ?, ?, ?, ?, ?)`,
        file,
        evaluated_at_ms,
        next_ms,
        error,
        rows,
        failures,
      );
    },

    async removeQueryAlert(file) {
      db.run("DELETE FROM query_alerts WHERE file = ?", file);
      db.run("DELETE FROM query_rows WHERE file = ?", file);
    },

    async listQueryRows(file) {
      return db
        .all<StoredRow>("SELECT key, since_ms, is_raised FROM query_rows WHERE file = ? ORDER BY key", file)
        .map((row) => ({ ...row, is_raised: row.is_raised === 1 }));
    },

    async putQueryRow(file, { key, since_ms, is_raised }) {
      db.run(
        "INSERT OR REPLACE INTO query_rows (file, key, since_ms, is_raised) VALUES (?, ?, ?, ?)",
        file,
        key,
        since_ms,
        is_raised ? 1 : 0,
      );
    },

    async removeQueryRow(file, key) {
      db.run("DELETE FROM query_rows WHERE file = ? AND key = ?", file, key);
    },

    async countQueryRows() {
      const rows = db.all<{ file: string; raised: number; pending: number }>(
        "SELECT file, sum(is_raised) AS raised, sum(1 - is_raised) AS pending FROM query_rows GROUP BY file",
      );
      return new Map(rows.map(({ file, ...counts }) => [file, counts]));
    },
  };
}
