/**
 * Brings log lines and status rows into the history database, in batches with their cursors, and answers from it. While the
 * database is away nothing else stops: lines wait here in bounded memory and then with the agents, status rows in the operational state.
 */

import { existsSync } from "node:fs";
import { join } from "node:path";
import type { ConsolaInstance } from "consola";
import type { LogBatch } from "../../contract/log-line.ts";
import type {
  FilePiece,
  ListRuns,
  LogPage,
  PreparedFiles,
  QueryDatabase,
  QueryResult,
  ReadFile,
  RunSummary,
  SearchLogs,
} from "../../contract/messages.ts";
import { errorMessage } from "../../errors.ts";
import { BackgroundService } from "../../service.ts";
import { IN_MEMORY } from "../../storage/duckdb.ts";
import { HistoryDatabase } from "../../storage/history.ts";
import { HistoryUnavailableError, historyUnavailable } from "../../storage/history-error.ts";
import type { LegacyLogQuery } from "../../storage/history-logs.ts";
import type { HistoryMigrations } from "../../storage/history-migrations.ts";
import type { HistoricRun } from "../../storage/history-runs.ts";
import type { StatusFeed } from "../../storage/operational/store.ts";
import { BackOff } from "../../timer.ts";
import { LogIntake, type StreamPosition } from "./log-intake.ts";
import { Transfers } from "./transfers.ts";
import { Waiters } from "./waiters.ts";

/** What one transaction takes at most, roughly. */
const TRANSACTION_LINES = 100_000;
const TRANSACTION_BYTES = 32 * 1024 * 1024;
const TRANSACTION_STATUSES = 2_000;
/** Pauses between attempts to open or write the database, ms: they double. */
const FIRST_RETRY_MS = 250;
const LAST_RETRY_MS = 5_000;
/** A failure that lasts is reported again after so long, ms. */
const REMINDER_MS = 300_000;

/** Options of {@link Historian}. */
export interface HistorianOptions {
  /** The DuckDB file, or `:memory:`. */
  readonly dbPath: string;
  /** cdktr's own directory: prepared files and DuckDB's temporary ones go below it. */
  readonly dataDirectory: string;
  readonly statuses: StatusFeed;
  /** The longest that a line or a status waits before it is in DuckDB, ms. */
  readonly flushIntervalMs: number;
  readonly log: ConsolaInstance;
  /** Memory that lines may take before they are no longer received. Default 64 MiB. */
  readonly maxHeldBytes?: number;
  /** From so many bytes of lines on they are written at once. Default 8 MiB. */
  readonly flushBytes?: number;
  /** How long prepared files are kept for a client that does not ask for them, ms. Default 10 minutes. */
  readonly transferIdleMs?: number;
  /** How long a statement of `db query` may run, ms. Default 60 s. */
  readonly queryTimeoutMs?: number;
  /** The schema of the database; that of this cdktr by default. */
  readonly migrations?: HistoryMigrations;
}

/** Whether the history can be written and read. */
export interface HistoryAvailability {
  readonly ok: boolean;
  readonly error: string | null;
}

/** What was received and is not in DuckDB yet. */
export interface HeldLogs {
  readonly lines: number;
  readonly bytes: number;
  /** How long the oldest of it waits, ms; 0 when there is none. */
  readonly lagMs: number;
}

/** What the historian signals. */
export interface HistorianSignals {
  /** It tried to write something: how long that took, and whether it succeeded. */
  readonly flushed: { readonly tookMs: number; readonly ok: boolean };
}

