/** The SQLite files in which listeners keep what must outlive their process. */
import { Database } from "bun:sqlite";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { CdktrError, errorMessage } from "../errors.ts";
import { log } from "../log.ts";
import { migrateSqlite, type SqliteMigrations } from "../migrations/sqlite-migrations.ts";

/** A listener's file cannot be opened. */
class ListenerFileError extends CdktrError {}

/** The directory of a listener: `listeners/NAME` below the data directory. A name cannot escape from it. */
export function listenerDirectory(dataDirectory: string, name: string): string {
  const part = encodeURIComponent(name).replaceAll(".", "%2E").slice(0, 200) || "listener";
  return join(dataDirectory, "listeners", part);
}

/**
 * Opens a file, creating it if necessary. Several processes may have it open.
 * @throws ListenerFileError when it cannot be opened
 * @throws NewerSchemaError when a newer cdktr wrote it; NoRoomForBackupError
 */
export function openListenerFile(directory: string, name: string, migrations: SqliteMigrations): Database {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const db = new Database(join(directory, name), { create: true, strict: true });
    db.run("PRAGMA busy_timeout = 5000");
    db.run("PRAGMA journal_mode = WAL");
    db.run("PRAGMA synchronous = NORMAL");
    migrateSqlite(db, migrations, log);
    return db;
  } catch (error) {
    if (error instanceof CdktrError) throw error;
    throw new ListenerFileError(`${join(directory, name)} cannot be opened: ${errorMessage(error)}.`, {
      cause: error,
      hint: "CDKTR_APP_DATA_DIRECTORY must be a directory that this user can write.",
    });
  }
}
