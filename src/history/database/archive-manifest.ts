/**
 * What the archive has: the tables `archive_files` and `archive_state` of the database, which are created when the first day is moved. A
 * database without an archive has neither, and nothing is asked of it.
 */
import type { DuckDBConnection, DuckDBValue } from "@duckdb/node-api";
import type { Table } from "./migrations.ts";
import type { VIEWS } from "./schema.ts";

/** What the archive has files of: the tables, and what the views say of the runs that it has. */
export type Archived = Table | keyof typeof VIEWS;

/** A Parquet file of the archive. */
export interface Part {
  readonly table: Archived;
  /** YYYY-MM-DD, UTC. */
  readonly day: string;
  /** Relative to the archive. */
  readonly file: string;
  readonly rows: number;
  readonly bytes: number;
  /** Sum of the hashes of its rows. */
  readonly hash: string;
  /** The times of its rows, ms: those that lists and searches ask for. */
  readonly minMs: number;
  readonly maxMs: number;
  /** Of lines: whether some are not from the time of their run, or an hour before or after. */
  readonly hasStrays: boolean;
  /** The columns of its rows: a file from before a migration has fewer. */
  readonly columns: readonly string[];
  /** It should be there, and is not. */
  readonly isMissing: boolean;
}

/**
 * Positions of archived rows take the place of `rowid`: they go on from part to part, and are all below 0, so that rows that are still in
 * the database come after them. An attempt has 2^40 positions, half of them below 0.
 */
const FIRST_POSITION = -(2 ** 39);

/** The tables of the manifest. */
export const MANIFEST: readonly string[] = ["archive_files", "archive_state"];

const CREATE = [
  `CREATE TABLE IF NOT EXISTS archive_files(tbl VARCHAR, day VARCHAR, file VARCHAR, rows BIGINT, bytes BIGINT, hash VARCHAR, min_ms BIGINT,
     max_ms BIGINT, strays BOOLEAN, last_position BIGINT, columns VARCHAR, missing BOOLEAN, archived_at_ms BIGINT)`,
  "CREATE TABLE IF NOT EXISTS archive_state(id VARCHAR, directory VARCHAR, passed_at_ms BIGINT)",
];

/** The state of an archive. */
export interface ArchiveState {
  /** Random: the file DATABASE in its directory has it too. */
  readonly id: string;
  /** The directory that the views name. */
  readonly directory: string;
  /** When everything that was due was moved and deleted the last time, ms since the epoch; null for never. */
  readonly passedAtMs: number | null;
}

/** Whether the database has an archive. */
export async function hasManifest(connection: DuckDBConnection): Promise<boolean> {
  const reader = await connection.runAndReadAll(
    "SELECT count(*)::INTEGER FROM duckdb_tables() WHERE table_name = 'archive_state' AND database_name = current_database()",
  );
  return reader.value(0, 0) !== 0;
}

/** Creates the manifest. The connection is in a transaction. */
export async function createManifest(connection: DuckDBConnection, id: string): Promise<void> {
  for (const statement of CREATE) await connection.run(statement);
  await connection.run("INSERT INTO archive_state VALUES ($1, '', NULL)", [id]);
}

/** The state of the archive; null when there is none. */
export async function readState(connection: DuckDBConnection): Promise<ArchiveState | null> {
  if (!(await hasManifest(connection))) return null;
  const reader = await connection.runAndReadAll(
    "SELECT id, directory, passed_at_ms::DOUBLE FROM archive_state",
  );
  const [row] = reader.getRows();
  if (row === undefined) return null;
  return {
    id: String(row[0]),
    directory: String(row[1]),
    passedAtMs: row[2] === null ? null : Number(row[2]),
  };
}

/** Lines of a run are from its time, or from so long before or after it, ms; parts that have others are known to. */
export const SPAN_SLACK_MS = 3_600_000;

/** Where the archive has what is about some runs. */
export interface Span {
  /** The days of the parts that have their statuses: the days on which they ended. */
  readonly days: readonly string[];
  /** The time from the creation of the first to the end of the last, ms; no lines but strays otherwise. */
  readonly fromMs: number;
  readonly toMs: number;
}

