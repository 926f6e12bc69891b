/**
 * Writes log lines and status rows to the history database, in batches together with their cursors, and queries it. While the database
 * is unavailable nothing else stops: lines wait here in bounded memory and then on the agents, status rows in the operational state.
 */

import { join } from "node:path";
import type { ConsolaInstance } from "consola";
import {
  type HeldLogs,
  type HistoricFiring,
  type HistoricRun,
  type HistoryAvailability,
  type HistorySizes,
  HistoryUnavailableError,
  IN_MEMORY,
  type LakeSettings,
  type LatestEnd,
  type LineQuery,
  nameOfHistory,
} from "../contract/history.ts";
import type { PendingStatus } from "../contract/history-rows.ts";
import type { LogBatch } from "../contract/log-line.ts";
import type {
  FilePiece,
  ItemSummary,
  ListItems,
  ListRuns,
  LogPage,
  PreparedFiles,
  QueryDatabase,
  QueryResult,
  ReadFile,
  RunSummary,
  SearchLogs,
} from "../contract/messages.ts";
import { errorMessage } from "../errors.ts";
import { FileIdentity } from "../host/file-identity.ts";
import { BackgroundService } from "../service.ts";
import type { StateIdentity, StatusFeed } from "../storage/operational/store.ts";
import { BackOff, isDoneWithin } from "../timer.ts";
import type { Archive } from "./database/archive.ts";
import { carryParts } from "./database/archive-layout.ts";
import type { Part } from "./database/archive-manifest.ts";
import { historyUnavailable } from "./database/error.ts";
import type { BackupMoment } from "./database/export.ts";
import { HistoryDatabase } from "./database/history-database.ts";
import type { HistoryMigrations } from "./database/migrations.ts";
import type { HistoryBatch } from "./database/write.ts";
import { FencedError, lake } from "./lake/lake.ts";
import { LogIntake, type StreamPosition } from "./log-intake.ts";
import { positionIn, StateComparison } from "./state-comparison.ts";
import { Transfers } from "./transfers.ts";
import { Waiters } from "./waiters.ts";

/** Approximate maximum size of one transaction. */
const TRANSACTION_LINES = 100_000;
const TRANSACTION_BYTES = 32 * 1024 * 1024;
const TRANSACTION_STATUSES = 2_000;
/** Rows of statuses with so much text may be fewer than there are: the principal gives portions of 8 MiB, and text is escaped in them. */
const LARGE_STATUSES = 512 * 1024;
/** Exponential back-off between attempts to open or write the database, ms. */
const FIRST_RETRY_MS = 250;
const LAST_RETRY_MS = 5_000;
/** A persistent failure is logged again after this time, ms. */
const REMINDER_MS = 300_000;
/** A principal that leads no more has noticed that after this time, ms. */
const FENCED_MS = 30_000;
/** How long a backup waits for the write in progress, ms. */
const HOLD_WAITS_MS = 30_000;

/** Characters of the text in rows: parameters, outputs, errors. */
function textIn(statuses: readonly PendingStatus[]): number {
  let characters = 0;
  for (const { row } of statuses)
    for (const value of Object.values(row)) if (typeof value === "string") characters += value.length;
  return characters;
}

/** Options of {@link Historian}. */
export interface HistorianOptions {
  /** The DuckDB file, or `:memory:`. */
  readonly dbPath: string;
  /** The lake that it is in, instead of that file. */
  readonly lake?: LakeSettings | undefined;
  /** cdktr's own directory, for prepared files and DuckDB's temporary ones. */
  readonly dataDirectory: string;
  readonly statuses: StatusFeed;
  /** Maximum time before a line or a status is written to DuckDB, ms. */
  readonly flushIntervalMs: number;
  readonly log: ConsolaInstance;
  /** Memory that lines may use before no more are accepted. Default 64 MiB. */
  readonly maxHeldBytes?: number;
  /** Above this many bytes, lines are written at once. Default 8 MiB. */
  readonly flushBytes?: number;
  /** How long prepared files are kept if the client does not fetch them, ms. Default 10 minutes. */
  readonly transferIdleMs?: number;
  /** Timeout of a statement of `db query`, ms. Default 60 s. */
  readonly queryTimeoutMs?: number;
  /** The migrations of the database; those of this cdktr by default. */
  readonly migrations?: HistoryMigrations;
  /** How long another history is let write, as one that has taken over from this one does, ms. Default 30 s. */
  readonly fencedMs?: number;
  /** Whether a new state may take over the id of the installation from the history. True by default. */
  readonly mayAdopt?: boolean;
}

