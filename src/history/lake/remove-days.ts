/** Deletes old days from a lake, which has no archive: its rows are in Parquet files from the beginning. */
import type { DuckDBConnection } from "@duckdb/node-api";
import { DAY_MS, dayName } from "../database/archive-layout.ts";
import { audit, deleteRows, type Removed, rowsOf } from "../database/remove-history.ts";
import { NEWEST, TERMINAL } from "../database/schema.ts";

/** Tables whose rows belong to a run, and those whose rows have nothing but a time. */
const OF_RUNS = ["logstore", "workflow_run_status", "task_run_status"] as const;
const OF_DAYS = ["audit_log", "alert_log"] as const;

/** See `removeDays` of `LakeCare`. @throws errors of DuckDB */
export async function removeDaysOfLake(
  connection: DuckDBConnection,
  firstKept: number,
  nowMs: number,
  isTrial: boolean,
): Promise<Removed[]> {
  const cut = `${firstKept * DAY_MS}::BIGINT`;
  await connection.run(
    `CREATE OR REPLACE TEMP TABLE archive_removed AS
     SELECT workflow_instance_id AS run FROM main.workflow_run_status
     WHERE workflow_instance_id IN (SELECT workflow_instance_id FROM main.workflow_run_status WHERE timestamp_ms < ${cut})
     GROUP BY workflow_instance_id
     HAVING max(timestamp_ms) < ${cut} AND arg_max(status, ${NEWEST}) IN ${TERMINAL}`,
  );
  await connection.run(
    `INSERT INTO temp.archive_removed
     SELECT DISTINCT workflow_instance_id FROM main.logstore l WHERE timestamp_ms < ${cut}
       AND NOT EXISTS (FROM main.workflow_run_status s WHERE s.workflow_instance_id = l.workflow_instance_id)`,
  );
  const parts: Removed["parts"][number][] = [];
  for (const table of OF_RUNS) {
    const rows = await deleteRows(
      connection,
      table,
      "workflow_instance_id IN (SELECT run FROM temp.archive_removed)",
      isTrial,
    );
    if (rows > 0) parts.push({ table, rows, bytes: 0 });
  }
  for (const table of OF_DAYS) {
    const rows = await deleteRows(connection, table, `timestamp_ms < ${cut}`, isTrial);
    if (rows > 0) parts.push({ table, rows, bytes: 0 });
  }
  await connection.run("DROP TABLE temp.archive_removed");
  if (parts.length === 0) return [];
  const subject = `before ${dayName(firstKept)}`;
  if (!isTrial) await audit(connection, nowMs, subject, { why: "CDKTR_ARCHIVE_KEEP", ...rowsOf(parts) });
  return [{ subject, runs: null, parts }];
}
