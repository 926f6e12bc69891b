/** DuckDB, loaded on first use: an agent or a command that does not touch the history never pays for it. */
import { dlopen } from "bun:ffi";
import { rmSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import type { DuckDBConnection, DuckDBInstance } from "@duckdb/node-api";
import { IN_MEMORY } from "../../contract/history.ts";
import { historyMemory } from "../../host/history-memory.ts";
import { nativeLibraryPath } from "../../native/libraries.ts";
import { loadError } from "../../native/load-error.ts";

/** The module `@duckdb/node-api`. */
export type DuckDB = typeof import("@duckdb/node-api");

/** DuckDB's share of the machine: it serves a coordinator, which must not starve. */
const THREADS = 2;
const MEMORY_LIMIT = `${Math.floor(historyMemory().database / 1e6)}MB`;
/** WAL size that triggers a checkpoint: large enough not to slow down writes, small enough to replay quickly at start. */
const CHECKPOINT_THRESHOLD = "64MB";

let module: Promise<DuckDB> | undefined;

/**
 * Loads DuckDB, once.
 * @throws NativeCacheError when the library cannot be unpacked; a later call retries
 */
export function loadDuckDB(): Promise<DuckDB> {
  module ??= load().catch((error) => {
    module = undefined;
    throw error;
  });
  return module;
}

async function load(): Promise<DuckDB> {
  // Once libduckdb.so is loaded into the process, the binding finds it by name, wherever it came from.
  const path = nativeLibraryPath("libduckdb");
  try {
    dlopen(path, { duckdb_library_version: { args: [], returns: "cstring" } });
  } catch (error) {
    throw loadError(path, error);
  }
  return await import("@duckdb/node-api");
}

/** An open database. A process must open a file only once: the file lock belongs to the process, and any second close releases it. */
export interface OpenDatabase {
  readonly duckdb: DuckDB;
  readonly instance: DuckDBInstance;
  /** The first connection. */
  readonly connection: DuckDBConnection;
}

/** The files that a database may use. */
export interface DatabaseOptions {
  /** A file, or `:memory:`. Missing parent directories are created. */
  readonly path: string;
  /** The only directory in which statements may read and write files, beside that of the archive. */
  readonly filesDirectory: string;
  /** The directory of the archive, or what a lake has its files under; null for none. */
  readonly archiveDirectory?: string | null;
  /** Called before the configuration is locked. */
  readonly prepare?: (connection: DuckDBConnection) => Promise<void>;
  /** Where DuckDB spills what does not fit into memory; emptied on open. */
  readonly tempDirectory: string;
}

/**
 * Opens a database that, whatever statement it is given, can neither access the host's files, apart from its own and those directories,
 * nor load extensions.
 * @throws errors of DuckDB
 */
export async function openDatabase(options: DatabaseOptions): Promise<OpenDatabase> {
  const duckdb = await loadDuckDB();
  // Not on this thread: it may be on a network disk.
  if (options.path !== IN_MEMORY) await mkdir(dirname(options.path), { recursive: true, mode: 0o700 });
  rmSync(options.tempDirectory, { recursive: true, force: true });
  const instance = await duckdb.DuckDBInstance.create(options.path, {
    threads: String(THREADS),
    memory_limit: MEMORY_LIMIT,
    checkpoint_threshold: CHECKPOINT_THRESHOLD,
    temp_directory: options.tempDirectory,
    autoinstall_known_extensions: "false",
    autoload_known_extensions: "false",
    allow_community_extensions: "false",
  });
  try {
    const connection = await instance.connect();
    await options.prepare?.(connection);
    const directories = [options.filesDirectory, options.archiveDirectory ?? null].filter(
      (path) => path !== null,
    );
    const allowed = directories.map((path) => quoteText(`${path}/`));
    await connection.run(`SET allowed_directories = [${allowed.join(", ")}]`);
    await connection.run("SET enable_external_access = false");
    await connection.run("SET lock_configuration = true");
    return { duckdb, instance, connection };
  } catch (error) {
    instance.closeSync();
    throw error;
  }
}

/** Quotes text as an SQL literal. */
export function quoteText(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** Quotes a name as an SQL identifier. */
export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
