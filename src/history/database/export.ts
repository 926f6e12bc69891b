/** Exports of the history: Parquet files, and a copy of the database. */
import { join } from "node:path";
import type { DuckDBConnection } from "@duckdb/node-api";
import { pause } from "../../timer.ts";
import { type Archived, MANIFEST, type Part, readParts } from "./archive-manifest.ts";
import { quoteName, quoteText } from "./duckdb.ts";
import { orderOfAll } from "./logs.ts";
import type { Table } from "./migrations.ts";
import { TABLES } from "./schema.ts";
import { type AnySources, HISTORY_SCHEMA, TABLES_ALONE } from "./sources.ts";

/**
 * Writes one Parquet file per table and view. The connection is in a transaction, so all show the same state.
 * @returns file name → number of rows
 */
export async function exportTables(
  connection: DuckDBConnection,
  directory: string,
  disordered: boolean,
  sources: AnySources = TABLES_ALONE,
): Promise<Map<string, number>> {
  const { from, time } = await orderOfAll(disordered, sources);
  const all = async (table: Archived, order: string) =>
    `SELECT ${sources.columns(table, "t")} FROM ${await sources.of(table)} t ORDER BY ${order}`;
  const queries: Readonly<Record<string, string>> = {
    logstore: `SELECT ${sources.columns("logstore", "l")} FROM ${from} ORDER BY ${time}, l.rowid`,
    workflow_run_status: await all("workflow_run_status", "t.rowid"),
    task_run_status: await all("task_run_status", "t.rowid"),
    workflow_runs: await all("workflow_runs", "t.created_at_ms, t.workflow_instance_id"),
    task_runs: await all("task_runs", "t.created_at_ms, t.task_instance_id"),
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

/** Creates tables and views in an empty database. @param target its name, quoted */
export type CopySchema = (connection: DuckDBConnection, target: string) => Promise<void>;

/** Copies them from the current database, as they are. */
export async function copyOwnSchema(connection: DuckDBConnection, target: string): Promise<void> {
  const source = await currentDatabase(connection);
  await connection.run(`COPY FROM DATABASE ${source} TO ${target} (SCHEMA)`);
}

async function currentDatabase(connection: DuckDBConnection): Promise<string> {
  return quoteName(String((await connection.runAndReadAll("SELECT current_database()")).value(0, 0)));
}

/** What a copy contains of the archive. */
export type ArchiveInCopy =
  /** Its rows are rows of the copy, which needs nothing else. */
  | { readonly as: "rows"; readonly sources: AnySources }
  /** Its files, which are put beside the copy. */
  | { readonly as: "files"; readonly carry: (parts: readonly Part[]) => Promise<void> };

/** The moment of which a copy is. */
export interface BackupMoment {
  /** Awaited when everything is ready, just before it is decided what the copy contains. */
  readonly before?: () => Promise<void>;
  /** Called when that is decided: what is written later is not part of it. */
  readonly fixed?: () => void;
}

/** Writes a copy of the database, read in one transaction. @param archive undefined: the copy has what is not archived */
export async function writeBackup(
  connection: DuckDBConnection,
  copySchema: CopySchema,
  file: string,
  { before, fixed }: BackupMoment = {},
  archive?: ArchiveInCopy,
): Promise<void> {
  const target = quoteName(`backup_${crypto.randomUUID().replaceAll("-", "")}`);
  const source = await currentDatabase(connection);
  await connection.run(`ATTACH ${quoteText(file)} AS ${target}`);
  try {
    // The schema does not change while the database is open.
    await copySchema(connection, target);
    // The views name files of this host; whoever opens the copy with its archive defines them anew.
    await connection.run(`DROP SCHEMA IF EXISTS ${target}.${HISTORY_SCHEMA} CASCADE`);
    if (archive?.as !== "files")
      for (const table of MANIFEST) await connection.run(`DROP TABLE IF EXISTS ${target}.main.${table}`);
    await before?.();
    await connection.run("BEGIN TRANSACTION");
    try {
      // The transaction begins to see the database with the first statement that reads it.
      const tables = await connection.runAndReadAll(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database() AND (SELECT count(*) FROM ingest_cursor) >= 0",
      );
      fixed?.();
      const hasArchive = tables.getRows().some(([table]) => table === MANIFEST[0]);
      if (hasArchive && archive?.as === "files") await archive.carry(await readParts(connection, null));
      for (const [table] of tables.getRows()) {
        if (archive?.as !== "files" && MANIFEST.includes(String(table))) continue;
        const name = quoteName(String(table));
        if (hasArchive && archive?.as === "rows" && String(table) in TABLES)
          await insertArchived(connection, `${target}.main.${name}`, String(table) as Table, archive);
        await connection.run(`INSERT INTO ${target}.main.${name} BY NAME FROM ${source}.main.${name}`);
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

/** Archived rows come before all others. */
async function insertArchived(
  connection: DuckDBConnection,
  target: string,
  table: Table,
  { sources }: Extract<ArchiveInCopy, { as: "rows" }>,
): Promise<void> {
  for (const part of await sources.parts(table)) {
    const selected = sources.rowsOf(table, part);
    await connection.run(`INSERT INTO ${target} BY NAME ${selected}`);
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