/** Events of the historian. */
export interface HistorianSignals {
  /** A write was attempted: its duration and result. */
  readonly flushed: { readonly tookMs: number; readonly ok: boolean };
  /** The position of this stream has changed. */
  readonly moved: string;
  /** The positions of all streams have been read from DuckDB. */
  readonly reconciled: undefined;
  /** {@link Historian.available} may have changed. */
  readonly availability: undefined;
  /** This was written; whether there were no more status rows then. */
  readonly written: { readonly batch: HistoryBatch; readonly isAll: boolean };
}

export class Historian extends BackgroundService<HistorianSignals> {
  readonly name = "historian";
  readonly #o: HistorianOptions;
  readonly #intake: LogIntake;
  readonly #transfers: Transfers;
  readonly #comparison: StateComparison;
  readonly #received = new Waiters();
  readonly #flushBytes: number;
  /** What messages call it. */
  readonly #place: string;
  /** Undefined for a database in memory, and for a lake. */
  readonly #file: FileIdentity | undefined;
  #database: HistoryDatabase | undefined;
  /** The state that status rows come from; undefined until it has been compared with the history. */
  #state: StateIdentity | undefined;
  /** Its last status row that is in DuckDB. */
  #statusCursor = 0;
  /** When the oldest line in memory arrived, or later. */
  #heldSince = 0;
  #statusesPending = false;
  #isOpen = false;
  /** Whether agents may already know the id of this installation. */
  #isServing = false;
  #flushing: Promise<void> | undefined;
  #flushAgain: Promise<void> | undefined;
  readonly #interval = this.timer(() => this.#flushSoon());
  readonly #retry = this.timer(() => this.#flushSoon());
  readonly #backOff = new BackOff(FIRST_RETRY_MS, LAST_RETRY_MS);
  #lastAttempt = Number.NEGATIVE_INFINITY;
  /**
   * Set while the database has yet to be compared with the state: the position in the status rows of this state with which it was opened,
   * undefined if it has none.
   */
  #unchecked: { readonly since: number | undefined } | undefined;
  #failure: HistoryUnavailableError | undefined;
  #reported = { message: "", at: 0 };
  /** Since when the history of another principal has written, although this one's principal leads. */
  #fencedAt: number | undefined;
  /** Aborts the backup before a migration. */
  #giveUp = new AbortController();
  /** A description of the progress, while the schema is migrated. */
  #migrating: string | undefined;
  /** Called when the migration begins. */
  #migrates: (() => void) | undefined;

