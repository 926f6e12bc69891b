/** Loads the extensions of DuckDB that a lake needs: DuckLake itself, PostgreSQL for its catalog, S3 for its files. */
import type { DuckDBConnection } from "@duckdb/node-api";
import { lakeExtensionPaths } from "../../native/lake-extensions.ts";
import { loadError } from "../../native/load-error.ts";
import { quoteText } from "../database/duckdb.ts";

/**
 * Loads them into the database of a connection, for all of its connections. They are signed by DuckDB's makers, and nothing is
 * fetched. Do it before the configuration is locked: later, no statement can load anything.
 * @param hasBucket whether files are in a bucket: what speaks S3 wants a newer host than the rest, and memory
 * @throws NativeCacheError when they cannot be unpacked or loaded
 */
export async function loadLakeExtensions(connection: DuckDBConnection, hasBucket: boolean): Promise<void> {
  for (const path of lakeExtensionPaths(hasBucket)) {
    try {
      await connection.run(`LOAD ${quoteText(path)}`);
    } catch (error) {
      throw loadError(path, error);
    }
  }
}
