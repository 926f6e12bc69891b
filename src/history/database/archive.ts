/**
 * The archive of a history database: days that are older than CDKTR_HISTORY_KEEP, as Parquet files beside it.
 *
 * Decided by experiments with DuckDB 1.5 (730 files of a table, two threads):
 * - Users' statements read persistent views `SELECT … FROM main.T UNION ALL SELECT … FROM read_parquet([files])` in a schema that their
 *   connections search first. Views are part of DuckDB's transactions: a reader sees the rows in the database or in the files, never both
 *   and never neither, and no reader has to be told. A statement about one day takes as long as on the bare files (0.2 s): the
 *   footers of all of them are read. cdktr's own statements ask the manifest, and read only the files that can have what they look for.
 * - `rowid` changes: a checkpoint after a deletion moves rows together (their order remains). So archived rows have a position of their
 *   own, below 0, and pages of lines go on from a line and not from a number.
 * - `workflow_runs` over the statuses of 3 million runs needs more memory than the history may have. So the archive has files of what the
 *   views say of its runs. It may, because a run moves as a whole when it is over.
 * - Files that are not in the manifest are removed only if the directory says that it belongs to this database: a new database must
 *   not take the archive of a lost one for leftovers.
 */
import { rename } from "node:fs/promises";
import type { DuckDBConnection } from "@duckdb/node-api";
import { type HistorySizes, HistoryUnavailableError, type KeptRuns } from "../../contract/history.ts";
import type { ArchiveInfo } from "../../contract/messages.ts";
import { DAY_MS, isPart, makeArchive, ownerOf, partsIn, removeParts, sizeOf } from "./archive-layout.ts";
import {
  type ArchiveState,
  createManifest,
  hasManifest,
  noteMissing,
  readParts,
  readState,
} from "./archive-manifest.ts";
import { dropPlans, hasPlan, type MovedDay, type Moving, moveDay, planMove } from "./move-day.ts";
import type { LakeCare, Upkeep } from "./place.ts";
import { inTrial, type Outcome, type Removed, removeDays, removeRuns, type Trial } from "./remove-history.ts";
import {
  type AnySources,
  type ColumnsOf,
  defineViews,
  readColumns,
  Sources,
  TABLES_ALONE,
} from "./sources.ts";
import type { Writing } from "./write.ts";
import type { Steps } from "./write-part.ts";

/** What an archive needs of its database. */
export interface ArchiveOptions {
  /** Null where there is none. */
  readonly directory: string | null;
  /** Why there is none, and what to do. */
  readonly whyNone: readonly [message: string, hint: string];
  /** Lends the connection of the archive, one at a time. */
  readonly lend: <T>(work: (connection: DuckDBConnection) => Promise<T>) => Promise<T>;
  /** Lends a connection to read, in a transaction. */
  readonly read: <T>(work: (connection: DuckDBConnection) => Promise<T>) => Promise<T>;
  /** Size of the database, bytes; 0 if that is not known. */
  readonly databaseBytes: () => number;
  /** Resolves when everyone who reads now has ended. */
  readonly readersEnded: () => Promise<void>;
  /** Whether there are task runs whose lines go back in time. */
  readonly disordered: () => boolean;
  /** Called with messages for the operator. */
  readonly say: (what: string) => void;
  readonly at?: Steps | undefined;
  /** How the database is written. */
  readonly transact: Writing["transact"];
  /** Of a lake, which has no archive: its old days are deleted where they are. */
  readonly care: LakeCare | undefined;
}

/** Number of missing files that are named. */
const MISSING_SHOWN = 20;

/** What there is of the history. */
export type ArchiveFacts = Omit<ArchiveInfo, "history_keep_days" | "archive_keep_days" | "problem">;

/** The archive of a database, which may be empty. */
export class Archive {
  readonly #o: ArchiveOptions;
  #columns: ColumnsOf = new Map();
  #isUsed = false;
  #moves = 0;
  #sizes: Omit<HistorySizes, "database"> = { archive: 0, missing: 0 };
  #checking: Promise<void> | undefined;
  /** Parts that were dropped, and may still be read. */
  #removing: Promise<void> = Promise.resolve();

  constructor(options: ArchiveOptions) {
    this.#o = options;
  }

  /** Whether the database has an archive: else nothing of this is asked. */
  get isUsed(): boolean {
    return this.#isUsed;
  }

