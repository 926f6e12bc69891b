/** A history in a DuckDB file of this host. */
import { statSync } from "node:fs";
import { archiveDirectory } from "../../contract/archive-files.ts";
import { IN_MEMORY } from "../../contract/history.ts";
import { pruneBackups } from "../../migrations/database-backups.ts";
import { copyDatabase } from "./copy.ts";
import { type OpenDatabase, openDatabase } from "./duckdb.ts";
import { isFatal } from "./error.ts";
import { copyOwnSchema } from "./export.ts";
import {
  applyMigration,
  HISTORY_MIGRATIONS,
  type HistoryMigrations,
  pendingMigration,
} from "./migrations.ts";
import type { OpenHistory, Place } from "./place.ts";
import { VIEWS } from "./schema.ts";
import { INTO_FILE } from "./write.ts";

/** Number of newest lines from which the latest times are read after a start. */
const ORDER_WINDOW_LINES = 50_000;

/** Options of {@link databaseFile}. */
export interface DatabaseFileOptions {
  /** The DuckDB file, or `:memory:`. */
  readonly path: string;
  /** Directory for prepared exports and backups: the only one that statements can access, beside the archive. */
  readonly filesDirectory: string;
  /** Where DuckDB spills what does not fit into memory. */
  readonly tempDirectory: string;
  /** The migrations; those of this cdktr by default. */
  readonly migrations?: HistoryMigrations | undefined;
  /** Called with a message when an older schema is migrated, which may take a while. */
  readonly say?: ((what: string) => void) | undefined;
  /** Aborts the copying before a migration. */
  readonly signal?: AbortSignal | undefined;
}

/** A history in this file. One with an older schema is backed up, then migrated. */
export function databaseFile(options: DatabaseFileOptions): Place {
  const { path } = options;
  return {
    name: path,
    archiveDirectory: archiveDirectory(path),
    whyNoArchive: ["A history in memory has no archive.", "Set CDKTR_DB_PATH to a file."],
    open: async () => opened(await openMigrated(options), path),
  };
}

function opened(database: OpenDatabase, path: string): OpenHistory {
  const { duckdb, connection, instance } = database;
  return {
    duckdb,
    connection,
    connect: () => instance.connect(),
    writing: INTO_FILE,
    newestLines: `rowid > (SELECT max(rowid) - ${ORDER_WINDOW_LINES} FROM logstore)`,
    copySchema: copyOwnSchema,
    sizeBytes: () => statSync(path, { throwIfNoEntry: false })?.size ?? 0,
    isLost: isFatal,
    close: async (isBroken) => {
      // Asynchronously, so that closing finds little left to do. If this fails, the data is in the WAL file and read at the next start.
      if (!isBroken) await connection.run("CHECKPOINT").catch(() => {});
      shut(database);
    },
  };
}

/**
 * Opens a database that has the current schema, migrating it if necessary. If this is interrupted, the next call starts again: the
 * backup exists by then or not, and the schema is either the old one or the new one.
 */
async function openMigrated(options: DatabaseFileOptions): Promise<OpenDatabase> {
  const { path, migrations = HISTORY_MIGRATIONS, say } = options;
  const files = { ...options, archiveDirectory: archiveDirectory(options.path) };
  let database: OpenDatabase | undefined = await openDatabase(files);
  try {
    const pending = await pendingMigration(database.connection, path, migrations);
    if (pending === null) return database;
    let backup: string | null = null;
    if (!pending.isNew && path !== IN_MEMORY) {
      // Checkpointed into the one file, with no connection left.
      await database.connection.run("CHECKPOINT");
      shut(database);
      database = undefined;
      backup = await copyDatabase(path, say, options.signal);
      database = await openDatabase(files);
    }
    await applyMigration(database.connection, pending, VIEWS, backup);
    if (backup !== null) {
      pruneBackups(path);
      say?.(
        `${path}: schema ${pending.version} became ${migrations.length} (${pending.steps.map(({ what }) => what).join("; ")}). The backup is ${backup}.`,
      );
    }
    return database;
  } catch (error) {
    if (database !== undefined) shut(database);
    throw error;
  }
}

function shut({ connection, instance }: OpenDatabase): void {
  connection.disconnectSync();
  instance.closeSync();
}
