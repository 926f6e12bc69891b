/** The operational state of one principal: a SQLite file in its data directory, which may be its replica of what PostgreSQL has. */
import { Database, SQLiteError } from "bun:sqlite";
import {
  chmodSync,
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import type { ConsolaInstance } from "consola";
import { type Clock, systemClock } from "../../../clock.ts";
import type { HistoricStatuses, PendingStatus } from "../../../contract/history-rows.ts";
import { CdktrError, errorMessage, UnprocessableError } from "../../../errors.ts";
import { bootId } from "../../../host/boot.ts";
import { FileHelper, PathSilentError } from "../../../host/file-helper/file-helper.ts";
import { syncToDisk } from "../../../host/sync-to-disk.ts";
import { migrateSqlite, type SqliteMigrations } from "../../../migrations/sqlite-migrations.ts";
import { GroupCommit, type TransactionControl } from "../group-commit.ts";
import { inUse, REPLICA_FILE } from "../mirror/directory-lock.ts";
import type { WriteThrough } from "../mirror/write-through.ts";
import { refuseMoved } from "../moved.ts";
import { makePrivateDirectory } from "../private-directory.ts";
import {
  type OperationalStore,
  type OperationalTx,
  type StateIdentity,
  StoreUnavailableError,
  type UnitOfWork,
} from "../store.ts";
import { agentIntentions } from "./agents.ts";
import { alertIntentions } from "./alerts.ts";
import { backfillIntentions } from "./backfills.ts";
import { blobIntentions } from "./blobs.ts";
import { expectationIntentions } from "./expectations.ts";
import { followUpIntentions } from "./follow-ups.ts";
import { housekeepingIntentions } from "./forget.ts";
import { groupIntentions } from "./groups.ts";
import { itemIntentions } from "./items.ts";
import { leaseIntentions } from "./leases.ts";
import { pauseIntentions } from "./pauses.ts";
import { poolIntentions } from "./pools.ts";
import { queryAlertIntentions } from "./query-alerts.ts";
import { reasonIntentions } from "./reasons.ts";
import { compareWithHistory, runsChangedAfter } from "./repeat.ts";
import { runIntentions } from "./runs.ts";
import { STATE_MIGRATIONS } from "./schema.ts";
import { secretIntentions } from "./secrets.ts";
import { settingIntentions } from "./settings.ts";
import { sliceIntentions } from "./slices.ts";
import { Statements } from "./statements.ts";
import {
  ackStatuses,
  changeBoot,
  changeIdentity,
  clockOffset,
  historyIntentions,
  lastStatusId,
  raiseStatusIds,
  readIdentity,
  takeStatuses,
} from "./statuses.ts";
import { waitIntentions } from "./waits.ts";
import { workflowIntentions } from "./workflows.ts";

/** Options of the store. */
export interface SqliteStoreOptions {
  /** The data directory; created if missing. */
  readonly directory: string;
  readonly log: ConsolaInstance;
  /** The migrations; those of this cdktr by default. */
  readonly migrations?: SqliteMigrations;
  readonly clock?: Clock;
  /** The file is a replica, made ready by `Replica`: what counts is committed elsewhere. */
  readonly replica?: {
    readonly writeThrough: WriteThrough;
    /** Whether the state has only just begun. */
    readonly isNew: boolean;
  };
  /** Called before each statement of a transaction; if it throws, so does the statement. For tests. */
  readonly beforeStatement?: (sql: string) => void;
}

/**
 * Errors after which not even reads can be trusted: the file is reopened before the next transaction. Not after failed writes: reads
 * still work then, and the connection writes again as soon as the disk does.
 */
const REOPEN_AFTER = /^SQLITE_(IOERR_(READ|SHORT_READ|FSTAT|SEEK|MMAP|LOCK)|CANTOPEN|CORRUPT|NOTADB)/;

/** Pages in the write-ahead log after which a commit copies them into the database: SQLite's own default. */
const CHECKPOINT_PAGES = 1000;
/** Where the header of a database says which journal it uses, and the value for a rollback journal, which a copy needs. */
const JOURNAL_VERSIONS = { offset: 18, bytes: Uint8Array.of(1, 1) };

/** How much the rows for the history have that are taken at once, as JSON, bytes. */
const STATUSES_BYTES = 8 * 1024 * 1024;

/** The key of a row that is written to see whether the disk can be written. */
const PROBE = "probe";

/** The second line of principal.pid. */
const LEAVES_LOG = "state.db-wal";

/** A disk that keeps failing is logged again after this time, ms. */
const REMINDER_MS = 300_000;

/** Whether the disk can be written is tried out if nothing was written for this long, ms. */
const FRESH_MS = 2000;

/** `state.db` (or `replica.db`) in the data directory, locked against a second principal while it is open. */
export class SqliteOperationalStore implements OperationalStore {
  readonly name = "operational state";
  readonly path: string;
  readonly #options: SqliteStoreOptions;
  readonly #statements: Statements;
  readonly #commits: GroupCommit<OperationalTx>;
  #database: Database | undefined;
  #reopen = false;
  /** Identity of the open file: device and inode; and of its write-ahead log. */
  #file = "";
  #wal: string | null = null;
  /** What was found when the file was first opened. */
  #found: Pick<StateIdentity, "last_id" | "is_new" | "former_boot_id"> | undefined;
  /** While the disk fails: when that was last logged (monotonic). */
  #ailing: { saidAt: number } | undefined;
  /** How often the database file itself may have been written, which happens only when the log is copied into it. */
  #checkpoints = 0;
  /** The copy in progress. */
  #copying: Promise<void> | undefined;
  /** Rows written before the current transaction, and when one that wrote some was committed (monotonic). */
  #written = { before: 0, at: Number.NEGATIVE_INFINITY };

  readonly #clock: Clock;
  /** What the monotonic clock of this process lacks to the clock of deadlines, ms. */
  #clockStart: number;

  constructor(options: SqliteStoreOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#clockStart = this.#clock.now() - this.#clock.monotonic();
    this.path = join(options.directory, options.replica === undefined ? "state.db" : REPLICA_FILE);
    const db = new Statements(() => this.#open(), options.beforeStatement);
    this.#statements = db;
    const now = () => Math.round(this.#clockStart + this.#clock.monotonic());
    const history = historyIntentions(db);
    const tx: OperationalTx = {
      ...runIntentions(db, now),
      ...sliceIntentions(db),
      ...waitIntentions(db),
      ...leaseIntentions(db, now),
      ...itemIntentions(db),
      ...groupIntentions(db),
      ...agentIntentions(db, now),
      ...followUpIntentions(db),
      ...workflowIntentions(db),
      ...reasonIntentions(db),
      ...history,
      ...alertIntentions(db, history),
      ...pauseIntentions(db),
      ...secretIntentions(db),
      ...poolIntentions(db),
      ...queryAlertIntentions(db),
      ...settingIntentions(db),
      ...blobIntentions(db),
      ...backfillIntentions(db),
      ...expectationIntentions(db, now),
      ...housekeepingIntentions(db),
      afterCommit: (effect) => this.#commits.afterCommit(effect),
      beforeCommit: (step) => this.#commits.beforeCommit(step),
    };
    this.#commits = new GroupCommit<OperationalTx>(this.#control(), tx, {
      committed: () => this.#committed(),
      commitFailed: (failure) => this.#commitFailed(failure),
      failed: (error) => this.#failed(error),
      isDatabaseError: (error) => error instanceof SQLiteError,
      effectFailed: (error) => options.log.error(`After a commit: ${errorMessage(error)}`, error),
    });
  }

  /**
   * Opens the state, creating or migrating it as needed.
   * @throws DataDirectoryInUseError when another principal has it open
   * @throws UsageError when it was moved into PostgreSQL
   * @throws NewerSchemaError when it was written by a newer cdktr
   * @throws CdktrError when it cannot be opened or backed up, or is corrupt
   * @throws StoreUnavailableError when it is a replica, and another member leads
   */
  async start(): Promise<void> {
    makePrivateDirectory(this.#options.directory);
    if (this.#options.replica === undefined) refuseMoved(this.#options.directory);
    this.#database = this.#connect();
    if (this.#options.replica === undefined) return;
    try {
      // The first commit of a term: it shows that the term lasts, before anything is done.
      await this.transact(async () => {});
    } catch (error) {
      this.#close();
      throw error;
    }
  }

  async stop(): Promise<void> {
    if (this.#database === undefined) return;
    await this.#commits.drain();
    try {
      if (this.#options.replica === undefined) this.#checkpoint();
    } catch {
      // The WAL stays next to the file and is read at the next start.
    }
    // Before the lock is released: the next principal writes its own.
    if (this.#options.replica === undefined)
      rmSync(join(this.#options.directory, "principal.pid"), { force: true });
    this.#close();
  }

  transact<T>(work: UnitOfWork<T>, patienceMs?: number): Promise<T> {
    return this.#commits.transact(work, patienceMs);
  }

  read<T>(work: UnitOfWork<T>): Promise<T> {
    const refusal = this.#options.replica?.writeThrough.refusal() ?? null;
    return refusal === null ? this.#commits.read(work) : Promise.reject(refusal);
  }

  identity(): Promise<StateIdentity> {
    const found = this.#found ?? { last_id: 0, is_new: true, former_boot_id: null };
    return this.read(async () => ({ ...readIdentity(this.#statements), ...found }));
  }

  changeIdentity(to: Pick<StateIdentity, "installation_id" | "state_id" | "taken_id">): Promise<void> {
    return this.transact(async () => changeIdentity(this.#statements, to));
  }

  async copyTo(path: string, fixed: () => void = () => {}): Promise<void> {
    while (this.#copying !== undefined) await this.#copying.catch(() => {});
    const copying = this.#copyTo(path, fixed).finally(() => {
      this.#copying = undefined;
    });
    this.#copying = copying;
    await copying;
  }

  async #copyTo(path: string, fixed: () => void): Promise<void> {
    const helper = new FileHelper();
    try {
      // It has started then, or nothing starts.
      await helper.ask("forget", { key: "" });
      // Not inside a transaction.
      do await this.#commits.drain();
      while (this.#open().inTransaction);
      if (helper.hasChild) await this.#copyBy(helper, path, fixed);
      else {
        this.#open().query("VACUUM INTO ?").run(path);
        fixed();
      }
      chmodSync(path, 0o600);
    } catch (error) {
      if (error instanceof PathSilentError)
        throw new UnprocessableError(`${this.path} cannot be copied: ${error.message}`, { cause: error });
      throw error instanceof SQLiteError ? this.#failed(error) : error;
    } finally {
      helper.close();
    }
  }

  /**
   * The file does not change while all commits stay in the write-ahead log, so that a child process can copy it. This process must not
   * open it: with the end of that, its lock would be gone.
   */
  async #copyBy(helper: FileHelper, path: string, fixed: () => void): Promise<void> {
    const database = this.#open();
    if (!this.#checkpoint()) throw new StoreUnavailableError(`${this.path} is in use by another program.`);
    database.run("PRAGMA wal_autocheckpoint = 0");
    const before = this.#checkpoints;
    fixed();
    try {
      await helper.ask("copy", { from: this.path, to: path });
    } finally {
      if (database === this.#database) database.run(`PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES}`);
    }
    if (before !== this.#checkpoints) {
      throw new UnprocessableError(`${this.path} was repaired while it was copied: the copy is not usable.`, {
        hint: "Try again.",
      });
    }
    const copy = openSync(path, "r+");
    try {
      writeSync(copy, JOURNAL_VERSIONS.bytes, 0, JOURNAL_VERSIONS.bytes.length, JOURNAL_VERSIONS.offset);
    } finally {
      closeSync(copy);
    }
  }

  takeStatuses(afterId: number, limit: number): Promise<PendingStatus[]> {
    return this.read(async () => takeStatuses(this.#statements, afterId, limit, STATUSES_BYTES));
  }

  ackStatuses(upToId: number): Promise<void> {
    return this.transact(async () => ackStatuses(this.#statements, upToId));
  }

  runsChangedAfter(id: number): Promise<string[]> {
    return this.read(async () => runsChangedAfter(this.#statements, id));
  }

  compareWithHistory(runs: readonly HistoricStatuses[], takenId: number, repeat: boolean) {
    const work = async () => compareWithHistory(this.#statements, runs, takenId, repeat);
    return repeat ? this.transact(work) : this.read(work);
  }

  async writeProblem(): Promise<string | null> {
    if (this.#ailing === undefined && performance.now() - this.#written.at < FRESH_MS) return null;
    try {
      await this.transact(async () => {
        // A change to what is there already would not be written.
        this.#statements.insert("definitions", { hash: PROBE, definition: "" });
        this.#statements.run("DELETE FROM definitions WHERE hash = ?", PROBE);
      });
      return null;
    } catch (error) {
      return errorMessage(error);
    }
  }

  #open(): Database {
    if (this.#database === undefined)
      throw new StoreUnavailableError(`The principal's state (${this.path}) is not open.`);
    return this.#database;
  }

  /** Copies the write-ahead log into the database and empties it. Returns whether that was possible. */
  #checkpoint(): boolean {
    this.#checkpoints++;
    const [result] = this.#open().query<{ busy: number }, []>("PRAGMA wal_checkpoint(TRUNCATE)").all();
    return result?.busy === 0;
  }

  #close(): void {
    this.#checkpoints++;
    this.#options.replica?.writeThrough.detach();
    this.#statements.release();
    this.#database?.close();
    this.#database = undefined;
  }

  #control(): TransactionControl {
    const run = (sql: string) => this.#statements.run(sql);
    const undo = (sql: string) => {
      this.#statements.storedHashes.clear();
      run(sql);
    };
    const store = this;
    return {
      begin() {
        store.#mend();
        run("BEGIN IMMEDIATE");
        store.#written.before = store.#changes();
      },
      commit: () => store.#commit(),
      rollback: () => void undo("ROLLBACK"),
      savepoint: () => void run("SAVEPOINT unit"),
      release: () => void run("RELEASE unit"),
      rollbackTo: () => void undo("ROLLBACK TO unit"),
      get open() {
        return store.#database?.inTransaction ?? false;
      },
    };
  }

  /** Has the file as it must be before a transaction. A replica needs no name: it is not opened again. */
  #mend(): void {
    const refusal = this.#options.replica?.writeThrough.refusal();
    if (refusal != null) throw refusal;
    if (this.#options.replica !== undefined) return;
    this.#reopenIfBroken();
    this.#restoreIfGone();
    this.#keepIfLogIsGone();
  }

  #commit(): void | Promise<void> {
    const commit = () => void this.#statements.run("COMMIT");
    const writeThrough = this.#options.replica?.writeThrough;
    const committing = writeThrough?.commit();
    if (committing === undefined) return commit();
    return committing.then(() => writeThrough?.commitHere(commit));
  }

  #committed(): void {
    // A transaction that changed nothing says nothing about the disk.
    if (this.#written.before === this.#changes()) return;
    this.#written.at = performance.now();
    if (this.#ailing === undefined) return;
    this.#ailing = undefined;
    const what = this.#options.replica === undefined ? this.path : "The state in PostgreSQL";
    this.#options.log.success(`${what} can be written again.`);
  }

  /** Rows written through this connection so far. */
  #changes(): number {
    const row = this.#open().query<{ changes: number }, []>("SELECT total_changes() AS changes").get();
    return row?.changes ?? 0;
  }

  #failed(error: unknown): Error {
    // The database may have undone the transaction by itself.
    this.#statements.storedHashes.clear();
    if (error instanceof StoreUnavailableError) return this.#ails(error);
    if (!(error instanceof SQLiteError)) return error instanceof Error ? error : new Error(String(error));
    const code = error.code ?? "";
    if (/^SQLITE_(CONSTRAINT|ERROR|MISUSE|MISMATCH|RANGE)/.test(code)) {
      return new CdktrError(`Internal error in the operational state: ${error.message}`, { cause: error });
    }
    const isUnreadable = REOPEN_AFTER.test(code);
    if (isUnreadable) this.#reopen = true;
    if (isUnreadable) this.#options.replica?.writeThrough.end(`${this.path} cannot be read`);
    const failure = new StoreUnavailableError(
      `The principal's state cannot be ${isUnreadable ? "read" : "written"}: ${reasonOf(code, error.message)} (${this.path}).`,
      {
        cause: error,
        hint: "Nothing was changed. Free some space or repair the disk; cdktr then continues by itself.",
      },
    );
    return this.#ails(failure);
  }

  /** Logs it, unless that was done recently. */
  #ails(failure: StoreUnavailableError): StoreUnavailableError {
    // Who has ended the term says so.
    if (this.#options.replica?.writeThrough.over != null) return failure;
    const now = performance.now();
    if (this.#ailing === undefined || now - this.#ailing.saidAt > REMINDER_MS) {
      this.#options.log.error(`${failure.message} ${failure.hint}`);
      this.#ailing = { saidAt: now };
    }
    return failure;
  }

  #reopenIfBroken(): void {
    if (!this.#reopen) return;
    this.#close();
    this.#database = this.#connect();
    this.#reopen = false;
  }

  /**
   * When the file is removed, this process still has it open. Nothing may be acknowledged that exists only in the removed file, so it is
   * rewritten under its name.
   * @throws StoreUnavailableError when another file is in its place
   */
  #restoreIfGone(): void {
    const present = identityOf(this.path);
    if (present === this.#file) return;
    if (present !== null) {
      throw new StoreUnavailableError(
        `The principal's state cannot be written: another file is in the place of ${this.path}.`,
        { hint: "Restart the principal to use that file, or put the original one back." },
      );
    }
    const { directory, log } = this.#options;
    makePrivateDirectory(directory);
    const copy = `${this.path}.restored`;
    rmSync(copy, { force: true });
    this.#open().query("VACUUM INTO ?").run(copy);
    syncToDisk(copy);
    // Closing removes the WAL by its name, so close before the new file has one.
    this.#close();
    renameSync(copy, this.path);
    syncToDisk(directory);
    this.#reopen = true;
    this.#reopenIfBroken();
    log.error(
      `${this.path} was removed while the principal ran. It was rewritten from the file that this process has open: no run is lost. ` +
        "Stop the principal before you remove its data directory.",
    );
  }

  /**
   * When the write-ahead log is removed, what it holds is in the file that this process has open, and nowhere else. It is written into the
   * database, and a new log begins.
   */
  #keepIfLogIsGone(): void {
    const present = identityOf(this.#walPath);
    this.#wal ??= present;
    if (present === this.#wal) return;
    // All of it, or it throws and nothing is acknowledged.
    if (!this.#checkpoint())
      throw new StoreUnavailableError(`The write-ahead log ${this.#walPath} was removed.`);
    this.#close();
    this.#reopen = true;
    this.#reopenIfBroken();
    this.#options.log.error(
      `${this.#walPath} was removed while the principal ran. Its content was written to ${this.path}: no run is lost. ` +
        "It is part of the state: nothing may remove it, or copy the state without it.",
    );
  }

  /**
   * After a failed sync the transaction may be in the log all the same, and would be found after a restart. The log is emptied, so
   * that it cannot be.
   */
  #commitFailed(failure: Error): Error {
    const { cause } = failure;
    if (this.#options.replica !== undefined) return failure;
    if (!(cause instanceof SQLiteError) || !cause.code?.startsWith("SQLITE_IOERR")) return failure;
    try {
      if (this.#checkpoint()) return failure;
    } catch {
      // The disk still fails.
    }
    return new StoreUnavailableError(failure.message, {
      cause,
      hint: "It may still have been written: repeat the request with the same dedupe_key, or look at 'cdktr runs list' after a restart. Repair the disk; cdktr then continues by itself.",
    });
  }

  get #walPath(): string {
    return `${this.path}-wal`;
  }

  #connect(): Database {
    const owner = join(this.#options.directory, "principal.pid");
    let database: Database | undefined;
    const { replica } = this.#options;
    const lost = replica === undefined && this.#file === "" && isLogMissing(this.path, owner);
    try {
      closeSync(openSync(this.path, "a", 0o600));
      database = new Database(this.path, { readwrite: true, create: false, strict: true });
      // The lock is taken with the first transaction and held until the file is closed, however the process ends.
      database.run("PRAGMA locking_mode = EXCLUSIVE");
      database.run("PRAGMA journal_mode = WAL");
      database.run(`PRAGMA synchronous = ${replica === undefined ? "FULL" : "OFF"}`);
      database.run("PRAGMA busy_timeout = 0");
      // In KiB. With the 2 MiB that are usual, a thousand runs that fire at once are written out before they are committed.
      database.run("PRAGMA cache_size = -16384");
      // Each unit of work has a savepoint: what it changes can be restored from memory instead of a temporary file.
      database.run("PRAGMA temp_store = MEMORY");
      database.run("BEGIN IMMEDIATE");
      database.run("COMMIT");
      const is_new = database.query("SELECT 1 FROM sqlite_schema LIMIT 1").get() === null;
      migrateSqlite(database, this.#options.migrations ?? STATE_MIGRATIONS, this.#options.log);
      replica?.writeThrough.attach(database);
      const { last_id, former_boot_id, clockStart } =
        replica === undefined
          ? continueFrom(database, this.#clock)
          : continueElsewhere(database, this.#clock);
      // What this process has counted from stays, also when it opens the file again.
      if (this.#found === undefined) this.#clockStart = clockStart;
      const isNew = replica?.isNew ?? is_new;
      this.#found ??= { last_id: isNew ? 0 : last_id, is_new: isNew, former_boot_id };
      chmodSync(this.path, 0o600);
      if (replica === undefined) writeFileSync(owner, `${process.pid}\n${LEAVES_LOG}\n`, { mode: 0o600 });
      this.#file = identityOf(this.path) ?? "";
      this.#wal = identityOf(this.#walPath);
      if (lost) {
        this.#options.log.error(
          `${this.#walPath} is missing, although the principal was killed and cannot have written it into ${this.path}: runs that were triggered ` +
            "shortly before its end may be lost, and the state of others may be outdated. Do backups or clean-up jobs on this host remove the file?",
        );
      }
      return database;
    } catch (error) {
      database?.close();
      throw this.#startError(error, owner);
    }
  }

  #startError(error: unknown, owner: string): unknown {
    const code = error instanceof SQLiteError ? (error.code ?? "") : "";
    if (/^SQLITE_(BUSY|LOCKED)/.test(code)) {
      return inUse(this.#options.directory, owner, error);
    }
    if (/^SQLITE_(CORRUPT|NOTADB)/.test(code)) {
      return new CdktrError(`${this.path} is damaged: ${errorMessage(error)}.`, {
        cause: error,
        hint: "Restore it from a backup or move it away: queued runs are then lost, but not the history in DuckDB.",
      });
    }
    if (error instanceof CdktrError) return error;
    return new StoreUnavailableError(
      `${this.path} cannot be opened: ${reasonOf(code, errorMessage(error))}.`,
      {
        cause: error,
        hint: "Check that CDKTR_APP_DATA_DIRECTORY names a directory that this user can write to.",
      },
    );
  }
}

function reasonOf(code: string, message: string): string {
  if (code.startsWith("SQLITE_FULL")) return "the disk is full";
  if (code.startsWith("SQLITE_READONLY")) return "the disk or the file is read-only";
  if (code.startsWith("SQLITE_IOERR")) return `the disk fails (${code}: ${message})`;
  return message;
}

/**
 * Whether the write-ahead log is gone that a killed principal must have left: one that stops removes the file that names its process.
 * Older versions did not, nor do they write the second line.
 */
function isLogMissing(path: string, owner: string): boolean {
  try {
    return existsSync(path) && !existsSync(`${path}-wal`) && readFileSync(owner, "utf8").includes(LEAVES_LOG);
  } catch {
    return false;
  }
}

/** Identifies a file for as long as it exists, whatever its name; null when there is none. */
function identityOf(path: string): string | null {
  try {
    const { dev, ino } = statSync(path);
    return `${dev} ${ino}`;
  } catch {
    return null;
  }
}

/**
 * Makes the ids of status rows start at the current time in µs, records the boot of the host, and continues the clock of deadlines.
 * Returns what was there before, and the time of that clock when the monotonic one of this process is 0.
 */
function continueFrom(
  database: Database,
  clock: Clock,
): Pick<StateIdentity, "last_id" | "former_boot_id"> & { readonly clockStart: number } {
  const statements = new Statements(() => database);
  const last_id = lastStatusId(statements);
  const time = { wallMs: clock.now(), sinceBootMs: clock.sinceBoot() };
  let former_boot_id: string | null = null;
  let offset = time.wallMs - time.sinceBootMs;
  try {
    raiseStatusIds(statements, Date.now() * 1000);
    former_boot_id = changeBoot(statements, bootId());
    offset = clockOffset(statements, former_boot_id !== null || bootId() === "", time);
  } catch {
    // The disk cannot be written: reads still work, and the next start retries.
  } finally {
    statements.release();
  }
  return { last_id, former_boot_id, clockStart: offset + time.sinceBootMs - clock.monotonic() };
}

/** The same for a state that moves between hosts: which of them was restarted does not matter, and its clock is that of PostgreSQL. */
function continueElsewhere(database: Database, clock: Clock): ReturnType<typeof continueFrom> {
  const statements = new Statements(() => database);
  try {
    const last_id = lastStatusId(statements);
    raiseStatusIds(statements, Math.round(clock.now()) * 1000);
    return { last_id, former_boot_id: null, clockStart: clock.now() - clock.monotonic() };
  } finally {
    statements.release();
  }
}
