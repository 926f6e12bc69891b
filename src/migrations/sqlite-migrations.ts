/**
 * Migrates the schema of a SQLite file from any older version to the current one: forward only, by a table of steps, in one
 * transaction, after a backup if it is to be kept. `user_version` holds the version; a file that has tables but says 0 predates version numbers and
 * has version 1.
 */
import { Database } from "bun:sqlite";
import { chmodSync, readFileSync, rmSync } from "node:fs";
import type { ConsolaInstance } from "consola";
import { VERSION } from "../build-facts.ts";
import { backupsOf, keepBackup, pruneBackups, requireRoom, stagingPath } from "./database-backups.ts";
import {
  type Additive,
  canRead,
  NewerSchemaError,
  newerSchema,
  oldestReader,
  type SchemaChange,
} from "./newer-schema.ts";

/** A step from one schema version to the next. */
interface SqliteMigration extends Additive {
  /** Description for the log. */
  readonly what: string;
  readonly apply: (database: Database) => void;
}

/** Step n migrates version n to n + 1. Never edit a released step: append another. */
export type SqliteMigrations = readonly SqliteMigration[];

/**
 * Migrates an open file to the newest schema of `migrations`. However this is interrupted, the file has either the old schema or the
 * new one. A newer schema is left as it is if it is only additive.
 * @throws NewerSchemaError when the file has a newer schema that is not just additive
 * @throws NoRoomForBackupError when it is older and there is no space for the backup
 */
export function migrateSqlite(
  database: Database,
  migrations: SqliteMigrations,
  log: ConsolaInstance,
  { keepsBackup = true } = {},
): void {
  const { version, isNew, mark } = versionOf(database);
  const newest = migrations.length;
  if (version > newest) {
    if (canRead(newest, version, changesOf(database))) return;
    const { message, hint } = newerSchema(database.filename, newest, version, changesOf(database));
    throw new NewerSchemaError(message, { hint });
  }
  if (version === newest) return;
  const steps = migrations.slice(version);
  const backup = isNew || !keepsBackup ? null : makeBackup(database, mark);
  const isChanged = database
    .transaction(() => {
      // Another process that shares the file may have been faster.
      const present = versionOf(database).version;
      if (present >= newest) return false;
      for (const { apply } of migrations.slice(present)) apply(database);
      database.run(
        "CREATE TABLE IF NOT EXISTS schema_changes (version INTEGER, cdktr TEXT, backup TEXT, oldest_reader INTEGER, applied_at_ms INTEGER)",
      );
      database.run(
        "INSERT INTO schema_changes (version, cdktr, backup, oldest_reader, applied_at_ms) VALUES (?, ?, ?, ?, ?)",
        [newest, VERSION, backup, oldestReader(migrations), Date.now()],
      );
      database.run(`PRAGMA user_version = ${newest}`);
      return true;
    })
    .immediate();
  if (backup === null || !isChanged) return;
  pruneBackups(database.filename);
  const what = steps.map((step) => step.what).join("; ");
  log.info(`${database.filename}: schema ${version} became ${newest} (${what}). The backup is ${backup}.`);
}

function versionOf(database: Database): { version: number; isNew: boolean; mark: number } {
  const mark = markOf(database);
  if (mark > 0) return { version: mark, isNew: false, mark };
  const tables = ask(database, "SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'");
  return tables.length === 0 ? { version: 0, isNew: true, mark } : { version: 1, isNew: false, mark };
}

function markOf(database: Database): number {
  return ask<{ user_version: number }>(database, "PRAGMA user_version")[0]?.user_version ?? 0;
}

function changesOf(database: Database): SchemaChange[] {
  try {
    return ask(
      database,
      "SELECT version, cdktr, backup, oldest_reader FROM schema_changes ORDER BY version, applied_at_ms",
    );
  } catch {
    // It records that in another way, or not at all.
    return [];
  }
}

/**
 * @param mark the version that the file had when it was found to be old
 * @returns the backup; null when another process that shares the file has migrated it in the meantime
 */
function makeBackup(database: Database, mark: number): string | null {
  const file = database.filename;
  const size = ask<{ bytes: number }>(
    database,
    "SELECT page_count * page_size AS bytes FROM pragma_page_count(), pragma_page_size()",
  );
  requireRoom(file, size[0]?.bytes ?? 0);
  const staged = stagingPath(file);
  ask(database, "VACUUM INTO ?", staged);
  chmodSync(staged, 0o600);
  const copy = new Database(staged, { readonly: true });
  const isFormer = markOf(copy) === mark;
  copy.close();
  if (!isFormer) {
    rmSync(staged);
    return null;
  }
  // If the migration was interrupted before, even repeatedly, one backup of the same content is enough.
  const digest = sha256(staged);
  const present = backupsOf(file).find((path) => sha256(path) === digest);
  if (present === undefined) return keepBackup(staged, file);
  rmSync(staged);
  return present;
}

/** Finalizes every statement: an open one would keep the file locked after it is closed. */
function ask<Row>(database: Database, sql: string, ...parameters: string[]): Row[] {
  const statement = database.prepare<Row, string[]>(sql);
  try {
    return statement.all(...parameters);
  } finally {
    statement.finalize();
  }
}

function sha256(path: string): string {
  return new Bun.CryptoHasher("sha256").update(readFileSync(path)).digest("hex");
}