/** What is asked of the archive: parts that cannot have any of it are left out. */
export interface Scope {
  /** From this time on, ms. */
  readonly sinceMs?: number | undefined;
  /** Up to and including this time, ms. */
  readonly untilMs?: number | undefined;
  readonly span?: Span | undefined;
}

/** The parts of a table, in the order of their times. */
export async function readParts(
  connection: DuckDBConnection,
  table: Archived | null,
  { sinceMs, untilMs, span }: Scope = {},
): Promise<Part[]> {
  const reader = await connection.runAndReadAll(
    `SELECT tbl, day, file, rows::DOUBLE, bytes::DOUBLE, hash, min_ms::DOUBLE, max_ms::DOUBLE, strays, columns, missing
     FROM main.archive_files
     WHERE ($1::VARCHAR IS NULL OR tbl = $1) AND ($2::DOUBLE IS NULL OR max_ms >= $2) AND ($3::DOUBLE IS NULL OR min_ms <= $3)
     ORDER BY tbl, min_ms, file`,
    [table, sinceMs ?? null, untilMs ?? null],
  );
  const parts = reader.getRows().map(partOf);
  if (span === undefined) return parts;
  const days = new Set(span.days);
  const [from, to] = [span.fromMs - SPAN_SLACK_MS, span.toMs + SPAN_SLACK_MS];
  return parts.filter(({ table, day, minMs, maxMs, hasStrays }) => {
    if (table === "logstore") return hasStrays || (maxMs >= from && minMs <= to);
    // What becomes of a run's alerts is told long after it.
    return table === "alert_log" ? maxMs >= from : days.has(day);
  });
}

function partOf(row: readonly DuckDBValue[]): Part {
  const text = (index: number) => String(row[index]);
  return {
    table: text(0) as Archived,
    day: text(1),
    file: text(2),
    rows: Number(row[3]),
    bytes: Number(row[4]),
    hash: text(5),
    minMs: Number(row[6]),
    maxMs: Number(row[7]),
    hasStrays: row[8] === true,
    columns: text(9).split(","),
    isMissing: row[10] === true,
  };
}

/** The position of the next row of a table that goes into the archive. */
export async function nextPosition(connection: DuckDBConnection, table: Archived): Promise<bigint> {
  const reader = await connection.runAndReadAll(
    "SELECT coalesce(max(last_position) + 1, $2::BIGINT) FROM archive_files WHERE tbl = $1",
    [table, BigInt(FIRST_POSITION)],
  );
  return BigInt(String(reader.value(0, 0)));
}

/** The last position in a part of a table, or in what it was made of; null for a part of a view. */
export async function lastPositionOf(connection: DuckDBConnection, file: string): Promise<bigint | null> {
  const reader = await connection.runAndReadAll(
    "SELECT last_position::VARCHAR FROM archive_files WHERE file = $1",
    [file],
  );
  const value = reader.getRows()[0]?.[0] ?? null;
  return value === null ? null : BigInt(String(value));
}

/** Adds a part. */
export async function addPart(
  connection: DuckDBConnection,
  part: Part & { readonly lastPosition: bigint | null },
  nowMs: number,
): Promise<void> {
  await connection.run(
    "INSERT INTO archive_files VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, false, $12)",
    [
      part.table,
      part.day,
      part.file,
      BigInt(part.rows),
      BigInt(part.bytes),
      part.hash,
      BigInt(part.minMs),
      BigInt(part.maxMs),
      part.hasStrays,
      part.lastPosition,
      part.columns.join(","),
      BigInt(Math.trunc(nowMs)),
    ],
  );
}

/** Takes parts out of the manifest. */
export async function dropParts(connection: DuckDBConnection, files: readonly string[]): Promise<void> {
  await connection.run(
    "DELETE FROM archive_files WHERE file IN (SELECT unnest(from_json($1::VARCHAR, '[\"VARCHAR\"]')))",
    [JSON.stringify(files)],
  );
}

/** Notes which parts are missing. */
export async function noteMissing(connection: DuckDBConnection, files: readonly string[]): Promise<void> {
  await connection.run(
    "UPDATE archive_files SET missing = file IN (SELECT unnest(from_json($1::VARCHAR, '[\"VARCHAR\"]')))",
    [JSON.stringify(files)],
  );
}
