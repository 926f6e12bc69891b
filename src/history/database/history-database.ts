/** The history database: logs and statuses in a file or in a lake, one connection that writes, a few that read. */
import { mkdirSync } from "node:fs";
import type { DuckDBConnection } from "@duckdb/node-api";
import type { HistoricFiring, HistoricRun, LatestEnd, LineQuery } from "../../contract/history.ts";
import type { HistoricStatuses } from "../../contract/history-rows.ts";
import type {
  ItemSummary,
  ListItems,
  ListRuns,
  LogPage,
  QueryDatabase,
  QueryResult,
  RunSummary,
  SearchLogs,
} from "../../contract/messages.ts";
import { UnprocessableError } from "../../errors.ts";
import { Archive } from "./archive.ts";
import type { Part } from "./archive-manifest.ts";
import { findBroughtContexts } from "./brought-contexts.ts";
import { type DatabaseFileOptions, databaseFile } from "./database-file.ts";
import { archiveFileIn, historyUnavailable, isDiskFull, readError } from "./error.ts";
import { type BackupMoment, exportTables, writeBackup } from "./export.ts";
import { findFirings } from "./firings.ts";
import { findLatestEnds } from "./latest-ends.ts";
import { LineMarks } from "./line-marks.ts";
import { queryLogLines, searchLogs } from "./logs.ts";
import type { OpenHistory, Place } from "./place.ts";
import { runQuery } from "./query.ts";
import { HistoryReaders } from "./readers.ts";
import { findItems, findOutputs, findRun, listRuns } from "./runs.ts";
import { type AnySources, HISTORY_SCHEMA } from "./sources.ts";
import { crashRuns, findStatuses, findUnfinished } from "./unfinished.ts";
import { type HistoryBatch, type HistoryCursors, HistoryWriter } from "./write.ts";
import type { Steps } from "./write-part.ts";

/** Options of {@link HistoryDatabase}. */
export interface HistoryDatabaseOptions extends DatabaseFileOptions {
  /** Where it is, if not in that file. */
  readonly place?: Place | undefined;
  /** Called at each step of the archive, in tests. */
  readonly at?: Steps | undefined;
  /** The inode of the file: null if there is none, undefined if that is not known. By default it is not looked at. */
  readonly inode?: () => Promise<number | null | undefined>;
}

/** Timeout of an ordinary read, ms. */
const READ_TIMEOUT_MS = 60_000;
/**
 * Maximum number of concurrent reads: of lists and searches, of users' statements, of alert files, of exports and backups, and of what
 * the history itself needs. None of them holds up another kind.
 */
const READERS = 4;
const QUERIES = 2;
const ALERTS = 1;
const EXPORTS = 2;
const OWN_READS = 1;
const ARCHIVING = 1;
/** How long a read waits for its turn, and an export or a backup, ms. */
const READ_WAITS_MS = 30_000;
const EXPORT_WAITS_MS = 120_000;
/** How much the process may grow while a user's statement runs: the size of DuckDB's buffers plus half as much again. */
const QUERY_GROWTH_BYTES = 768 * 1024 * 1024;
/** Timeout of an export, a backup, or a step of the archive, ms. */
const EXPORT_TIMEOUT_MS = 3_600_000;

/** The open history database. */
export class HistoryDatabase {
  /** What messages call it: its path, or the address of the lake. */
  readonly name: string;
  readonly #database: OpenHistory;
  readonly #writer: HistoryWriter;
  readonly #readers: HistoryReaders;
  readonly #queries: HistoryReaders;
  readonly #alerts: HistoryReaders;
  readonly #exports: HistoryReaders;
  readonly #own: HistoryReaders;
  readonly #archiving: HistoryReaders;
  readonly #marks: LineMarks;
  /** What was moved out of the database. */
  readonly archive: Archive;
  readonly #inodeNow: () => Promise<number | null | undefined>;
  readonly #inode: number | null | undefined;
  #isReplaced = false;
  #disordered = false;
  #broken = false;

