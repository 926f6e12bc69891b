/**
 * DuckDB, loaded when it is first needed: an agent or a command that does not touch the history never pays for it.
 */
import { dlopen } from "bun:ffi";
import { mkdirSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import type { DuckDBConnection, DuckDBInstance } from "@duckdb/node-api";
import { nativeLibraryPath } from "../native/libraries.ts";

/** The module `@duckdb/node-api`. */
export type DuckDB = typeof import("@duckdb/node-api");

/** The path that means a database in memory. */
export const IN_MEMORY = ":memory:";

/** What DuckDB may use of the machine: it serves a coordinator, which must not starve. */
const THREADS = 2;
const MEMORY_LIMIT = "512MB";
/** Log of changes that may collect before it is worked into the file: seldom enough not to slow writing, little enough to read at a start. */
const CHECKPOINT_THRESHOLD = "64MB";

let module: Promise<DuckDB> | undefined;

/**
 * Loads DuckDB, once.
 * @throws NativeCacheError when the library cannot be unpacked; a later call tries again
 */
export function loadDuckDB(): Promise<DuckDB> {
  module ??= load().catch((error) => {
    module = undefined;
    throw error;
  });
  return module;
}

async function load(): Promise<DuckDB> {
  // Once libduckdb.so is in the process, the binding finds it by its name wherever it came from.
  dlopen(nativeLibraryPath("libduckdb"), { duckdb_library_version: { args: [], returns: "cstring" } });
  return await import("@duckdb/node-api");
}

/** An open database. One process must open a file only once: the lock on it is the process's, and lost with any second closing. */
export interface OpenDatabase {
  readonly duckdb: DuckDB;
  readonly instance: DuckDBInstance;
  /** The first connection. */
  readonly connection: DuckDBConnection;
}

/** Where a database may write. */
export interface DatabaseOptions {
  /** A file, or `:memory:`. Missing directories above it are made. */
  readonly path: string;
  /** The only directory from which and to which statements may read and write files. */
  readonly filesDirectory: string;
  /** Where DuckDB puts what does not fit into memory; emptied here. */
  readonly tempDirectory: string;
}

/**
 * Opens a database that cannot reach the host's files, apart from its own and `filesDirectory`, nor load extensions,
 * whatever statement it is given.
 * @throws what DuckDB throws
 */
export async function openDatabase(options: DatabaseOptions): Promise<OpenDatabase> {
  const duckdb = await loadDuckDB();
  if (options.path !== IN_MEMORY) mkdirSync(dirname(options.path), { recursive: true, mode: 0o700 });
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
    await connection.run(`SET allowed_directories = [${quoteText(`${options.filesDirectory}/`)}]`);
    await connection.run("SET enable_external_access = false");
    await connection.run("SET lock_configuration = true");
    return { duckdb, instance, connection };
  } catch (error) {
    instance.closeSync();
    throw error;
  }
}

/** A text as an SQL literal. */
export function quoteText(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** A name as an SQL identifier. */
export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
