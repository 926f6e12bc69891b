/**
 * Where a history is: in a DuckDB file of this host, or in a lake, which several principals share. Tables, views and statements are the
 * same. This is all that differs.
 */
import type { DuckDBConnection } from "@duckdb/node-api";
import type { DuckDB } from "./duckdb.ts";
import type { Connects } from "./readers.ts";
import type { Removed } from "./remove-history.ts";
import type { Writing } from "./write.ts";

/** A place of a history. */
export interface Place {
  /** What messages call it: a path, or an address without secrets. */
  readonly name: string;
  /** The directory of the archive; null if old days stay where they are. */
  readonly archiveDirectory: string | null;
  /** Why it has no archive, and what to do. */
  readonly whyNoArchive: readonly [message: string, hint: string];
  /**
   * Opens the history and brings its schema to the current version.
   * @throws errors of DuckDB, CdktrError
   */
  open(): Promise<OpenHistory>;
}

/** An open history. */
export interface OpenHistory extends Connects {
  readonly duckdb: DuckDB;
  /** The connection that writes. */
  readonly connection: DuckDBConnection;
  readonly writing: Writing;
  /** A condition that the newest lines meet, and few others. */
  readonly newestLines: string;
  /** Creates the tables and views of a copy in an empty database, which is attached under this name. */
  copySchema(connection: DuckDBConnection, target: string): Promise<void>;
  /** Its size on disk, bytes; 0 if that is not known. */
  sizeBytes(): number;
  /** What a lake does, and a file does not need. */
  readonly care?: LakeCare;
  /** Whether it must be closed and opened again after this error of a statement that reads, or writes. */
  isLost(error: unknown, doing: "read" | "write"): boolean;
  /** Closes it. Nobody uses any of its connections. @param isBroken DuckDB has given it up */
  close(isBroken: boolean): Promise<void>;
}

/** What a pass of the upkeep of a lake has done. */
export interface Upkeep {
  /** Rows that moved from the catalog into files. */
  readonly flushedRows: number;
  /** Files that became others, and the others. */
  readonly mergedFiles: number;
  readonly writtenFiles: number;
  readonly expiredSnapshots: number;
  readonly removedFiles: number;
}

/** What a lake does, on connections of its own. */
export interface LakeCare {
  /**
   * One pass of its upkeep.
   * @param isLong whether files up to the target size are merged too
   * @param isStopping asked before each statement: the pass ends early then
   * @throws errors of DuckDB; what was done before is done
   */
  keepUp(connection: DuckDBConnection, isLong: boolean, isStopping: () => boolean): Promise<Upkeep>;
  /**
   * Deletes what is older than a day, in the transaction of the connection: runs that ended before, and lines of runs that are not known
   * any longer. A run is deleted as a whole.
   * @param firstKept days since 1970
   * @param isTrial nothing is deleted: what would be is told
   * @returns what was deleted; nothing if there is nothing that old
   */
  removeDays(
    connection: DuckDBConnection,
    firstKept: number,
    nowMs: number,
    isTrial: boolean,
  ): Promise<Removed[]>;
}