  private constructor(
    options: HistoryDatabaseOptions,
    { name, archiveDirectory: directory, whyNoArchive }: Place,
    database: OpenHistory,
    inode: number | null | undefined,
  ) {
    this.name = name;
    this.#database = database;
    this.#writer = new HistoryWriter(database.connection, database.writing);
    this.#readers = new HistoryReaders(database, READERS, READ_WAITS_MS);
    this.#queries = new HistoryReaders(database, QUERIES, READ_WAITS_MS);
    this.#alerts = new HistoryReaders(database, ALERTS, READ_WAITS_MS);
    this.#exports = new HistoryReaders(database, EXPORTS, EXPORT_WAITS_MS);
    this.#own = new HistoryReaders(database, OWN_READS, READ_WAITS_MS);
    this.#archiving = new HistoryReaders(database, ARCHIVING, EXPORT_WAITS_MS);
    const readers = [this.#readers, this.#queries, this.#exports, this.#own];
    this.archive = new Archive({
      directory,
      whyNone: whyNoArchive,
      lend: (work) => this.#lendForArchive(work),
      read: (work) => this.#read("The query", READ_TIMEOUT_MS, work),
      databaseBytes: () => database.sizeBytes(),
      readersEnded: async () => void (await Promise.all(readers.map((pool) => pool.ended()))),
      disordered: () => this.#disordered,
      say: options.say ?? (() => {}),
      at: options.at,
      transact: database.writing.transact,
      care: database.care,
    });
    this.#marks = new LineMarks(() => this.archive.moves);
    this.#inodeNow = options.inode ?? (async () => undefined);
    this.#inode = inode;
  }

  /**
   * Opens or creates the database; one with an older schema is backed up, then migrated.
   * @throws HistoryUnavailableError when it is locked, damaged, written by a newer cdktr, or cannot be written
   */
  static async open(options: HistoryDatabaseOptions): Promise<HistoryDatabase> {
    const place = options.place ?? databaseFile(options);
    try {
      mkdirSync(options.filesDirectory, { recursive: true, mode: 0o700 });
      const database = await place.open();
      try {
        const history = new HistoryDatabase(options, place, database, await options.inode?.());
        const reader = await database.connection.runAndReadAll("SELECT count(*)::INTEGER FROM log_disorder");
        history.#disordered = reader.value(0, 0) !== 0;
        await history.archive.open(database.connection);
        return history;
      } catch (error) {
        await database.close(true);
        throw error;
      }
    } catch (error) {
      throw historyUnavailable(error, place.name);
    }
  }

  /** Whether it must be closed and reopened: DuckDB has given it up, or {@link lookAtFile} found another file or none. */
  get stale(): boolean {
    return this.#broken || this.#isReplaced;
  }

  /** Looks whether the file is still the one that is open. Returns whether it was removed. */
  async lookAtFile(): Promise<boolean> {
    const inode = await this.#inodeNow();
    // Nothing is concluded from not knowing.
    if (inode !== undefined && this.#inode !== undefined && inode !== this.#inode) this.#isReplaced = true;
    return inode === null;
  }

  /**
   * Writes a batch in one transaction; it is on disk when the promise resolves. One call at a time.
   * @throws HistoryUnavailableError; {@link cursors} then tells whether the batch was written
   */
  async write(batch: HistoryBatch): Promise<void> {
    try {
      await this.#writer.write(batch);
      if (batch.disordered.length > 0) this.#disordered = true;
    } catch (error) {
      throw this.#unavailable(error);
    }
  }

  /**
   * The positions of the sources of rows. Must not be called while {@link write} runs.
   * @throws HistoryUnavailableError
   */
  async cursors(): Promise<HistoryCursors> {
    try {
      return await this.#writer.cursors();
    } catch (error) {
      throw this.#unavailable(error);
    }
  }

  /**
   * Records the installation that the history belongs to. Must not be called while {@link write} runs.
   * @throws HistoryUnavailableError
   */
  async claim(installationId: string): Promise<void> {
    try {
      await this.#writer.claim(installationId);
    } catch (error) {
      throw this.#unavailable(error);
    }
  }

  /**
   * The latest time of each task run among the newest lines.
   * @throws HistoryUnavailableError
   */
  latestTimes(): Promise<Map<string, number>> {
    return this.#readOwn(async (connection) => {
      const reader = await connection.runAndReadAll(
        `SELECT task_instance_id, max(timestamp_ms)::DOUBLE FROM logstore
         WHERE ${this.#database.newestLines} GROUP BY task_instance_id`,
      );
      return new Map(reader.getRows().map(([task, time]) => [String(task), Number(time)]));
    });
  }

  /**
   * A page of log lines, see `SEARCHLOGS`.
   * @throws InvalidInputError when the pattern or the position is invalid; HistoryUnavailableError
   */
  searchLogs(search: SearchLogs): Promise<Omit<LogPage, "warning">> {
    return this.#read("The search", READ_TIMEOUT_MS, (connection, sources) =>
      searchLogs(connection, search, this.#disordered, sources, this.#marks),
    );
  }