  constructor(options: HistorianOptions) {
    super();
    this.#o = options;
    this.#flushBytes = options.flushBytes ?? 8 * 1024 * 1024;
    this.#place = nameOfHistory({ db_path: options.dbPath, lake: options.lake });
    if (options.lake === undefined && options.dbPath !== IN_MEMORY)
      this.#file = new FileIdentity(options.dbPath, options.dataDirectory);
    this.#intake = new LogIntake(options.maxHeldBytes ?? 64 * 1024 * 1024, (lost) => {
      options.log.warn(
        `Log lines ${lost.from} to ${lost.to} of stream ${lost.stream_id} are not in ${this.#place}, and their agent no longer has them: they went into a different database file.`,
      );
    });
    this.#transfers = new Transfers({
      directory: join(options.dataDirectory, "transfers"),
      idleMs: options.transferIdleMs ?? 600_000,
    });
    this.#comparison = new StateComparison({
      statuses: options.statuses,
      place: this.#place,
      log: options.log,
      clock: this.clock,
      mayAdopt: () => !this.#isServing && options.mayAdopt !== false,
      read: (work) => this.#read(work),
      holdWrites: () => this.#holdWrites(),
      takenId: () => this.#statusCursor,
      notify: () => this.notifyStatus(),
      isStopping: () => this.isStopping,
    });
  }

  /** Whether the history can be written and read, according to the last attempt. */
  get available(): HistoryAvailability {
    return this.#database === undefined || this.#failure !== undefined
      ? { ok: false, error: this.#whyAway().message }
      : { ok: true, error: null };
  }

  /** What waits in memory for the next write. */
  get held(): HeldLogs {
    const { lines, bytes } = this.#intake;
    return { lines, bytes, lagMs: lines === 0 ? 0 : this.clock.monotonic() - this.#heldSince };
  }

  /**
   * Opens the database. If that fails, it is logged and retried: everything else works without it. Nothing waits for a migration
   * either.
   */
  protected override async onStart(): Promise<void> {
    this.#isOpen = true;
    this.#withTransfers(() => this.#transfers.start());
    this.#statusesPending = true;
    this.#giveUp = new AbortController();
    const migrates = Promise.withResolvers<void>();
    this.#migrates = migrates.resolve;
    await Promise.race([this.flush().catch(() => {}), migrates.promise]);
    this.#isServing = true;
  }

  /** Writes what it holds, if possible, and closes the database. What it cannot write is still on the agents and in the operational state. */
  protected override async onStop(): Promise<void> {
    this.#giveUp.abort(new HistoryUnavailableError("The principal is stopping."));
    if (this.#migrating !== undefined) await this.#flushing?.catch(() => {});
    this.#lastAttempt = Number.NEGATIVE_INFINITY;
    await this.flush().catch(() => {});
    this.#isOpen = false;
    this.#received.end();
    const database = this.#database;
    this.#database = undefined;
    await database?.close();
    this.#file?.close();
    this.#withTransfers(() => this.#transfers.stop());
  }

  /** A full or read-only disk only prevents files from being prepared. */
  #withTransfers(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#o.log.warn(
        `Prepared files in ${this.#transfers.directory} cannot be removed: ${errorMessage(error)}`,
      );
    }
  }

  // ---------------------------------------------------------------- input

  /**
   * Accepts the lines of a batch that continue its stream: {@link position} tells how far that is. Lines that it cannot accept, because
   * an earlier batch is missing or memory is full, must be offered again.
   */
  offer(batch: LogBatch): void {
    if (this.#intake.lines === 0) this.#heldSince = this.clock.monotonic();
    const taken = this.#intake.offer(batch);
    if (taken === 0) return;
    this.#received.reached(batch.stream_id, this.#intake.position(batch.stream_id).received);
    this.signals.emit("moved", batch.stream_id);
    if (this.#intake.bytes >= this.#flushBytes && this.#failure === undefined) this.#flushSoon();
    else this.#armInterval();
  }

  /**
   * Backpressure: resolves when a write has made space for more lines; undefined when there is space, or when nothing can be written now,
   * so that waiting would be pointless.
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

  /** The position of a stream: its last line received, and its last line in DuckDB. */
  position(streamId: string): StreamPosition {
    return this.#intake.position(streamId);
  }

  /** The agent of a stream can no longer send lines before `firstSeq`: missing ones are lost. */
  agentHoldsFrom(streamId: string, firstSeq: number): void {
    this.#intake.agentHoldsFrom(streamId, firstSeq);
    this.signals.emit("moved", streamId);
  }

  /** Resolves with true when line `seq` of the stream has arrived, with false after `timeoutMs`. */
  waitReceived(streamId: string, seq: number, timeoutMs: number): Promise<boolean> {
    if (this.#intake.position(streamId).received >= seq) return Promise.resolve(true);
    return this.#received.wait(streamId, seq, timeoutMs);
  }

  /** Notifies of new status rows, which are written with the next batch. */
  notifyStatus(): void {
    this.#statusesPending = true;
    this.#armInterval();
  }

  /**
   * Resolves when every line and status received before the call is in DuckDB. Concurrent calls share one write.
   * @throws HistoryUnavailableError when that is not possible now
   */
  flush(): Promise<void> {
    // That may take long, so callers get an error instead of waiting.
    if (this.#migrating !== undefined) return Promise.reject(this.#whyAway());
    if (this.#flushAgain !== undefined) return this.#flushAgain;
    if (this.#flushing === undefined) return this.#beginFlush();
    // The current write may have read its input already: one more is needed, for all callers in the meantime.
    this.#flushAgain = this.#flushing.then(
      () => this.#beginFlush(),
      () => this.#beginFlush(),
    );
    return this.#flushAgain;
  }

  // ---------------------------------------------------------------- queries

  /**
   * A page of log lines; it includes everything that was received, or `warning` says what is missing.
   * @throws InvalidInputError when the pattern or the position is invalid; HistoryUnavailableError when nothing can be read
   */
  async searchLogs(search: SearchLogs): Promise<LogPage> {
    const warning = await this.#flushForReading();
    return { ...(await this.#read((database) => database.searchLogs(search))), warning };
  }

  /**
   * Log lines as text, in order.
   * @throws HistoryUnavailableError
   */
  async queryLogs(query: LineQuery): Promise<string[]> {
    const warning = await this.#flushForReading();
    const lines = await this.#read((database) => database.queryLogLines(query));
    if (warning !== null) lines.push(`${new Date().toISOString()} [WARN] cdktr: ${warning}`);
    return lines;
  }

  /**
   * Runs one read-only statement.
   * @throws InvalidInputError, UnprocessableError, HistoryUnavailableError
   */
  async query(query: QueryDatabase): Promise<QueryResult> {
    const warning = await this.#flushForReading();
    const result = await this.#read((database) => database.query(query, this.#o.queryTimeoutMs));
    return { ...result, warning };
  }

  /** Its sizes; 0 while the database is not open. */
  get sizes(): HistorySizes {
    return this.#database?.archive.sizes ?? { database: 0, archive: 0, missing: 0 };
  }

  /**
   * Calls `work` with the archive of the open database, which has everything that was received before.
   * @throws HistoryUnavailableError; errors of `work`
   */
  async withArchive<T>(work: (archive: Archive) => Promise<T>): Promise<T> {
    return this.#read((database) => work(database.archive));
  }

  /** {@link query} for an alert file: statements of users do not hold it up. */
  async evaluate(query: QueryDatabase, timeoutMs: number): Promise<QueryResult> {
    const warning = await this.#flushForReading();
    return { ...(await this.#read((database) => database.evaluate(query, timeoutMs))), warning };
  }

  /** Ends the statements of users that run now: their callers are told why. */
  endQueries(why: string): void {
    this.#database?.endQueries(why);
  }

  /** A run that was removed from the operational state, or null. @throws HistoryUnavailableError */
  findRun(workflowInstanceId: string, outputs: boolean): Promise<HistoricRun | null> {
    return this.#read((database) => database.findRun(workflowInstanceId, outputs));
  }

  /** A page of the items of a fan-out. @throws HistoryUnavailableError */
  findItems(list: ListItems): Promise<ItemSummary[]> {
    return this.#read((database) => database.findItems(list));
  }

  /** What task runs published, as JSON, by their ids; null if that is too much for a message. @throws HistoryUnavailableError */
  findOutputs(taskInstanceIds: readonly string[]): Promise<ReadonlyMap<string, string> | null> {
    return this.#read((database) => database.findOutputs(taskInstanceIds));
  }

  /** The runs of a workflow with one of these times in its schedule. @throws HistoryUnavailableError */
  findFirings(workflowId: string, timesMs: readonly number[]): Promise<HistoricFiring[]> {
    return this.#read((database) => database.findFirings(workflowId, timesMs));
  }

  /** The contexts that triggers of runs have brought lately: run and `traceparent`. @throws HistoryUnavailableError */
  broughtContexts(): Promise<[string, string][]> {
    return this.#read((database) => database.broughtContexts());
  }

  /** How runs of these workflows ended last. @throws HistoryUnavailableError */
  latestEnds(workflowIds: readonly string[]): Promise<LatestEnd[]> {
    return this.#read((database) => database.latestEnds(workflowIds));
  }

  /**
   * Runs, newest first; with `before` only those created before that time (ms).
   * @throws HistoryUnavailableError
   */
  listRuns(list: ListRuns, before?: number): Promise<RunSummary[]> {
    return this.#read((database) => database.listRuns(list, before));
  }

  /**
   * Prepares Parquet files of all tables and views.
   * @throws HistoryUnavailableError; UnprocessableError when too many are in progress
   */
  async prepareExport(transferId?: string): Promise<PreparedFiles> {
    return this.#transfers.prepare(async (directory, signal) => {
      await this.flush();
      return this.#read((database) => database.exportTo(directory, signal));
    }, transferId);
  }

  /**
   * Prepares a consistent copy of the database, which also has the rows of the archive.
   * @throws HistoryUnavailableError; UnprocessableError when too many are in progress
   */
  async prepareBackup(transferId?: string, withoutArchive = false): Promise<PreparedFiles> {
    return this.#transfers.prepare(async (directory, signal) => {
      await this.flush();
      await this.#read((database) =>
        database.backupTo(join(directory, "cdktr.duckdb"), undefined, signal, withoutArchive ? null : "rows"),
      );
      return new Map();
    }, transferId);
  }

  /**
   * Prepares copies of state and history as of one moment. Nothing is written into the history between the moment of the copy of the state
   * and the beginning of the copy of the history: lines wait here and on the agents, status rows in the state. The files of the archive are
   * prepared with them.
   * @throws HistoryUnavailableError; UnprocessableError when too many are in progress
   */
  async prepareFullBackup(transferId?: string, withoutArchive = false): Promise<PreparedFiles> {
    return this.#transfers.prepare(async (directory, signal) => {
      await this.flush();
      let release = () => {};
      let state: Promise<void> = Promise.resolve();
      const moment: BackupMoment = {
        // Writes are held when it is this backup's turn, not before.
        before: async () => {
          release = await this.#holdWrites();
          const fixed = Promise.withResolvers<void>();
          state = this.#o.statuses.copyTo(join(directory, "state.db"), fixed.resolve);
          state.catch(() => {});
          await Promise.race([fixed.promise, state]);
        },
        fixed: () => release(),
      };
      try {
        await this.#read((database) => {
          // The copy knows the files in any case: those that are kept elsewhere can be put beside it.
          const carry = async (parts: readonly Part[]) => {
            if (!withoutArchive) await carryParts(database.name, parts, directory);
          };
          return database.backupTo(join(directory, "app.db"), moment, signal, carry);
        });
      } finally {
        release();
        // It writes into the directory until it has ended.
        await state.catch(() => {});
      }
      await state;
      return new Map();
    }, transferId);
  }

  /** Waits for the write in progress; others wait for the release. */
  async #holdWrites(): Promise<() => void> {
    const deadline = this.clock.monotonic() + HOLD_WAITS_MS;
    while (this.#flushing !== undefined) {
      const leftMs = deadline - this.clock.monotonic();
      // A write that fails for good closes the database, and waits for whoever reads: that is who waits here.
      if (
        !(await isDoneWithin(
          leftMs,
          this.#flushing.catch(() => {}),
          this.clock,
        ))
      )
        throw new HistoryUnavailableError("The history did not finish what it was writing in time.", {
          hint: "Try again later; the log of the principal tells more.",
        });
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#flushing = promise;
    return () => {
      if (this.#flushing === promise) this.#flushing = undefined;
      resolve();
    };
  }

  /** A chunk of a prepared file. @throws NotFoundError */
  readFile(request: ReadFile): Promise<FilePiece> {
    return this.#transfers.read(request);
  }

  /** Removes prepared files. */
  dropFiles(transferId: string): Promise<void> {
    return this.#transfers.drop(transferId);
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
    if (!this.#isOpen) throw new HistoryUnavailableError("The historian is not running.");
    // While the database is unavailable, callers get the known answer instead of one attempt each.
    if (this.#failure !== undefined && this.clock.monotonic() - this.#lastAttempt < FIRST_RETRY_MS)
      throw this.#failure;
    this.#lastAttempt = this.clock.monotonic();
    this.#interval.cancel();
    const began = this.#lastAttempt;
    try {
      const database = await this.#open();
      const hasWritten = await this.#drain(database);
      if (hasWritten) this.signals.emit("flushed", { tookMs: this.clock.monotonic() - began, ok: true });
      // The rest arrived in the meantime.
      this.#heldSince = began;
    } catch (error) {
      this.signals.emit("flushed", { tookMs: this.clock.monotonic() - began, ok: false });
      const failure = historyUnavailable(error, this.#place);
      await this.#failed(failure);
      throw failure;
    }
    this.#succeeded();
    const unchecked = this.#unchecked;
    if (unchecked === undefined || this.isStopping) return;
    this.#unchecked = undefined;
    this.track(this.#comparison.settle(unchecked.since));
  }

  /** Writes until everything that was there at the beginning is in DuckDB; returns whether there was anything. */
  async #drain(database: HistoryDatabase): Promise<boolean> {
    const ends = this.#intake.ends();
    for (let hasWritten = false; ; hasWritten = true) {
      this.#statusesPending = false;
      const statuses = await this.#o.statuses.takeStatuses(this.#statusCursor, TRANSACTION_STATUSES);
      const portion = this.#intake.take(TRANSACTION_LINES, TRANSACTION_BYTES);
      if (portion.logs.length === 0 && statuses.length === 0) return hasWritten;
      const batch: HistoryBatch = { ...portion, statuses, state_id: this.#state?.state_id };
      await database.write(batch);
      this.#intake.written(portion);
      for (const streamId of new Set(portion.logs.map(({ stream_id }) => stream_id)))
        this.signals.emit("moved", streamId);
      this.#statusesTaken(statuses.at(-1)?.id ?? 0);
      const isAll = statuses.length < TRANSACTION_STATUSES && textIn(statuses) < LARGE_STATUSES;
      this.signals.emit("written", { batch, isAll });
      if (isAll && this.#intake.reached(ends)) return true;
    }
  }

  #statusesTaken(id: number): void {
    if (id <= this.#statusCursor) return;
    this.#statusCursor = id;
    // If they cannot be removed now, they come again with the next batch: the history knows that it has them.
    this.#o.statuses.ackStatuses(id).catch(() => {});
  }

  async #open(): Promise<HistoryDatabase> {
    const isGone = await this.#database?.lookAtFile();
    if (this.#database?.stale) {
      const stale = this.#database;
      if (isGone === true) {
        this.#o.log.error(
          `The history database ${this.#place} was removed while the principal ran: a new one is created. Its content is lost unless there is a backup.`,
        );
      }
      this.#database = undefined;
      await stale.close();
    }
    if (this.#database !== undefined) return this.#database;
    const database = await this.#openPlace();
    try {
      this.#intake.recallTimes(await database.latestTimes());
      this.#unchecked = { since: await this.#reconcile(database) };
    } catch (error) {
      await database.close();
      throw error;
    }
    this.#database = database;
    return database;
  }

  async #openPlace(): Promise<HistoryDatabase> {
    const options = {
      path: this.#o.dbPath,
      filesDirectory: this.#transfers.directory,
      tempDirectory: join(this.#o.dataDirectory, "duckdb-temp"),
      signal: this.#giveUp.signal,
      migrations: this.#o.migrations,
      inode: async () => this.#file?.inode(),
      say: (what: string) => {
        this.#o.log.info(what);
        this.#migrating = `The history database ${this.#place} is being migrated to the schema of this cdktr version.`;
        this.#migrates?.();
        this.signals.emit("availability");
      },
    };
    const settings = this.#o.lake;
    const now = this.clock.monotonic();
    const insists = this.#fencedAt !== undefined && now - this.#fencedAt >= (this.#o.fencedMs ?? FENCED_MS);
    try {
      // A principal that does not lead any more does not answer, or has ended this history.
      if (insists) await this.#o.statuses.identity();
      const place = settings && lake({ ...options, settings, insists });
      const database = await HistoryDatabase.open({ ...options, place });
      if (insists)
        this.#o.log.warn(
          `The history ${this.#place} had a higher epoch than the principals, as after a restore or a move of their state: it goes on with epoch ${settings?.epoch}.`,
        );
      this.#fencedAt = undefined;
      return database;
    } catch (error) {
      if (error instanceof FencedError) this.#fencedAt ??= now;
      throw error;
    } finally {
      this.#migrating = undefined;
    }
  }

  /**
   * Adopts what the database says it contains: after a failed commit only the database knows. Returns its position in the status rows of
   * this state; undefined if it has none.
   */
  async #reconcile(database: HistoryDatabase): Promise<number | undefined> {
    const cursors = await database.cursors();
    const state = this.#state ?? (await this.#comparison.identify(cursors));
    if (cursors.installation !== state.installation_id) await database.claim(state.installation_id);
    this.#state = state;
    this.#intake.reconcile(cursors.streams);
    this.signals.emit("reconciled");
    for (const streamId of this.#received.streams()) {
      this.#received.reached(streamId, this.#intake.position(streamId).received);
    }
    this.#statusesTaken(positionIn(state, cursors));
    return cursors.states.get(state.state_id);
  }

  async #failed(failure: HistoryUnavailableError): Promise<void> {
    this.#failure = failure;
    this.signals.emit("availability");
    const database = this.#database;
    if (database !== undefined) {
      try {
        await database.lookAtFile();
        if (database.stale) throw failure;
        await this.#reconcile(database);
      } catch {
        this.#database = undefined;
        await database.close().catch(() => {});
      }
    }
    const now = this.clock.monotonic();
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
      this.#o.log.info(`The history database ${this.#place} is available again.`);
    }
    this.signals.emit("availability");
    if (this.#statusesPending || this.#intake.lines > 0) this.#armInterval();
  }

  #armInterval(): void {
    // After a failure the retry comes first.
    if (this.#isOpen && this.#failure === undefined) this.#interval.within(this.#o.flushIntervalMs);
  }

  #flushSoon(): void {
    if (this.isStopping || this.#flushAgain !== undefined) return;
    // Nobody awaits it: failures are logged and retried.
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
    const hint = "Nothing is lost in the meantime; try again later.";
    if (this.#migrating !== undefined) return new HistoryUnavailableError(this.#migrating, { hint });
    return this.#failure ?? new HistoryUnavailableError("The history database is not open.", { hint });
  }

  async #read<T>(work: (database: HistoryDatabase) => Promise<T>): Promise<T> {
    const database = this.#database;
    if (database === undefined) throw this.#whyAway();
    try {
      return await work(database);
    } finally {
      // A reader found the database broken: the next flush reopens it.
      if (database.stale && database === this.#database) this.#flushSoon();
    }
  }
}
