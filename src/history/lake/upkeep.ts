/**
 * Keeps a lake in order: small files become larger ones, snapshots that nobody needs go, and with them the files that only they had.
 *
 * Decided by experiments with DuckLake 1.0:
 * - Nothing here can lose or double a row: each statement is a transaction of DuckLake, which changes where rows are. It conflicts with a
 *   commit of the writer only in tables whose rows are updated: there it waits for its turn.
 * - Rows below the inlining limit are in the catalog. So are the dead rows of updated tables, which nothing but a flush removes.
 * - Files are merged in two tiers: each pass those below 8 MB, so that a file is not written anew every ten minutes until it is full, and
 *   once a day those up to the target size.
 * - Ages are told as options of the lake, which compares them with the clock of PostgreSQL: a time as a parameter is compared in the
 *   time zone of the session.
 * - `ducklake_delete_orphaned_files` is never called: it takes whatever its catalog does not know for a leftover, also the files of
 *   another lake in the same place.
 */
import type { DuckDBConnection } from "@duckdb/node-api";
import { quoteText } from "../database/duckdb.ts";
import type { Upkeep } from "../database/place.ts";
import { type InTurn, repeated } from "./conflict.ts";

/** Files of less than this are merged in each pass, bytes. */
const SMALL_FILE_BYTES = 8_000_000;
/** How large files get, as an option is given and as it is kept, bytes. */
const TARGET_FILE_SIZE = ["128MB", "128000000"] as const;
/** The share of the rows of a file that must be deleted before it is written anew. */
const REWRITES = "delete_threshold => 0.3";
/** The table whose rows change with each write. */
const UPDATED = "ingest_cursor";
/** Whoever has begun to read a file is done after this time. */
const READERS_END = "1 day";

/** How a pass is done. */
export interface UpkeepOptions {
  /** Whether files up to the target size are merged too. */
  readonly isLong: boolean;
  /** Asked before each statement: the pass ends early then. */
  readonly isStopping: () => boolean;
  /** Waits for the transactions of the writer, and has it wait. */
  readonly inTurn: InTurn;
}

/**
 * Sets how the lake writes and how long it keeps what; only what is not so already.
 * @param catalog the name under which the lake is attached
 * @param keepSnapshotsDays null for ever
 * @throws errors of DuckDB
 */
export async function setLakeOptions(
  connection: DuckDBConnection,
  catalog: string,
  keepSnapshotsDays: number | null,
): Promise<void> {
  const wanted: Readonly<Record<string, string | readonly [given: string, kept: string]>> = {
    parquet_compression: "zstd",
    target_file_size: TARGET_FILE_SIZE,
    delete_older_than: READERS_END,
    // DuckLake's empty text: nothing expires by itself.
    expire_older_than: keepSnapshotsDays === null ? "" : `${keepSnapshotsDays} days`,
  };
  const reader = await connection.runAndReadAll(
    `SELECT option_name, value FROM ducklake_options(${quoteText(catalog)}) WHERE scope = 'GLOBAL'`,
  );
  const present = new Map(reader.getRows().map(([name, value]) => [String(name), String(value)]));
  for (const [name, value] of Object.entries(wanted)) {
    const [given, kept] = typeof value === "string" ? [value, value] : value;
    if ((present.get(name) ?? "") === kept) continue;
    await connection.run(
      `CALL ducklake_set_option(${quoteText(catalog)}, ${quoteText(name)}, ${quoteText(given)})`,
    );
  }
}

/**
 * One pass.
 * @param catalog the name under which the lake is attached
 * @throws errors of DuckDB; what was done before is done
 */
export async function keepUp(
  connection: DuckDBConnection,
  catalog: string,
  { isLong, isStopping, inTurn }: UpkeepOptions,
): Promise<Upkeep> {
  const name = quoteText(catalog);
  const rowsOf = async (statement: string) => {
    if (isStopping()) return [];
    return (await repeated(() => connection.runAndReadAll(statement))).getRows();
  };
  const sum = (rows: readonly (readonly unknown[])[], column: number) =>
    rows.reduce((total, row) => total + Number(row[column]), 0);
  const [flushed, updated] = await inTurn(async () => [
    await rowsOf(`CALL ducklake_flush_inlined_data(${name})`),
    await rowsOf(`CALL ducklake_rewrite_data_files(${name}, ${quoteText(UPDATED)}, ${REWRITES})`),
  ]);
  const size = isLong ? "" : `, max_file_size => ${SMALL_FILE_BYTES}`;
  const merged = await rowsOf(`CALL ducklake_merge_adjacent_files(${name}${size})`);
  const rewritten = [...updated, ...(await rowsOf(`CALL ducklake_rewrite_data_files(${name}, ${REWRITES})`))];
  const expired = await rowsOf(`CALL ducklake_expire_snapshots(${name})`);
  const removed = await rowsOf(`CALL ducklake_cleanup_old_files(${name})`);
  return {
    flushedRows: sum(flushed, 2),
    mergedFiles: sum(merged, 2) + sum(rewritten, 2),
    writtenFiles: sum(merged, 3) + sum(rewritten, 3),
    expiredSnapshots: expired.length,
    removedFiles: removed.length,
  };
}
