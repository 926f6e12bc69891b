/**
 * A history in a DuckLake, which the principals of an installation share: tables are listed in a PostgreSQL database, and their rows are
 * there and in Parquet files.
 *
 * Of several histories one writes: the row `writer` of `ingest_cursor` has the epoch of the one that may. Each transaction changes this
 * row, so that of two at once only one commits; whoever finds a higher epoch there is fenced. Opening changes it too, before anything is
 * read: what a former history of this principal has sent is either there by then, or will be refused.
 *
 * `rowid` is the order of rows, as in a file: DuckLake numbers them as they are committed, and keeps the numbers when it writes files
 * anew. Within a transaction it numbers rows in files before those in the catalog: so each transaction inserts into a table once.
 */
import type { DuckDBConnection } from "@duckdb/node-api";
import { HistoryUnavailableError, IN_MEMORY, type LakeSettings, nameOfLake } from "../../contract/history.ts";
import { type OpenDatabase, openDatabase } from "../database/duckdb.ts";
import { isFatal } from "../database/error.ts";
import {
  applyMigration,
  HISTORY_MIGRATIONS,
  type HistoryMigrations,
  pendingMigration,
} from "../database/migrations.ts";
import type { OpenHistory, Place } from "../database/place.ts";
import { VIEWS } from "../database/schema.ts";
import { inTransaction, type Writing } from "../database/write.ts";
import { attachLake, LAKE, useLake } from "./attach.ts";
import { type InTurn, repeated, turns } from "./conflict.ts";
import { LakeSize } from "./lake-size.ts";
import { removeDaysOfLake } from "./remove-days.ts";
import { keepUp, setLakeOptions } from "./upkeep.ts";

/** Lines from this time before now on tell the latest times of tasks, ms. */
const NEWEST_MS = 6 * 3_600_000;
/** Statuses are text: a lake has no types of its own. */
const STATUS_TYPE = "VARCHAR";
/** The table in which the lines of a transaction are collected. */
const COLLECTED = "temp.lines_collected";

/** Options of {@link lake}. */
export interface LakeOptions {
  readonly settings: LakeSettings;
  /** Directory for prepared exports and backups: the only one that statements can access, beside that of the lake. */
  readonly filesDirectory: string;
  /** Where DuckDB spills what does not fit into memory. */
  readonly tempDirectory: string;
  /** The migrations; those of this cdktr by default. */
  readonly migrations?: HistoryMigrations | undefined;
  /** The principal has just said that it leads: a higher epoch is from before its state was restored or replaced. */
  readonly insists?: boolean | undefined;
  /** Called with a message when an older schema is migrated. */
  readonly say?: ((what: string) => void) | undefined;
}

/** Another history writes. */
export class FencedError extends HistoryUnavailableError {}

/** A history in a lake. */
export function lake(options: LakeOptions): Place {
  const name = nameOfLake(options.settings);
  return {
    name,
    archiveDirectory: null,
    whyNoArchive: [
      "A history in a lake has no archive: all of it is in Parquet files already.",
      "CDKTR_ARCHIVE_KEEP and 'retention:' of workflows delete what is old.",
    ],
    open: () => open(options, name),
  };
}

async function open(options: LakeOptions, name: string): Promise<OpenHistory> {
  const { settings, filesDirectory, tempDirectory } = options;
  const database = await openDatabase({
    path: IN_MEMORY,
    filesDirectory,
    tempDirectory,
    archiveDirectory: settings.data.replace(/\/+$/, ""),
    prepare: (connection) => attachLake(connection, settings),
  });
  try {
    const epoch = await takeOver(database.connection, options, name);
    await setLakeOptions(database.connection, LAKE, settings.keep_snapshots_days);
    return opened(database, epoch);
  } catch (error) {
    shut(database);
    throw error;
  }
}

function opened(database: OpenDatabase, epoch: number): OpenHistory {
  const { duckdb, connection, instance } = database;
  const inTurn = turns();
  const connect = async () => {
    const another = await instance.connect();
    await useLake(another);
    return another;
  };
  const size = new LakeSize({ connect }, LAKE);
  size.lookUp();
  return {
    duckdb,
    connection,
    connect,
    writing: writingWith(epoch, inTurn),
    get newestLines() {
      return `timestamp_ms > ${Date.now() - NEWEST_MS}`;
    },
    copySchema: createFileSchema,
    sizeBytes: () => size.bytes,
    care: {
      keepUp: (another, isLong, isStopping) => keepUp(another, LAKE, { isLong, isStopping, inTurn }),
      removeDays: removeDaysOfLake,
    },
    // Whether a transaction that failed was committed is certain once the lake has been opened again.
    isLost: (error, doing) => doing === "write" || isFatal(error),
    close: async () => {
      await size.settled();
      shut(database);
    },
  };
}