export class Historian extends BackgroundService<HistorianSignals> {
  readonly name = "historian";
  readonly #o: HistorianOptions;
  readonly #intake: LogIntake;
  readonly #transfers: Transfers;
  readonly #received = new Waiters();
  readonly #flushBytes: number;
  #database: HistoryDatabase | undefined;
  /** The last status row that is in DuckDB. */
  #statusCursor = 0;
  /** When the oldest line in memory came, or later than that. */
  #heldSince = 0;
  #statusesPending = false;
  #isOpen = false;
  #flushing: Promise<void> | undefined;
  #flushAgain: Promise<void> | undefined;
  readonly #interval = this.timer(() => this.#flushSoon());
  readonly #retry = this.timer(() => this.#flushSoon());
  readonly #backOff = new BackOff(FIRST_RETRY_MS, LAST_RETRY_MS);
  #lastAttempt = Number.NEGATIVE_INFINITY;
  #failure: HistoryUnavailableError | undefined;
  #reported = { message: "", at: 0 };
  /** Ends a copy that is made before a migration. */
  #giveUp = new AbortController();
  /** What is going on, while the schema is migrated. */
  #migrating: string | undefined;
  /** Told when that begins. */
  #migrates: (() => void) | undefined;

  constructor(options: HistorianOptions) {
    super();
    this.#o = options;
    this.#flushBytes = options.flushBytes ?? 8 * 1024 * 1024;
    this.#intake = new LogIntake(options.maxHeldBytes ?? 64 * 1024 * 1024, (lost) => {
      options.log.warn(
        `Log lines ${lost.from} to ${lost.to} of stream ${lost.stream_id} are not in ${options.dbPath}, and their agent does not keep them any more: the database is not the one that they went into.`,
      );
    });
    this.#transfers = new Transfers({
      directory: join(options.dataDirectory, "transfers"),
      idleMs: options.transferIdleMs ?? 600_000,
    });
  }

  /** Whether the history can be written and read, as far as the last attempt showed. */
  get available(): HistoryAvailability {
    return this.#database === undefined || this.#failure !== undefined
      ? { ok: false, error: this.#whyAway().message }
      : { ok: true, error: null };
  }

  /** What waits in memory for the next write. */
  get held(): HeldLogs {
    const { lines, bytes } = this.#intake;
    return { lines, bytes, lagMs: lines === 0 ? 0 : performance.now() - this.#heldSince };
  }

  /**
   * Opens the database. When that fails it says so and goes on trying: everything else works without. Nor does anything wait while
   * it is migrated.
   */
  protected override async onStart(): Promise<void> {
    this.#isOpen = true;
    this.#withTransfers(() => this.#transfers.start());
    this.#statusesPending = true;
    this.#giveUp = new AbortController();
    const migrates = Promise.withResolvers<void>();
    this.#migrates = migrates.resolve;
    await Promise.race([this.flush().catch(() => {}), migrates.promise]);
  }

  /** Writes what it holds, if it can, and closes the database. What it cannot write is still with the agents and in the operational state. */
  protected override async onStop(): Promise<void> {
    this.#giveUp.abort(new HistoryUnavailableError("The principal ends."));
    if (this.#migrating !== undefined) await this.#flushing?.catch(() => {});
    this.#lastAttempt = Number.NEGATIVE_INFINITY;
    await this.flush().catch(() => {});
    this.#isOpen = false;
    this.#received.end();
    const database = this.#database;
    this.#database = undefined;
    await database?.close();
    this.#withTransfers(() => this.#transfers.stop());
  }

  /** A disk that is full or read-only keeps files from being prepared, and nothing else. */
  #withTransfers(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#o.log.warn(
        `Prepared files in ${this.#transfers.directory} cannot be cleared away: ${errorMessage(error)}`,
      );
    }
  }

  // ---------------------------------------------------------------- what comes in

  /**
   * Takes the lines of a batch that continue its stream: {@link position} tells how far that is. What it cannot take, because a
   * batch before is missing or memory is full, must be offered again.
   */
  offer(batch: LogBatch): void {
    if (this.#intake.lines === 0) this.#heldSince = performance.now();
    const taken = this.#intake.offer(batch);
    if (taken === 0) return;
    this.#received.reached(batch.stream_id, this.#intake.position(batch.stream_id).received);
    if (this.#intake.bytes >= this.#flushBytes && this.#failure === undefined) this.#flushSoon();
    else this.#armInterval();
  }

  /**
   * Resolves when a write has made room for more lines; undefined when there is room, or when nothing can be written now, so that
   * waiting would help nobody.
   */
  room(): Promise<void> | undefined {
    if (
      !this.#intake.isFull ||
      this.#failure !== undefined ||
      this.#migrating !== undefined ||
      this.isStopping
    ) {
      return undefined;
    }
    return this.flush().catch(() => {});
  }

  /** How far a stream has come: its last line in memory or better, and its last line in DuckDB. */
  position(streamId: string): StreamPosition {
    return this.#intake.position(streamId);
  }

  /** The agent of a stream cannot send lines before `firstSeq` any more: when they are not here, they never will be. */
  agentHoldsFrom(streamId: string, firstSeq: number): void {
    this.#intake.agentHoldsFrom(streamId, firstSeq);
  }

  /** Resolves with true when line `seq` of the stream has come, with false after `timeoutMs`. */
  waitReceived(streamId: string, seq: number, timeoutMs: number): Promise<boolean> {
    if (this.#intake.position(streamId).received >= seq) return Promise.resolve(true);
    return this.#received.wait(streamId, seq, timeoutMs);
  }

  /** There are new status rows: they go with the next batch. */
  notifyStatus(): void {
    this.#statusesPending = true;
    this.#armInterval();
  }

  /**
   * Resolves when every line and status that came before the call is in DuckDB. Calls at the same time share one write.
   * @throws HistoryUnavailableError when that cannot be done now
   */
  flush(): Promise<void> {
    // That may take long: whoever asks is told instead of kept waiting.
    if (this.#migrating !== undefined) return Promise.reject(this.#whyAway());
    if (this.#flushAgain !== undefined) return this.#flushAgain;
    if (this.#flushing === undefined) return this.#beginFlush();
    // The one that runs may have looked already: one more is needed, for all who call meanwhile.
    this.#flushAgain = this.#flushing.then(
      () => this.#beginFlush(),
      () => this.#beginFlush(),
    );
    return this.#flushAgain;
  }

  // ---------------------------------------------------------------- what is asked

  /**
   * A page of log lines; everything that was received is in it, or `warning` says what is not.
   * @throws InvalidInputError when the pattern or the position is none; HistoryUnavailableError when nothing can be read
   */
  async searchLogs(search: SearchLogs): Promise<LogPage> {
    const warning = await this.#flushForReading();
    return { ...(await this.#read((database) => database.searchLogs(search))), warning };
  }

  /**
   * Log lines as text, in order.
   * @throws HistoryUnavailableError
   */
  async queryLogs(
    endMs: number | null,
    startMs: number | null,
    workflowId: string | null,
    workflowInstanceId: string | null,
    verbose: boolean,
  ): Promise<string[]> {
    const query: LegacyLogQuery = { endMs, startMs, workflowId, workflowInstanceId, verbose };
    const warning = await this.#flushForReading();
    const lines = await this.#read((database) => database.queryLogLines(query));
    if (warning !== null) lines.push(`${new Date().toISOString()} [WARN] cdktr: ${warning}`);
    return lines;
  }

  /**
   * Runs one statement that only reads.
   * @throws InvalidInputError, UnprocessableError, HistoryUnavailableError
   */
  async query(query: QueryDatabase): Promise<QueryResult> {
    const warning = await this.#flushForReading();
    const result = await this.#read((database) => database.query(query, this.#o.queryTimeoutMs));
    return { ...result, warning };
  }

  /** A run that the operational state has forgotten, or null. @throws HistoryUnavailableError */
  findRun(workflowInstanceId: string): Promise<HistoricRun | null> {
    return this.#read((database) => database.findRun(workflowInstanceId));
  }

  /**
   * Runs, newest first; with `before` only those created before that instant (ms).
   * @throws HistoryUnavailableError
   */
  listRuns(list: ListRuns, before?: number): Promise<RunSummary[]> {
    return this.#read((database) => database.listRuns(list, before));
  }

  /**
   * Prepares Parquet files of all tables and views.
   * @throws HistoryUnavailableError; UnprocessableError when too many are under way
   */
  async prepareExport(): Promise<PreparedFiles> {
    await this.flush();
    return this.#transfers.prepare((directory) => this.#read((database) => database.exportTo(directory)));
  }

  /**
   * Prepares a consistent copy of the database.
   * @throws HistoryUnavailableError; UnprocessableError when too many are under way
   */
  async prepareBackup(): Promise<PreparedFiles> {
    await this.flush();
    return this.#transfers.prepare(async (directory) => {
      await this.#read((database) => database.backupTo(join(directory, "cdktr.duckdb")));
      return new Map();
    });
  }

  /** A piece of a prepared file. @throws NotFoundError */
  readFile(request: ReadFile): Promise<FilePiece> {
    return this.#transfers.read(request);
  }

  /** Removes prepared files. */
  dropFiles(transferId: string): void {
    this.#transfers.drop(transferId);
  }

  // ---------------------------------------------------------------- writing

  #beginFlush(): Promise<void> {
    this.#flushAgain = undefined;
    const flushing = this.#flushNow().finally(() => {
      if (this.#flushing === flushing) this.#flushing = undefined;
    });
    this.#flushing = flushing;
    return flushing;
  }

  async #flushNow(): Promise<void> {
    if (!this.#isOpen) throw new HistoryUnavailableError("The historian does not run.");
    // While the database is away, those who ask get the answer that is known instead of one attempt each.
    if (this.#failure !== undefined && performance.now() - this.#lastAttempt < FIRST_RETRY_MS)
      throw this.#failure;
    this.#lastAttempt = performance.now();
    this.#interval.cancel();
    const began = this.#lastAttempt;
    try {
      const database = await this.#open();
      const hasWritten = await this.#drain(database);
      if (hasWritten) this.signals.emit("flushed", { tookMs: performance.now() - began, ok: true });
      // What is left came meanwhile.
      this.#heldSince = began;
    } catch (error) {
      this.signals.emit("flushed", { tookMs: performance.now() - began, ok: false });
      const failure = historyUnavailable(error, this.#o.dbPath);
      await this.#failed(failure);
      throw failure;
    }
    this.#succeeded();
  }

  /** Writes until everything is in DuckDB that was there at the beginning; tells whether there was anything. */
  async #drain(database: HistoryDatabase): Promise<boolean> {
    const ends = this.#intake.ends();
    for (let hasWritten = false; ; hasWritten = true) {
      this.#statusesPending = false;
      const statuses = await this.#o.statuses.takeStatuses(this.#statusCursor, TRANSACTION_STATUSES);
      const portion = this.#intake.take(TRANSACTION_LINES, TRANSACTION_BYTES);
      if (portion.logs.length === 0 && statuses.length === 0) return hasWritten;
      await database.write({ ...portion, statuses });
      this.#intake.written(portion);
      this.#statusesTaken(statuses.at(-1)?.id ?? 0);
      if (statuses.length < TRANSACTION_STATUSES && this.#intake.reached(ends)) return true;
    }
  }

  #statusesTaken(id: number): void {
    if (id <= this.#statusCursor) return;
    this.#statusCursor = id;
    // When they cannot be forgotten now, they are with the next ones: the history knows that it has them.
    this.#o.statuses.ackStatuses(id).catch(() => {});
  }

  async #open(): Promise<HistoryDatabase> {
    if (this.#database?.stale) {
      const stale = this.#database;
      if (this.#o.dbPath !== IN_MEMORY && !existsSync(this.#o.dbPath)) {
        this.#o.log.error(
          `The history database ${this.#o.dbPath} was removed while the principal ran: a new one begins. What it held is gone, unless there is a backup.`,
        );
      }
      this.#database = undefined;
      await stale.close();
    }
    if (this.#database !== undefined) return this.#database;
    const database = await this.#openFile();
    try {
      this.#intake.recallTimes(await database.latestTimes());
      await this.#reconcile(database);
    } catch (error) {
      await database.close();
      throw error;
    }
    this.#database = database;
    return database;
  }

  async #openFile(): Promise<HistoryDatabase> {
    try {
      return await HistoryDatabase.open({
        path: this.#o.dbPath,
        filesDirectory: this.#transfers.directory,
        tempDirectory: join(this.#o.dataDirectory, "duckdb-temp"),
        signal: this.#giveUp.signal,
        migrations: this.#o.migrations,
        say: (what) => {
          this.#o.log.info(what);
          this.#migrating = `The history database ${this.#o.dbPath} is being migrated to the schema of this cdktr.`;
          this.#migrates?.();
        },
      });
    } finally {
      this.#migrating = undefined;
    }
  }

  /** Takes over what the database says it holds: after a failed commit only it knows. */
  async #reconcile(database: HistoryDatabase): Promise<void> {
    const { outbox, streams } = await database.cursors();
    this.#intake.reconcile(streams);
    for (const streamId of this.#received.streams()) {
      this.#received.reached(streamId, this.#intake.position(streamId).received);
    }
    this.#statusesTaken(outbox);
  }

  async #failed(failure: HistoryUnavailableError): Promise<void> {
    this.#failure = failure;
    const database = this.#database;
    if (database !== undefined) {
      try {
        if (database.stale) throw failure;
        await this.#reconcile(database);
      } catch {
        this.#database = undefined;
        await database.close().catch(() => {});
      }
    }
    const now = performance.now();
    if (failure.message !== this.#reported.message || now - this.#reported.at > REMINDER_MS) {
      this.#reported = { message: failure.message, at: now };
      this.#o.log.warn(failure.hint === undefined ? failure.message : `${failure.message} ${failure.hint}`);
      this.#o.log.debug(`Cause: ${errorMessage(failure.cause)}`);
    }
    this.#retry.in(this.#backOff.next());
  }

  #succeeded(): void {
    this.#retry.cancel();
    this.#backOff.reset();
    if (this.#failure !== undefined) {
      this.#failure = undefined;
      this.#reported = { message: "", at: 0 };
      this.#o.log.info(`The history database ${this.#o.dbPath} is available again.`);
    }
    if (this.#statusesPending || this.#intake.lines > 0) this.#armInterval();
  }

  #armInterval(): void {
    // After a failure the retry comes first.
    if (this.#isOpen && this.#failure === undefined) this.#interval.within(this.#o.flushIntervalMs);
  }

  #flushSoon(): void {
    if (this.isStopping || this.#flushAgain !== undefined) return;
    // Nobody waits for it: what goes wrong is reported and tried again.
    this.flush().catch(() => {});
  }

  // ---------------------------------------------------------------- reading

  /** What a reader will not see, or null. */
  async #flushForReading(): Promise<string | null> {
    try {
      await this.flush();
      return null;
    } catch (error) {
      if (this.#database === undefined) throw error;
      const { lines } = this.#intake;
      const held =
        lines === 0 ? "The newest lines and statuses" : `${lines} lines or more, and the newest statuses,`;
      return `${held} are not shown: ${errorMessage(error)}`;
    }
  }

  #whyAway(): HistoryUnavailableError {
    const hint = "Nothing is lost meanwhile; try again in a while.";
    if (this.#migrating !== undefined) return new HistoryUnavailableError(this.#migrating, { hint });
    return this.#failure ?? new HistoryUnavailableError("The history database is not open.", { hint });
  }

  async #read<T>(work: (database: HistoryDatabase) => Promise<T>): Promise<T> {
    const database = this.#database;
    if (database === undefined) throw this.#whyAway();
    try {
      return await work(database);
    } finally {
      // A reader found the database broken: the next flush opens it anew.
      if (database.stale && database === this.#database) this.#flushSoon();
    }
  }
}
