/**
 * Moves a history: from the file of one principal, with its archive, into a lake, and back. The original stays under another name. What
 * arrives is compared with it before it counts. Each way may end at any moment, and be taken again: what is in the lake by then stays.
 */
import { chmodSync, existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import type { DuckDBConnection } from "@duckdb/node-api";
import { archiveDirectory } from "../../contract/archive-files.ts";
import { type LakeSettings, movedHistory, nameOfLake } from "../../contract/history.ts";
import { CdktrError, NotFoundError, UnprocessableError } from "../../errors.ts";
import { syncToDisk } from "../../host/sync-to-disk.ts";
import { quoteName, quoteText } from "../database/duckdb.ts";
import { HistoryDatabase } from "../database/history-database.ts";
import type { OpenHistory } from "../database/place.ts";
import { TABLES } from "../database/schema.ts";
import { lake } from "./lake.ts";

/** A table that was moved. */
export interface MovedTable {
  readonly table: string;
  readonly rows: number;
  /** The sum of the hashes of its rows: the same on both sides. */
  readonly hash: string;
}

/** What {@link moveIntoLake} and {@link moveIntoDatabase} need. */
export interface HistoryMoveOptions {
  /** The DuckDB file of one principal. */
  readonly path: string;
  readonly lake: LakeSettings;
  /** A directory for copies and temporary files, on the disk of the file. */
  readonly directory: string;
  readonly progress?: (done: number, all: number, table: string) => void;
}

/** Rows that are sent in one transaction. */
const CHUNK_ROWS = 1_000_000;

/** How many rows of a table have arrived, while they do: the kind of these rows of `ingest_cursor`. */
const MOVING = "moving";

/** The tables in which rows are in order, and those beside them. */
const MOVED: readonly string[] = [...Object.keys(TABLES), "log_disorder"];

/** What follows the path of a file in that of its archive. */
const ARCHIVE = archiveDirectory("") ?? "";

/**
 * Moves the history of a file into a lake. The file stays, as `.moved`, and so does its archive.
 * @throws NotFoundError when there is no file
 * @throws UnprocessableError when the lake has another history
 * @throws HistoryUnavailableError when one of them cannot be used
 */
export async function moveIntoLake(options: HistoryMoveOptions): Promise<readonly MovedTable[]> {
  const { path, directory } = options;
  if (!existsSync(path)) {
    const isDone = existsSync(movedHistory(path));
    // An earlier attempt may have ended before the archive had its other name.
    if (isDone) putArchiveAside(path);
    throw new NotFoundError(
      isDone
        ? `The history was moved already: the former one is kept as ${movedHistory(path)}.`
        : `There is no history ${path}.`,
    );
  }
  const files = join(directory, "moving");
  // All rows in one file, with those of the archive, whatever schema it had.
  const copy = join(files, "history.duckdb");
  rmSync(files, { recursive: true, force: true });
  mkdirSync(files, { recursive: true, mode: 0o700 });
  try {
    await copyOf({ path, filesDirectory: files, tempDirectory: join(files, "temp") }, copy);
    const into = await openLake(options, files);
    let tables: MovedTable[];
    try {
      await into.connection.run(`ATTACH ${quoteText(copy)} AS old (READ_ONLY)`);
      tables = await send(into, options);
      await into.connection.run("DETACH old");
    } finally {
      await into.close(false);
    }
    putAside(path);
    return tables;
  } finally {
    rmSync(files, { recursive: true, force: true });
  }
}

/** Gives the original and its archive their other names, in the place of what an earlier move has left there. */
function putAside(path: string): void {
  const moved = movedHistory(path);
  for (const end of [".wal", ARCHIVE]) rmSync(moved + end, { recursive: true, force: true });
  for (const end of ["", ".wal"]) if (existsSync(path + end)) renameSync(path + end, moved + end);
  putArchiveAside(path);
}

function putArchiveAside(path: string): void {
  if (existsSync(path + ARCHIVE)) renameSync(path + ARCHIVE, movedHistory(path) + ARCHIVE);
  syncToDisk(dirname(path));
}

/**
 * Moves the history of a lake into a file. The lake stays as it is.
 * @throws UnprocessableError when there is a file already
 * @throws HistoryUnavailableError when the lake cannot be used
 */
export async function moveIntoDatabase(options: HistoryMoveOptions): Promise<readonly MovedTable[]> {
  const { path, directory } = options;
  if (existsSync(path))
    throw new UnprocessableError(`There is a history ${path} already. Nothing was changed.`, {
      hint: "Move it away first.",
    });
  const files = join(directory, "moving");
  const copy = join(files, "history.duckdb");
  rmSync(files, { recursive: true, force: true });
  mkdirSync(files, { recursive: true, mode: 0o700 });
  try {
    const place = lake({ settings: options.lake, filesDirectory: files, tempDirectory: join(files, "temp") });
    await copyOf(
      { path: ":memory:", place, filesDirectory: files, tempDirectory: join(files, "temp") },
      copy,
    );
    const from = await openLake(options, files);
    let tables: MovedTable[];
    try {
      await from.connection.run(`ATTACH ${quoteText(copy)} AS old (READ_ONLY)`);
      tables = await compared(from.connection, "lake", "old");
      await from.connection.run("DETACH old");
    } finally {
      await from.close(false);
    }
    chmodSync(copy, 0o600);
    syncToDisk(copy);
    renameSync(copy, path);
    syncToDisk(dirname(path));
    return tables;
  } finally {
    rmSync(files, { recursive: true, force: true });
  }
}

async function copyOf(options: Parameters<typeof HistoryDatabase.open>[0], file: string): Promise<void> {
  const history = await HistoryDatabase.open(options);
  try {
    await history.backupTo(file);
  } finally {
    await history.close();
  }
}

function openLake({ lake: settings }: HistoryMoveOptions, files: string): Promise<OpenHistory> {
  return lake({ settings, filesDirectory: files, tempDirectory: join(files, "temp") }).open();
}

/** Sends what the lake lacks, and compares. */
async function send(into: OpenHistory, options: HistoryMoveOptions): Promise<MovedTable[]> {
  const { connection, writing } = into;
  const arrived = await positions(connection);
  if (arrived.size === 0 && (await hasRows(connection))) {
    // All of it has arrived, and the file was not put aside.
    const same = await compared(connection, "old", "lake").catch((error) => {
      if (!(error instanceof DifferentError)) throw error;
      throw otherHistory(options);
    });
    return same;
  }
  for (const table of MOVED) {
    const all = await number(connection, `SELECT coalesce(max(rowid) + 1, 0) FROM old.main.${table}`);
    const columns = await columnsOf(connection, table);
    for (let from = arrived.get(table) ?? 0; from < all; from += CHUNK_ROWS) {
      const to = Math.min(all, from + CHUNK_ROWS);
      await writing.transact(connection, async () => {
        await connection.run(
          `INSERT INTO ${table} BY NAME SELECT ${columns} FROM old.main.${table} WHERE rowid >= ${from} AND rowid < ${to} ORDER BY rowid`,
        );
        await connection.run(`DELETE FROM ingest_cursor WHERE kind = '${MOVING}' AND id = '${table}'`);
        await connection.run(
          `INSERT INTO ingest_cursor VALUES ('${MOVING}', '${table}', ${to}, ${Date.now()})`,
        );
      });
      options.progress?.(to, all, table);
    }
  }
  const tables = await compared(connection, "old", "lake");
  // The positions last: from now on, the lake is the history.
  await writing.transact(connection, async () => {
    await connection.run(`DELETE FROM ingest_cursor WHERE kind <> 'writer'`);
    await connection.run(
      "INSERT INTO ingest_cursor BY NAME SELECT kind, id, position, updated_ms FROM old.main.ingest_cursor WHERE kind <> 'writer'",
    );
  });
  return tables;
}

/** How many rows of each table have arrived in an earlier attempt. */
async function positions(connection: DuckDBConnection): Promise<Map<string, number>> {
  const reader = await connection.runAndReadAll(
    `SELECT id, position::DOUBLE FROM ingest_cursor WHERE kind = '${MOVING}'`,
  );
  return new Map(reader.getRows().map(([table, position]) => [String(table), Number(position)]));
}

async function hasRows(connection: DuckDBConnection): Promise<boolean> {
  const counts = MOVED.map((table) => `(SELECT count(*) FROM ${table})`).join(" + ");
  return (await number(connection, `SELECT ${counts}`)) > 0;
}

function otherHistory({ lake: settings, path }: HistoryMoveOptions): UnprocessableError {
  return new UnprocessableError(
    `The lake ${nameOfLake(settings)} has a history already, and it is not the one in ${path}. Nothing was changed.`,
    { hint: "Name another schema of the catalog (?schema=NAME), and another place for its files." },
  );
}

/** Both sides are not the same. */
class DifferentError extends CdktrError {}

/** @throws DifferentError when a table is not the same in both */
async function compared(connection: DuckDBConnection, one: string, other: string): Promise<MovedTable[]> {
  const tables: MovedTable[] = [];
  for (const table of MOVED) {
    const columns = await columnsOf(connection, table);
    const [here, there] = await Promise.all([
      digest(connection, one, table, columns),
      digest(connection, other, table, columns),
    ]);
    if (here.hash !== there.hash || here.rows !== there.rows)
      throw new DifferentError(
        `The table ${table} is not the same on both sides: ${here.rows} rows were there, ${there.rows} have arrived.`,
        { hint: "Nothing was removed. Please report it." },
      );
    tables.push({ table, ...here });
  }
  return tables;
}

async function digest(
  connection: DuckDBConnection,
  database: string,
  table: string,
  columns: string,
): Promise<Omit<MovedTable, "table">> {
  const reader = await connection.runAndReadAll(
    `SELECT count(*)::DOUBLE, coalesce(sum(hash(r)::HUGEINT), 0)::VARCHAR FROM (SELECT ${columns} FROM ${database}.main.${table}) r`,
  );
  const [[rows, hash] = []] = reader.getRows();
  return { rows: Number(rows), hash: String(hash) };
}

/** The columns of a table of the lake, as a lake has them: statuses are text there. */
async function columnsOf(connection: DuckDBConnection, table: string): Promise<string> {
  const reader = await connection.runAndReadAll(
    "SELECT column_name, data_type FROM duckdb_columns() WHERE database_name = 'lake' AND table_name = $1 ORDER BY column_index",
    [table],
  );
  return reader
    .getRows()
    .map(([name, type]) => `${quoteName(String(name))}::${String(type)} AS ${quoteName(String(name))}`)
    .join(", ");
}

async function number(connection: DuckDBConnection, sql: string): Promise<number> {
  return Number((await connection.runAndReadAll(sql)).value(0, 0));
}