  /**
   * Log lines as text, see `QUERYLOGS`.
   * @throws HistoryUnavailableError
   */
  queryLogLines(query: LineQuery): Promise<string[]> {
    return this.#read("The query", READ_TIMEOUT_MS, (connection, sources) =>
      queryLogLines(connection, query, this.#disordered, sources),
    );
  }

  /**
   * Runs one read-only statement.
   * @throws InvalidInputError when it is not one, or DuckDB rejects it; UnprocessableError when it takes too long or too much
   *   memory; HistoryUnavailableError
   */
  query(query: QueryDatabase, mostMs: number = READ_TIMEOUT_MS): Promise<Omit<QueryResult, "warning">> {
    return this.#run(this.#queries, query, Math.min(query.timeout_ms ?? mostMs, mostMs));
  }

  /** {@link query} for an alert file. */
  evaluate(query: QueryDatabase, timeoutMs: number): Promise<Omit<QueryResult, "warning">> {
    return this.#run(this.#alerts, query, timeoutMs);
  }

  async #run(
    readers: HistoryReaders,
    query: QueryDatabase,
    timeoutMs: number,
  ): Promise<Omit<QueryResult, "warning">> {
    try {
      return await readers.read(
        timeoutMs,
        async (connection) => {
          if (this.archive.isUsed) await connection.run(`SET search_path = '${HISTORY_SCHEMA},main'`);
          // The views have the names of tables.
          const sql =
            this.archive.isUsed && /^\s*show\s+tables\s*;?\s*$/i.test(query.sql)
              ? "SELECT DISTINCT name FROM (SHOW TABLES) ORDER BY name"
              : query.sql;
          return runQuery(this.#database.duckdb, connection, { ...query, sql });
        },
        QUERY_GROWTH_BYTES,
      );
    } catch (error) {
      throw this.#readFailure(error, "The query");
    }
  }

  /** Ends the statements of users that run now: their callers are told why. */
  endQueries(why: string): void {
    for (const readers of [this.#queries, this.#alerts]) readers.stopAll(why);
  }

  /** A run, or null. @throws HistoryUnavailableError */
  findRun(workflowInstanceId: string, outputs: boolean): Promise<HistoricRun | null> {
    return this.#read("The query", READ_TIMEOUT_MS, (connection, sources) =>
      findRun(connection, workflowInstanceId, outputs, sources),
    );
  }

  /** A page of the items of a fan-out. @throws HistoryUnavailableError */
  findItems(list: ListItems): Promise<ItemSummary[]> {
    return this.#read("The query", READ_TIMEOUT_MS, (connection, sources) =>
      findItems(connection, list, sources),
    );
  }

  /** What task runs published, as JSON, by their ids; null if that is too much for a message. @throws HistoryUnavailableError */
  findOutputs(taskInstanceIds: readonly string[]): Promise<ReadonlyMap<string, string> | null> {
    return this.#read("The query", READ_TIMEOUT_MS, (connection, sources) =>
      findOutputs(connection, taskInstanceIds, sources),
    );
  }

  /** The runs of a workflow with one of these times in its schedule. @throws HistoryUnavailableError */
  findFirings(workflowId: string, timesMs: readonly number[]): Promise<HistoricFiring[]> {
    return this.#read("The query", READ_TIMEOUT_MS, (connection, sources) =>
      findFirings(connection, workflowId, timesMs, sources),
    );
  }

  /** The contexts that triggers of runs have brought lately: run and `traceparent`. @throws HistoryUnavailableError */
  broughtContexts(): Promise<[string, string][]> {
    return this.#readOwn(findBroughtContexts);
  }

  /** How runs of these workflows ended last. @throws HistoryUnavailableError */
  latestEnds(workflowIds: readonly string[]): Promise<LatestEnd[]> {
    return this.#read("The query", READ_TIMEOUT_MS, (connection, sources) =>
      findLatestEnds(connection, workflowIds, sources),
    );
  }

  /** Runs, newest first; with `before` only those created before that time (ms). @throws HistoryUnavailableError */
  listRuns(list: ListRuns, before?: number): Promise<RunSummary[]> {
    return this.#read("The query", READ_TIMEOUT_MS, (connection, sources) =>
      listRuns(connection, list, before, sources),
    );
  }

  /** The runs that are unfinished according to the history. @throws HistoryUnavailableError */
  unfinished(): Promise<HistoricStatuses[]> {
    return this.#readOwn(findUnfinished);
  }

  /** What the history has of runs. @throws HistoryUnavailableError */
  statusesOf(ids: readonly string[]): Promise<HistoricStatuses[]> {
    return this.#readOwn((connection) => findStatuses(connection, ids, this.archive.sources(connection)));
  }

  /**
   * Ends unfinished runs as CRASHED. Must not be called while {@link write} runs.
   * @throws HistoryUnavailableError
   */
  async crash(ids: readonly string[], error: string, nowMs: number): Promise<void> {
    try {
      await this.#writer.transact((connection) => crashRuns(connection, ids, error, nowMs));
    } catch (failure) {
      throw this.#unavailable(failure);
    }
  }

  /**
   * Writes one Parquet file per table and view into `directory`, all from the same state.
   * @returns file name → number of rows
   * @throws UnprocessableError when there is not enough space; HistoryUnavailableError
   */
  async exportTo(directory: string, signal?: AbortSignal): Promise<Map<string, number>> {
    try {
      const work = (connection: DuckDBConnection) =>
        exportTables(connection, directory, this.#disordered, this.archive.sources(connection));
      return await this.#exports.read(EXPORT_TIMEOUT_MS, work, undefined, signal);
    } catch (error) {
      throw isDiskFull(error) ? noRoom(error, directory) : this.#readFailure(error, "The export");
    }
  }

  /**
   * Writes a consistent copy of the database to `file`, which any DuckDB client can open.
   * @param archive how what is archived gets into the copy: as rows of its tables, or as files, for which this is called; null: not at all
   * @throws UnprocessableError when there is not enough space, or its turn does not come; HistoryUnavailableError
   */
  async backupTo(
    file: string,
    moment?: BackupMoment,
    signal?: AbortSignal,
    archive: "rows" | ((parts: readonly Part[]) => Promise<void>) | null = "rows",
  ): Promise<void> {
    try {
      const work = (connection: DuckDBConnection) => {
        const kept =
          archive === "rows"
            ? { as: archive, sources: this.archive.sources(connection) }
            : archive !== null && { as: "files" as const, carry: archive };
        return writeBackup(connection, this.#database.copySchema, file, moment, kept || undefined);
      };
      await this.#exports.lend(EXPORT_TIMEOUT_MS, work, undefined, signal);
    } catch (error) {
      throw isDiskFull(error) ? noRoom(error, file) : this.#readFailure(error, "The backup");
    }
  }

  /** Ends all reads, checkpoints everything into the one file and closes it. */
  async close(): Promise<void> {
    const readers = [
      ...[this.#readers, this.#queries, this.#alerts, this.#exports],
      ...[this.#own, this.#archiving],
    ];
    await Promise.all(readers.map((pool) => pool.close()));
    await this.archive.settled();
    await this.#database.close(this.#broken);
  }

  /** A read that the history itself needs. */
  async #readOwn<T>(work: Parameters<typeof HistoryReaders.prototype.read<T>>[1]): Promise<T> {
    try {
      return await this.#own.read(READ_TIMEOUT_MS, work);
    } catch (error) {
      throw this.#readFailure(error, "The query");
    }
  }

  /** A step of the archive: it has a connection of its own, which no other statement uses. */
  async #lendForArchive<T>(work: (connection: DuckDBConnection) => Promise<T>): Promise<T> {
    try {
      return await this.#archiving.lend(EXPORT_TIMEOUT_MS, work);
    } catch (error) {
      throw isDiskFull(error)
        ? noRoom(error, `${this.name}.archive`)
        : this.#readFailure(error, "The archive");
    }
  }

  async #read<T>(
    what: string,
    timeoutMs: number,
    work: (connection: DuckDBConnection, sources: AnySources) => Promise<T>,
  ): Promise<T> {
    try {
      return await this.#readers.read(timeoutMs, (connection) =>
        work(connection, this.archive.sources(connection)),
      );
    } catch (error) {
      throw this.#readFailure(error, what);
    }
  }

  #readFailure(error: unknown, what: string): unknown {
    if (this.#database.isLost(error, "read")) this.#broken = true;
    else if (archiveFileIn(error) !== undefined) this.archive.recheckSoon();
    return readError(error, this.name, what);
  }

  #unavailable(error: unknown): Error {
    if (this.#database.isLost(error, "write")) this.#broken = true;
    return historyUnavailable(error, this.name);
  }
}

function noRoom(cause: unknown, path: string): UnprocessableError {
  return new UnprocessableError(`The disk is full: there is no space for ${path}.`, {
    cause,
    hint: "Free some space there, or set CDKTR_APP_DATA_DIRECTORY to a directory on another disk.",
  });
}