/** A copy of a lake is a DuckDB file like any other history. */
async function createFileSchema(connection: DuckDBConnection, target: string): Promise<void> {
  await connection.run(`USE ${target}`);
  try {
    const pending = await pendingMigration(connection, target, HISTORY_MIGRATIONS);
    if (pending !== null) await applyMigration(connection, pending, VIEWS, null);
    // The copy gets the rows of the lake.
    await connection.run("DELETE FROM schema_version");
  } finally {
    await useLake(connection);
  }
}

function shut({ connection, instance }: OpenDatabase): void {
  connection.disconnectSync();
  instance.closeSync();
}

/**
 * Brings the schema to the current version, and makes this history the one that writes.
 * @returns its epoch
 * @throws HistoryUnavailableError when one with a higher epoch writes
 */
async function takeOver(
  connection: DuckDBConnection,
  { settings, migrations = HISTORY_MIGRATIONS, insists = false, say }: LakeOptions,
  name: string,
): Promise<number> {
  const pending = await pendingMigration(connection, name, migrations);
  if (pending !== null) {
    // A former leader must not change the schema.
    if (!pending.isNew) await raise(connection, settings.epoch, insists);
    await applyMigration(connection, pending, VIEWS, null, STATUS_TYPE);
    if (!pending.isNew) {
      say?.(
        `${name}: schema ${pending.version} became ${migrations.length} (${pending.steps.map(({ what }) => what).join("; ")}).`,
      );
    }
  }
  return raise(connection, settings.epoch, insists);
}

/**
 * Makes this history the one that writes. Epochs of leaders are above 0. That of a principal which is alone is below, and another one each
 * time: it takes over from whoever wrote last, and every leader takes over from it.
 */
async function raise(connection: DuckDBConnection, wanted: number | null, insists: boolean): Promise<number> {
  let epoch = wanted ?? 0;
  await repeated(() =>
    inTransaction(connection, async () => {
      const found = await writerOf(connection);
      epoch = wanted ?? Math.min((found ?? 0) - 1, -Date.now());
      if (found === null)
        await connection.run("INSERT INTO ingest_cursor VALUES ('writer', '', $1, $2)", [
          BigInt(epoch),
          BigInt(Date.now()),
        ]);
      else if (found > epoch && wanted !== null && !insists) throw fenced(epoch, found);
      else
        await connection.run(
          "UPDATE ingest_cursor SET position = $1, updated_ms = $2 WHERE kind = 'writer'",
          [BigInt(epoch), BigInt(Date.now())],
        );
    }),
  );
  return epoch;
}

/** The epoch of the history that writes; null if none has. */
async function writerOf(connection: DuckDBConnection): Promise<number | null> {
  const reader = await connection.runAndReadAll(
    "SELECT max(position)::DOUBLE FROM ingest_cursor WHERE kind = 'writer'",
  );
  const epoch = reader.value(0, 0);
  return epoch === null ? null : Number(epoch);
}

/** How a lake is written by the history with this epoch. */
function writingWith(epoch: number, inTurn: InTurn): Writing {
  return {
    lines: COLLECTED,
    statusType: STATUS_TYPE,
    transact: (connection, work) => {
      const fencedWork = async () => {
        const { rowsChanged } = await connection.run(
          "UPDATE ingest_cursor SET updated_ms = $1 WHERE kind = 'writer' AND position = $2",
          [BigInt(Date.now()), BigInt(epoch)],
        );
        if (rowsChanged === 0) throw fenced(epoch, await writerOf(connection));
        await work();
      };
      return inTurn(() => repeated(() => inTransaction(connection, fencedWork)));
    },
    insertLines: async (connection, insert) => {
      await connection.run(`CREATE TEMP TABLE lines_collected AS FROM logstore LIMIT 0`);
      await insert();
      await connection.run(`INSERT INTO logstore BY NAME SELECT * FROM ${COLLECTED} ORDER BY rowid`);
      await connection.run(`DROP TABLE ${COLLECTED}`);
    },
  };
}

function fenced(epoch: number, found: number | null): FencedError {
  return new FencedError(
    `Another principal writes the history now (${writer(found)}; this one ${epoch > 0 ? `has ${epoch}` : "is alone too"}).`,
    {
      hint:
        epoch > 0
          ? "The leader's history writes: 'cdktr principals list' names the leader."
          : "Two principals that are alone cannot share a history: give one of them another CDKTR_HISTORY_DATA and schema, or both the same CDKTR_STORE_URL.",
    },
  );
}

function writer(epoch: number | null): string {
  if (epoch === null) return "which one is not known";
  return epoch > 0 ? `epoch ${epoch}` : "one that is alone";
}
