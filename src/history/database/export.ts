/** Exports of the history: Parquet files, and a copy of the database. */
import { join } from "node:path";
import type { DuckDBConnection } from "@duckdb/node-api";
import { pause } from "../../timer.ts";
import { quoteName, quoteText } from "./duckdb.ts";
import { logOrder } from "./logs.ts";

/**
 * Writes one Parquet file per table and view. The connection is in a transaction, so all show the same state.
 * @returns file name → number of rows
 */
export async function exportTables(
  connection: DuckDBConnection,
  directory: string,
  disordered: boolean,
): Promise<Map<string, number>> {
  const { from, time } = logOrder(disordered);
  const queries: Readonly<Record<string, string>> = {
    logstore: `SELECT l.* FROM ${from} ORDER BY ${time}, l.rowid`,
    workflow_run_status: "SELECT * FROM workflow_run_status ORDER BY rowid",
    task_run_status: "SELECT * FROM task_run_status ORDER BY rowid",
    workflow_runs: "SELECT * FROM workflow_runs ORDER BY created_at_ms, workflow_instance_id",
    task_runs: "SELECT * FROM task_runs ORDER BY created_at_ms, task_instance_id",
  };
  const rows = new Map<string, number>();
  for (const [table, query] of Object.entries(queries)) {
    const name = `${table}.parquet`;
    const result = await connection.run(
      `COPY (${query}) TO ${quoteText(join(directory, name))} (FORMAT parquet, COMPRESSION zstd)`,
    );
    rows.set(name, result.rowsChanged);
  }
  return rows;
}

/** Interval between attempts to checkpoint a copy, ms. */
const CHECKPOINT_AGAIN_MS = 50;
/** Their number: a minute's worth. */
const CHECKPOINT_TRIES = 1200;

/** The moment of which a copy is. */
export interface BackupMoment {
  /** Awaited when everything is ready, just before it is decided what the copy contains. */
  readonly before?: () => Promise<void>;
  /** Called when that is decided: what is written later is not part of it. */
  readonly fixed?: () => void;
}

/** Writes a copy of the database, read in one transaction. */
export async function writeBackup(
  connection: DuckDBConnection,
  file: string,
  { before, fixed }: BackupMoment = {},
): Promise<void> {
  const target = quoteName(`backup_${crypto.randomUUID().replaceAll("-", "")}`);
  const source = quoteName(String((await connection.runAndReadAll("SELECT current_database()")).value(0, 0)));
  await connection.run(`ATTACH ${quoteText(file)} AS ${target}`);
  try {
    // The schema does not change while the database is open.
    await connection.run(`COPY FROM DATABASE ${source} TO ${target} (SCHEMA)`);
    await before?.();
    await connection.run("BEGIN TRANSACTION");
    try {
      // The transaction begins to see the database with the first statement that reads it.
      const tables = await connection.runAndReadAll(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database() AND (SELECT count(*) FROM ingest_cursor) >= 0",
      );
      fixed?.();
      for (const [table] of tables.getRows()) {
        const name = quoteName(String(table));
        await connection.run(`INSERT INTO ${target}.${name} FROM ${source}.${name}`);
      }
      await connection.run("COMMIT");
      // Detaching does it too, but later, if another statement looks at all databases just then.
      await checkpoint(connection, target);
    } catch (error) {
      await connection.run("ROLLBACK").catch(() => {});
      throw error;
    }
  } finally {
    await detach(connection, target);
  }
}

/** Writes everything into the one file of the copy. */
async function checkpoint(connection: DuckDBConnection, target: string): Promise<void> {
  for (let tries = CHECKPOINT_TRIES; ; tries--) {
    try {
      await connection.run(`CHECKPOINT ${target}`);
      return;
    } catch (error) {
      // A statement that looks at all databases, as when another backup begins, may be at work in this one too.
      if (tries === 0 || !/transactions active/.test(String(error))) throw error;
    }
    await pause(CHECKPOINT_AGAIN_MS);
  }
}

/** Detaches the copy. Whatever interrupts the copying may interrupt this too, but the copy must not stay attached. */
async function detach(connection: DuckDBConnection, target: string): Promise<void> {
  for (let tries = 5; ; tries--) {
    try {
      await connection.run(`DETACH ${target}`);
      return;
    } catch (error) {
      if (tries === 0) throw error;
    }
  }
}