  /** How often row ids may have changed since the database was opened. */
  get moves(): number {
    return this.#moves;
  }

  /**
   * Looks whether there is an archive, and whether all of its files are there. Called when the database was opened, before anybody reads.
   * @throws errors of DuckDB
   */
  async open(connection: DuckDBConnection): Promise<void> {
    const { directory } = this.#o;
    if (directory === null || !(await hasManifest(connection))) return;
    this.#columns = await readColumns(connection);
    await this.#check(connection, directory);
    await this.#sweep(connection, directory);
    await this.#measure(connection);
    this.#isUsed = true;
  }

  /** What statements of cdktr read from. The connection is in a transaction that has read nothing yet. */
  sources(connection: DuckDBConnection): AnySources {
    const { directory } = this.#o;
    return this.#isUsed && directory !== null
      ? new Sources(connection, directory, this.#columns)
      : TABLES_ALONE;
  }

  /**
   * Finds the days that have rows older than the cut and can be moved: days since 1970.
   * @throws HistoryUnavailableError when the history is in memory; errors of DuckDB
   */
  plan(cutMs: number): Promise<number[]> {
    const directory = this.#directory();
    return this.#o.lend(async (connection) => {
      this.#columns = await readColumns(connection);
      return planMove(connection, cutMs, { directory, disordered: this.#o.disordered() });
    });
  }

  /**
   * Moves a day, or tells what would be moved.
   * @param cutMs that {@link plan} was called with last
   * @throws errors of DuckDB and of the file system; nothing has changed then
   */
  async move(day: number, cutMs: number, nowMs: number, isTrial: boolean): Promise<MovedDay> {
    const directory = this.#directory();
    return this.#o.lend(async (connection) => {
      if (!isTrial) await this.#ensure(connection, directory);
      const moving = this.#moving(directory, nowMs);
      try {
        if (!(await hasPlan(connection, cutMs))) await planMove(connection, cutMs, moving);
        const moved = await moveDay(connection, day, cutMs, moving, isTrial);
        if (!isTrial && moved.parts.length > 0) this.#moves++;
        if (this.#isUsed) await this.#measure(connection);
        return moved;
      } catch (error) {
        await this.#sweep(connection, directory).catch(() => {});
        throw error;
      }
    });
  }

  /**
   * Deletes the days of the archive before this one, or tells what would be deleted.
   * @param firstKept days since 1970
   * @throws errors of DuckDB; nothing has changed then
   */
  async removeDays(firstKept: number, nowMs: number, isTrial: boolean): Promise<Removed[]> {
    const { care } = this.#o;
    if (care !== undefined) return this.#removeDaysOfLake(care, firstKept, nowMs, isTrial);
    if (!this.#isUsed) return [];
    const work = (connection: DuckDBConnection, moving: Moving) =>
      removeDays(connection, firstKept, moving, isTrial);
    return (await this.#remove(work, nowMs)).removed;
  }

  #removeDaysOfLake(care: LakeCare, firstKept: number, nowMs: number, isTrial: boolean): Promise<Removed[]> {
    return this.#o.lend(async (connection) => {
      let removed: Removed[] = [];
      const work = async () => {
        removed = await care.removeDays(connection, firstKept, nowMs, isTrial);
      };
      await (isTrial ? inTrial(connection, work) : this.#o.transact(connection, work));
      return removed;
    });
  }

  /** One pass of the upkeep of a lake; null where there is none. @throws errors of DuckDB */
  async upkeep(isLong: boolean, isStopping: () => boolean): Promise<Upkeep | null> {
    const { care, lend } = this.#o;
    if (care === undefined) return null;
    return lend((connection) => care.keepUp(connection, isLong, isStopping));
  }

  /**
   * Deletes runs that a workflow does not keep, a number of them at a time, or tells how many would be deleted.
   * @param trial null to delete them
   * @param forget called with their ids before they are deleted
   * @returns what was deleted, and whether there is more of it
   * @throws errors of DuckDB, of the file system and of `forget`; nothing has changed then
   */
  removeRuns(
    retention: KeptRuns,
    nowMs: number,
    trial: Trial | null,
    forget: (runs: readonly string[]) => Promise<void>,
  ): Promise<Pick<Outcome, "removed" | "more">> {
    const work = (connection: DuckDBConnection, moving: Moving) =>
      removeRuns(connection, retention, this.sources(connection), moving, trial, forget);
    return this.#remove(work, nowMs);
  }

