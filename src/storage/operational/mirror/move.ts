/**
 * Moves the state of an installation: from the file of its one principal into PostgreSQL, and back. What arrives is compared with what was
 * there, row by row, before it counts. Each way may end at any moment, and be taken again.
 *
 * Either is one transaction of PostgreSQL, which holds the row of the leader from its beginning: no member leads or commits meanwhile.
 */
import { Database, SQLiteError } from "bun:sqlite";
import { existsSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join, resolve } from "node:path";
import type { ConsolaInstance } from "consola";
import { CdktrError, NotFoundError, UnprocessableError } from "../../../errors.ts";
import { syncToDisk } from "../../../host/sync-to-disk.ts";
import { migrateSqlite } from "../../../migrations/sqlite-migrations.ts";
import { pause } from "../../../timer.ts";
import { prepareClusterTables } from "../../postgres/cluster-schema.ts";
import type { PostgresConnection } from "../../postgres/connection.ts";
import { MOVED_FILE, STATE_FILE } from "../moved.ts";
import { STATE_MIGRATIONS } from "../sqlite/schema.ts";
import { SqliteOperationalStore } from "../sqlite/store.ts";
import { digestsIn, digestsOf } from "./digest.ts";
import { inUse } from "./directory-lock.ts";
import type { Query } from "./query.ts";
import { download, upload } from "./snapshot.ts";
import { quoted, tablesOf } from "./tables.ts";

/** A table that was moved. */
export interface MovedTable {
  readonly table: string;
  readonly rows: number;
  /** Of its rows, in the order of their keys: the same on both sides. */
  readonly sha256: string;
}

/** What {@link moveIntoPostgres} and {@link moveIntoFile} need. */
export interface MoveOptions {
  /** The data directory. */
  readonly directory: string;
  readonly postgres: PostgresConnection;
  readonly log: ConsolaInstance;
  /** Replaces what is at the other end, even if it is something else. */
  readonly isForced: boolean;
  /** Told how many rows have been sent, and how many there are. */
  readonly progress?: (done: number, all: number) => void;
}

/** It was done before. */
export class MovedAlreadyError extends NotFoundError {}

/** How long one statement may take, ms. */
const LONG_MS = 600_000;
/** How long it waits for the lease of a leader that was killed, ms. */
const LEASE_PATIENCE_MS = 5000;
/** What stands in the place of a leader while the state is elsewhere. */
const MOVED_TO = "moved to ";

/** The row of the leader. */
interface Leadership {
  readonly member_id: string | null;
  readonly is_free: boolean;
  /** How long the lease lasts, ms. */
  readonly left_ms: number;
  /** 0: there is no state. */
  readonly schema_version: number;
}

/**
 * Moves the state into PostgreSQL. The file stays, as {@link MOVED_FILE}.
 * @throws NotFoundError when there is no state
 * @throws DataDirectoryInUseError while a principal runs
 * @throws UnprocessableError while a member leads, or when there is another state already
 */
export async function moveIntoPostgres(options: MoveOptions): Promise<readonly MovedTable[]> {
  const { directory, postgres } = options;
  const path = join(directory, STATE_FILE);
  if (!existsSync(path)) throw nothingToMove(directory);
  await prepareClusterTables(postgres);
  const tables = (await foundThere(options)) ?? (await send(options));
  renameSync(path, join(directory, MOVED_FILE));
  syncToDisk(directory);
  return tables;
}

/** What PostgreSQL has, if that is the state already: an earlier attempt has come so far. To open the store would change it. */
async function foundThere({ directory, postgres }: MoveOptions): Promise<MovedTable[] | undefined> {
  using database = locked(directory);
  if (database === undefined) return undefined;
  return await inTransaction(postgres, async (query) => {
    const row = await readLeadership(query);
    if (row.schema_version !== STATE_MIGRATIONS.length || isNote(row.member_id)) return undefined;
    return compared(query, database).catch((error) => {
      if (!(error instanceof DifferentError)) throw error;
      return undefined;
    });
  });
}

