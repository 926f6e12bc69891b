/** Examines a history database that no principal has open. */
import { loadDuckDB } from "./duckdb.ts";

/**
 * Opens a database file for reading and counts its status rows.
 * @throws errors of DuckDB when it cannot be read: it is damaged, locked, or has a newer format
 */
export async function countHistory(path: string): Promise<number> {
  const { DuckDBInstance } = await loadDuckDB();
  const instance = await DuckDBInstance.create(path, { access_mode: "READ_ONLY", threads: "1" });
  try {
    const connection = await instance.connect();
    const reader = await connection.runAndReadAll("SELECT count(*) FROM workflow_run_status");
    const count = Number(reader.getRows()[0]?.[0] ?? 0);
    connection.closeSync();
    return count;
  } finally {
    instance.closeSync();
  }
}