  async #remove(
    work: (connection: DuckDBConnection, moving: Moving) => Promise<Outcome>,
    nowMs: number,
  ): Promise<Outcome> {
    const { directory } = this.#o;
    return this.#o.lend(async (connection) => {
      this.#columns = await readColumns(connection);
      try {
        const outcome = await work(connection, this.#moving(directory ?? "", nowMs));
        if (outcome.removed.length > 0) this.#moves++;
        if (this.#isUsed) await this.#measure(connection);
        this.#removeLater(directory, outcome.files);
        return outcome;
      } catch (error) {
        if (directory !== null) await this.#sweep(connection, directory).catch(() => {});
        throw error;
      }
    });
  }

  /** Removes files when nobody can be reading them. If the process ends before, they are leftovers. */
  #removeLater(directory: string | null, files: readonly string[]): void {
    if (directory === null || files.length === 0) return;
    const ended = this.#o.readersEnded();
    this.#removing = Promise.all([this.#removing, ended])
      .then(() => removeParts(directory, files))
      .catch(() => {});
  }

  #moving(directory: string, nowMs: number): Moving {
    const { at = () => {}, transact } = this.#o;
    return { directory, columns: this.#columns, disordered: this.#o.disordered(), nowMs, at, transact };
  }

  /** What there is. */
  async facts(): Promise<ArchiveFacts> {
    const { directory } = this.#o;
    const { parts, oldest, state } = await this.#o.read(async (connection) => {
      const state = await readState(connection);
      const reader = await connection.runAndReadAll(
        "SELECT min(timestamp_ms)::DOUBLE FROM main.workflow_run_status",
      );
      const parts = state === null ? [] : await readParts(connection, null);
      return { state, parts, oldest: reader.value(0, 0) };
    });
    const days = [...new Set(parts.map(({ day }) => day))].sort();
    const missing = parts.filter(({ isMissing }) => isMissing).map(({ file }) => file);
    return {
      directory,
      database_bytes: this.#o.databaseBytes(),
      ...(this.#o.care && { in_lake: true }),
      archive_bytes: parts.reduce((sum, { bytes }) => sum + bytes, 0),
      files: parts.length,
      days: days.length,
      first_day: days.at(0) ?? null,
      last_day: days.at(-1) ?? null,
      oldest_ms: oldest === null ? null : Number(oldest),
      missing: missing.slice(0, MISSING_SHOWN),
      missing_files: missing.length,
      passed_at_ms: state?.passedAtMs ?? null,
    };
  }

  /** Sizes for metrics, which wait for nothing, bytes, and the number of files that are missing. */
  get sizes(): HistorySizes {
    return { ...this.#sizes, database: this.#o.databaseBytes() };
  }

  async #measure(connection: DuckDBConnection): Promise<void> {
    const reader = await connection.runAndReadAll(
      "SELECT coalesce(sum(bytes), 0)::DOUBLE, coalesce(count(*) FILTER (missing), 0)::DOUBLE FROM main.archive_files",
    );
    this.#sizes = { archive: Number(reader.value(0, 0)), missing: Number(reader.value(1, 0)) };
  }

  /** Everything that was due is done. */
  async passed(nowMs: number): Promise<void> {
    await this.#o.lend(async (connection) => {
      await dropPlans(connection);
      if (await hasManifest(connection))
        await connection.run("UPDATE archive_state SET passed_at_ms = $1", [BigInt(Math.trunc(nowMs))]);
    });
  }

  /** A file cannot be read: looks again which are there. One that is missing is left out of everything until the database is opened again. */
  recheckSoon(): void {
    const { directory } = this.#o;
    if (directory === null) return;
    this.#checking ??= this.#o
      .lend(async (connection) => {
        await this.#check(connection, directory);
        await this.#measure(connection);
      })
      .catch(() => {})
      .finally(() => {
        this.#checking = undefined;
      });
  }

  /** Resolves when nothing is being looked at or removed. */
  async settled(): Promise<void> {
    await this.#checking;
    await this.#removing;
  }

  #directory(): string {
    const { directory } = this.#o;
    if (directory === null) {
      const [message, hint] = this.#o.whyNone;
      throw new HistoryUnavailableError(message, { hint });
    }
    return directory;
  }

  /** Makes the archive, if there is none. One of another database is moved aside: nothing is ever removed from it. */
  async #ensure(connection: DuckDBConnection, directory: string): Promise<void> {
    const state = await readState(connection);
    const owner = await ownerOf(directory);
    if (state !== null && owner === state.id) return;
    const id = state?.id ?? crypto.randomUUID();
    if (owner !== null) {
      const aside = `${directory}.${owner.slice(0, 8)}`;
      await rename(directory, aside);
      this.#o.say(`${directory} is the archive of another database: it is kept as ${aside}.`);
    }
    if (state === null) {
      await connection.run("BEGIN TRANSACTION");
      try {
        await createManifest(connection, id);
        await defineViews(connection, directory, this.#columns);
        await connection.run("COMMIT");
      } catch (error) {
        await connection.run("ROLLBACK").catch(() => {});
        throw error;
      }
    }
    await makeArchive(directory, id);
    this.#isUsed = true;
  }

  /** Notes which parts are missing. The views are defined anew if that, or the directory, has changed. */
  async #check(connection: DuckDBConnection, directory: string): Promise<void> {
    const state = await readState(connection);
    if (state === null) return;
    const parts = await readParts(connection, null);
    const missing: string[] = [];
    // One that is not whole is as good as missing.
    for (const { file, bytes } of parts) if ((await sizeOf(directory, file)) !== bytes) missing.push(file);
    const known = parts.filter(({ isMissing }) => isMissing).map(({ file }) => file);
    const isSame = missing.join() === known.join() && state.directory === directory;
    if (missing.length > 0) this.#o.say(missingText(directory, missing));
    if (isSame && (await this.#viewsAreWhole(connection))) return;
    await connection.run("BEGIN TRANSACTION");
    try {
      await noteMissing(connection, missing);
      await defineViews(connection, directory, this.#columns);
      await connection.run("COMMIT");
    } catch (error) {
      await connection.run("ROLLBACK").catch(() => {});
      throw error;
    }
  }

  /** Whether the views have the columns of the tables: a migration may have added some. */
  async #viewsAreWhole(connection: DuckDBConnection): Promise<boolean> {
    const reader = await connection.runAndReadAll(
      `SELECT count(*)::INTEGER FROM (
         SELECT table_name, column_name FROM duckdb_columns() WHERE database_name = current_database() AND schema_name = 'main'
           AND table_name IN (SELECT view_name FROM duckdb_views() WHERE database_name = current_database() AND schema_name = 'history')
         EXCEPT SELECT table_name, column_name FROM duckdb_columns() WHERE database_name = current_database() AND schema_name = 'history')
       UNION ALL SELECT count(*)::INTEGER FROM duckdb_views() WHERE database_name = current_database() AND schema_name = 'history'`,
    );
    return reader.value(0, 0) === 0 && reader.value(0, 1) !== 0;
  }

  /** Removes files that are not in the manifest: what was ended left them. */
  async #sweep(connection: DuckDBConnection, directory: string): Promise<void> {
    const state: ArchiveState | null = await readState(connection);
    if (state === null || (await ownerOf(directory)) !== state.id) return;
    const known = new Set((await readParts(connection, null)).map(({ file }) => file));
    await removeParts(
      directory,
      (await partsIn(directory)).filter((file) => !known.has(file)),
    );
  }
}

/** What is said of files that are not there. */
function missingText(directory: string, files: readonly string[]): string {
  const days = [...new Set(files.filter(isPart).map((file) => /day=(\S{10})/.exec(file)?.[1] ?? ""))].sort();
  const shown = days.slice(0, 3).join(", ");
  return `${files.length === 1 ? "A file" : `${files.length} files`} of the archive ${files.length === 1 ? "is" : "are"} missing: history of ${shown}${days.length > 3 ? `, … (${days.length} days)` : ""} is not shown. Put ${files.slice(0, 2).join(", ")}${files.length > 2 ? ", …" : ""} back into ${directory}, from a backup, and start the principal again.`;
}

/** The first day that is kept, days since 1970, when so many days are kept. */
export function firstKept(nowMs: number, days: number): number {
  return Math.floor(nowMs / DAY_MS) - days;
}