async function send(options: MoveOptions): Promise<MovedTable[]> {
  const { directory, postgres, log } = options;
  // Brings it to the schema of this cdktr, with a backup, and leaves no log beside it.
  const store = new SqliteOperationalStore({ directory, log });
  await store.start();
  await store.stop();
  using database = locked(directory);
  if (database === undefined) throw new UnprocessableError(`${directory} is in use.`);
  return await inTransaction(postgres, async (query) => {
    const { member_id, schema_version } = await lockLeadership(query, options);
    if (schema_version > 0 && !isNote(member_id) && !options.isForced) throw otherState(options);
    const all = tablesOf(database).reduce((sum, { name }) => sum + countOf(database, name), 0);
    let done = 0;
    await upload(query, database, (rows) => {
      done += rows;
      options.progress?.(done, all);
    });
    const tables = await compared(query, database);
    await query(
      `WITH begun AS (
  UPDATE cluster_leadership SET epoch = epoch + 1, commit_seq = commit_seq + 1, schema_version = $1::int, member_id = NULL,
    since = NULL, renewed_at = NULL, until = clock_timestamp(), backend_pid = NULL, backend_start = NULL
  WHERE one = 1 RETURNING epoch, commit_seq)
INSERT INTO cluster_commits (seq, epoch, at, changes) SELECT commit_seq, epoch, clock_timestamp(), NULL FROM begun`,
      [STATE_MIGRATIONS.length],
    );
    return tables;
  });
}

/** The state, which no principal begins to use until it is disposed of; undefined when one does. */
function locked(directory: string): (Database & Disposable) | undefined {
  const database = new Database(join(directory, STATE_FILE), {
    readwrite: true,
    create: false,
    strict: true,
  });
  const close = () => {
    if (database.inTransaction) database.run("ROLLBACK");
    database.close();
  };
  try {
    database.run("PRAGMA locking_mode = EXCLUSIVE");
    // There is nothing beside the file that would have to move with it.
    database.run("PRAGMA journal_mode = DELETE");
    database.run("BEGIN EXCLUSIVE");
  } catch (error) {
    close();
    if (error instanceof SQLiteError && error.code?.startsWith("SQLITE_BUSY")) return undefined;
    throw error;
  }
  return Object.assign(database, { [Symbol.dispose]: close });
}

/** The state that is replaced, if there is one, which no principal uses until this is disposed of. */
function replaced(directory: string): Disposable | undefined {
  if (!existsSync(join(directory, STATE_FILE))) return undefined;
  let database: Disposable | undefined;
  try {
    database = locked(directory);
  } catch (error) {
    // It is damaged: nobody uses it.
    if (error instanceof SQLiteError) return undefined;
    throw error;
  }
  if (database === undefined) throw inUse(directory, join(directory, "principal.pid"), undefined);
  return database;
}

/**
 * Moves the state from PostgreSQL into a file, where one principal goes on with it. PostgreSQL keeps it, with a note of where it went, so
 * that no member leads there.
 * @throws NotFoundError when PostgreSQL has none
 * @throws DataDirectoryInUseError while a principal uses the state that is to be replaced
 * @throws UnprocessableError while a member leads, or when there is another state in the directory
 */
export async function moveIntoFile(options: MoveOptions): Promise<readonly MovedTable[]> {
  const { directory, postgres, log, isForced } = options;
  const path = join(directory, STATE_FILE);
  await prepareClusterTables(postgres);
  if (existsSync(path) && !isForced) {
    const { member_id } = await readLeadership((...args) => postgres.query(...args));
    if (member_id === noteOf(options))
      throw new MovedAlreadyError(`The state was moved into ${directory} already.`, {
        hint: "Start the principal without CDKTR_STORE_URL.",
      });
    throw new UnprocessableError(`There is a state in ${directory} already.`, {
      hint: `Nothing was changed. Name another directory with --data-dir, or replace ${STATE_FILE} with --replace.`,
    });
  }
  using _replaced = replaced(directory);
  const coming = `${path}.moving`;
  const tables = await inTransaction(postgres, async (query) => {
    const { schema_version: version } = await lockLeadership(query, options);
    if (version === 0)
      throw new NotFoundError(`There is no state in PostgreSQL (${postgres.address.shown}).`);
    if (version > STATE_MIGRATIONS.length)
      throw new UnprocessableError("The state in PostgreSQL is that of a newer cdktr.", {
        hint: "Use the executable that the members use.",
      });
    for (const end of ["", "-wal", "-shm", "-journal"]) rmSync(coming + end, { force: true });
    writeFileSync(coming, "", { mode: 0o600 });
    const database = new Database(coming, { readwrite: true, create: true, strict: true });
    let moved: readonly MovedTable[];
    try {
      migrateSqlite(database, STATE_MIGRATIONS.slice(0, version), log);
      const triggers = database
        .query<{ name: string; sql: string }, []>(
          "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'",
        )
        .all();
      for (const { name } of triggers) database.run(`DROP TRIGGER ${quoted(name)}`);
      await download(query, database);
      for (const { sql } of triggers) database.run(sql);
      moved = await compared(query, database);
      database.run("PRAGMA journal_mode = DELETE");
    } finally {
      database.close();
    }
    syncToDisk(coming);
    await query(
      `UPDATE cluster_leadership SET epoch = epoch + 1, member_id = $1::text, since = clock_timestamp(), renewed_at = NULL,
  until = clock_timestamp() + interval '100 years', backend_pid = NULL, backend_start = NULL WHERE one = 1`,
      [noteOf(options)],
    );
    return moved;
  });
  for (const end of ["-wal", "-shm"]) rmSync(path + end, { force: true });
  renameSync(coming, path);
  rmSync(join(directory, MOVED_FILE), { force: true });
  syncToDisk(directory);
  return tables;
}

/** The number of the last term. */
export async function epochOf(postgres: PostgresConnection): Promise<number> {
  const [row] = await postgres.query<{ epoch: number }>("SELECT epoch FROM cluster_leadership WHERE one = 1");
  return row?.epoch ?? 0;
}

function nothingToMove(directory: string): NotFoundError {
  if (existsSync(join(directory, MOVED_FILE)))
    return new MovedAlreadyError(
      `The state of ${directory} was moved already: it is kept there as ${MOVED_FILE}.`,
      {
        hint: "Start a member, with CDKTR_STORE_URL.",
      },
    );
  return new NotFoundError(`There is no state in ${directory}.`, {
    hint: "Name the principal's data directory with --data-dir.",
  });
}

function otherState({ postgres, directory }: MoveOptions): UnprocessableError {
  return new UnprocessableError(
    `There is a state in PostgreSQL already (${postgres.address.shown}), and it is not the one of ${directory}. Nothing was changed.`,
    {
      hint: "Name another database, or another schema (?schema=NAME). Or replace what is there with --replace.",
    },
  );
}

async function readLeadership(query: Query, lock = ""): Promise<Leadership> {
  const [row] = await query<Leadership>(
    `SELECT member_id, schema_version, member_id IS NULL OR until < clock_timestamp() AS is_free,
  (extract(epoch FROM greatest(until, clock_timestamp()) - clock_timestamp()) * 1000)::float8 AS left_ms
FROM cluster_leadership WHERE one = 1 ${lock}`,
  );
  if (row === undefined) throw new Error("cluster_leadership has no row");
  return row;
}

/** Takes the row of the leader. @throws UnprocessableError when somebody leads, or the state was moved to another place */
async function lockLeadership(query: Query, options: MoveOptions): Promise<Leadership> {
  const deadline = performance.now() + LEASE_PATIENCE_MS;
  for (;;) {
    const row = await readLeadership(query, "FOR UPDATE");
    const { member_id, is_free, left_ms } = row;
    if (is_free || member_id === noteOf(options) || (isNote(member_id) && options.isForced)) return row;
    if (isNote(member_id))
      throw new UnprocessableError(`The state was ${member_id}, where one principal goes on with it.`, {
        hint: "Move it from there. Or, if that is given up, use what PostgreSQL has, as of then, with --replace.",
      });
    if (performance.now() + left_ms > deadline) {
      const [leader] = await query<{ name: string; host: string }>(
        "SELECT name, host FROM cluster_members WHERE member_id = $1::text",
        [member_id],
      );
      throw new UnprocessableError(
        `A member is running: ${leader === undefined ? member_id : `${leader.name} (${leader.host})`} leads. Nothing was changed.`,
        { hint: "Stop all members first, for example with 'systemctl stop cdktr-principal' on each host." },
      );
    }
    // The row is free for a leader in between.
    await query("COMMIT");
    await pause(250);
    await query("BEGIN");
  }
}

function noteOf({ directory }: MoveOptions): string {
  return `${MOVED_TO}${hostname()}:${resolve(directory)}`;
}

function isNote(memberId: string | null): boolean {
  return memberId?.startsWith(MOVED_TO) === true;
}

/** Both sides are not the same. */
class DifferentError extends CdktrError {}

/**
 * Compares what PostgreSQL has with a database.
 * @throws DifferentError that names the first table in which they differ
 */
async function compared(query: Query, database: Database): Promise<MovedTable[]> {
  const here = digestsOf(database);
  const there = await digestsIn(query, tablesOf(database));
  return [...here].map(([table, { rows, hash }]) => {
    const found = there.get(table);
    if (found?.hash === hash) return { table, rows, sha256: hash };
    throw new DifferentError(
      `The table ${table} is not the same on both sides: ${rows} rows here, ${found?.rows} in PostgreSQL.`,
    );
  });
}

function countOf(database: Database, table: string): number {
  return database.query<{ n: number }, []>(`SELECT count(*) AS n FROM main.${quoted(table)}`).get()?.n ?? 0;
}

async function inTransaction<T>(
  postgres: PostgresConnection,
  work: (query: Query) => Promise<T>,
): Promise<T> {
  await using session = await postgres.session(LONG_MS);
  return await session.transaction("BEGIN", () =>
    work((sql, values, options) => session.query(sql, values, { timeoutMs: LONG_MS, ...options })),
  );
}
