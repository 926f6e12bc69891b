/**
 * Moves days of the history into the archive.
 *
 * A day is one transaction: its rows are copied into files with other names, which are flushed to disk, read back and compared by count
 * and hash, and get their names; then the rows are deleted, the files are entered in the manifest, the views are defined anew, and the
 * transaction is committed. Until then nobody sees the files, and whatever ends the process leaves files that are not in the manifest:
 * they are removed the next time.
 *
 * What belongs to a day: statuses of runs that ended on it, whole runs, and what the views say of them; lines of that day, of runs that
 * are over and have no newer row than the cut; rows of other tables by their time. What is about a run that is not over stays.
 */
import type { DuckDBConnection } from "@duckdb/node-api";
import { DAY_MS, dayName, removeEmpty, removeParts, syncDirectories } from "./archive-layout.ts";
import {
  type Archived,
  addPart,
  createManifest,
  hasManifest,
  nextPosition,
  readParts,
  SPAN_SLACK_MS,
} from "./archive-manifest.ts";
import { logOrder } from "./logs.ts";
import { NEWEST, TABLES, TERMINAL } from "./schema.ts";
import { ARCHIVED, type Column, type ColumnsOf, defineViews, isTable, readFiles, stored } from "./sources.ts";
import type { Writing } from "./write.ts";
import { differing, publishPart, type Steps, writeRows } from "./write-part.ts";

/** What moving needs. */
export interface Moving {
  readonly directory: string;
  readonly columns: ColumnsOf;
  /** Whether there are task runs whose lines go back in time. */
  readonly disordered: boolean;
  readonly nowMs: number;
  readonly at: Steps;
  /** How the database is written. */
  readonly transact: Writing["transact"];
}

/** A file that was written, or would be. */
interface MovedPart {
  readonly table: Archived;
  readonly rows: number;
  readonly bytes: number;
}

/** A day that was moved, or would be. */
export interface MovedDay {
  readonly day: string;
  readonly parts: readonly MovedPart[];
}

/** The name of the tables about a cut: runs that may move, with the day of their end, and days that have something. */
function plansFor(cutMs: number): { readonly ends: string; readonly days: string } {
  return { ends: `archive_ends_${cutMs}`, days: `archive_days_${cutMs}` };
}

/** A run's day, from a time in ms. */
const dayOf = (time: string) => `floor(coalesce(${time}, 0) / ${DAY_MS}.0)::INTEGER`;

/**
 * Finds out what may move: once for all days of a pass, in tables of this connection. A run that gets rows after that has them in the
 * database, and its others in the archive.
 */
export async function planMove(
  connection: DuckDBConnection,
  cutMs: number,
  { disordered, directory }: Pick<Moving, "disordered" | "directory">,
): Promise<number[]> {
  const { ends, days } = plansFor(cutMs);
  await dropPlans(connection);
  // A run that got rows after it had moved stays: the archive says of each run once how it was.
  const parts = (await hasManifest(connection)) ? await readParts(connection, "workflow_runs") : [];
  const files = parts.filter(({ isMissing }) => !isMissing).map(({ file }) => file);
  const returned =
    files.length === 0
      ? "('')"
      : `(SELECT workflow_instance_id FROM ${readFiles(directory, files)} WHERE workflow_instance_id IS NOT NULL)`;
  await connection.run(
    `CREATE TEMP TABLE ${ends} AS
     SELECT coalesce(r.run, t.run) AS run, ${dayOf("greatest(r.last_ms, t.last_ms)")} AS day, r.created_ms, r.ended_ms,
       (r.status IS NULL OR r.status IN ${TERMINAL}) AND greatest(r.last_ms, t.last_ms) < ${cutMs}
         AND coalesce(r.run, t.run) NOT IN ${returned} AS moves
     FROM (
       SELECT workflow_instance_id AS run, max(timestamp_ms) AS last_ms, arg_max(status::VARCHAR, ${NEWEST}) AS status,
         coalesce(min(created_at_ms), min(timestamp_ms)) AS created_ms, arg_max(timestamp_ms, ${NEWEST}) AS ended_ms
       FROM main.workflow_run_status GROUP BY 1
     ) r FULL JOIN (
       SELECT workflow_instance_id AS run, max(timestamp_ms) AS last_ms FROM main.task_run_status GROUP BY 1
     ) t ON r.run = t.run`,
  );
  const others = otherTables().map(
    (table) =>
      `SELECT DISTINCT ${dayOf("timestamp_ms")} AS day FROM main.${table} WHERE timestamp_ms < ${cutMs}`,
  );
  const { from, time } = logOrder(disordered, "main.logstore");
  await connection.run(
    `CREATE TEMP TABLE ${days} AS
     SELECT DISTINCT day FROM (
       SELECT DISTINCT day FROM ${ends} WHERE moves
       UNION ALL SELECT DISTINCT ${dayOf(time)} AS day FROM ${from} WHERE ${linesMove(time, cutMs, ends)}
       ${others.map((other) => `UNION ALL ${other}`).join(" ")}
     ) WHERE day IS NOT NULL`,
  );
  const reader = await connection.runAndReadAll(`SELECT day FROM ${days} ORDER BY day`);
  return reader.getRows().map(([day]) => Number(day));
}

/** Whether this connection has the plan of a cut: another one may have taken its place. */
export async function hasPlan(connection: DuckDBConnection, cutMs: number): Promise<boolean> {
  const reader = await connection.runAndReadAll(
    "SELECT count(*)::INTEGER FROM duckdb_tables() WHERE database_name = 'temp' AND table_name = $1",
    [plansFor(cutMs).ends],
  );
  return reader.value(0, 0) !== 0;
}

/** Drops the plans of this connection, and what else it has of moving. */
export async function dropPlans(connection: DuckDBConnection): Promise<void> {
  const old = await connection.runAndReadAll(
    "SELECT table_name FROM duckdb_tables() WHERE database_name = 'temp' AND starts_with(table_name, 'archive_')",
  );
  for (const [name] of old.getRows()) await connection.run(`DROP TABLE temp.${String(name)}`);
}

/** Tables that are neither of lines nor of statuses. */
function otherTables(): Archived[] {
  const special: readonly string[] = ["logstore", "workflow_run_status", "task_run_status"];
  return (Object.keys(TABLES) as Archived[]).filter((table) => !special.includes(table));
}

/** Whether a line may move. */
function linesMove(time: string, cutMs: number, ends: string): string {
  return `${time} < ${cutMs} AND coalesce(l.workflow_instance_id, '') NOT IN (SELECT run FROM ${ends} WHERE NOT moves AND run IS NOT NULL)`;
}

/** What of a table belongs to a day. */
interface Portion {
  /** What is copied: the columns, `ord`, by which they are ordered, `ms`, by which they are found, and for lines `time_ms`. */
  readonly select: string;
  /** What is deleted; null for a view. */
  readonly remove: string | null;
}

function portionOf(
  archived: Archived,
  own: readonly Column[],
  day: number,
  cutMs: number,
  { disordered }: Moving,
): Portion {
  const { ends } = plansFor(cutMs);
  const values = own.map(stored).join(", ");
  const [from, to] = [day * DAY_MS, (day + 1) * DAY_MS];
  const runs = `(SELECT run FROM ${ends} WHERE moves AND day = ${day})`;
  switch (archived) {
    case "logstore": {
      const { from: lines, time } = logOrder(disordered, "main.logstore");
      const within = `${time} >= ${from} AND ${time} < ${to} AND ${linesMove(time, cutMs, ends)}`;
      const columns = own.map(({ name }) => `l."${name}"`).join(", ");
      return {
        select: `SELECT ${columns}, ${time} AS time_ms, ${time} AS ms, row_number() OVER (ORDER BY ${time}, l.rowid) AS ord FROM ${lines} WHERE ${within}`,
        remove: disordered
          ? `DELETE FROM main.logstore WHERE rowid IN (SELECT l.rowid FROM ${lines} WHERE ${within})`
          : `DELETE FROM main.logstore AS l WHERE ${within}`,
      };
    }
    case "workflow_run_status":
    case "task_run_status": {
      const which = `workflow_instance_id IN ${runs}`;
      return {
        select: `SELECT ${values}, timestamp_ms AS ms, row_number() OVER (ORDER BY rowid) AS ord FROM main.${archived} WHERE ${which}`,
        remove: `DELETE FROM main.${archived} WHERE ${which}`,
      };
    }
    case "workflow_runs":
    case "task_runs":
      return {
        select: `SELECT ${values}, created_at_ms AS ms, row_number() OVER (ORDER BY created_at_ms) AS ord FROM main.${archived} WHERE workflow_instance_id IN ${runs}`,
        remove: null,
      };
    default: {
      const which = `timestamp_ms >= ${from} AND timestamp_ms < ${to}`;
      return {
        select: `SELECT ${values}, timestamp_ms AS ms, row_number() OVER (ORDER BY rowid) AS ord FROM main.${archived} WHERE ${which}`,
        remove: `DELETE FROM main.${archived} WHERE ${which}`,
      };
    }
  }
}

/**
 * Moves a day, or tells what would be moved. The connection has the plan.
 * @throws errors of DuckDB and of the file system; nothing has changed then
 */
export async function moveDay(
  connection: DuckDBConnection,
  day: number,
  cutMs: number,
  moving: Moving,
  isTrial: boolean,
): Promise<MovedDay> {
  const { directory, columns, nowMs, at } = moving;
  const made: string[] = [];
  const published: string[] = [];
  const parts: MovedPart[] = [];
  await connection.run("BEGIN TRANSACTION");
  try {
    // What a trial creates is undone with it.
    if (isTrial && !(await hasManifest(connection))) await createManifest(connection, "");
    // The views are about what is in the tables: they come first.
    const order = [...ARCHIVED].sort((a, b) => Number(isTable(a)) - Number(isTable(b)));
    for (const archived of order) {
      const own = columns.get(archived);
      if (own === undefined) continue;
      const portion = portionOf(archived, own, day, cutMs, moving);
      const first = isTable(archived) ? await nextPosition(connection, archived) : 0n;
      await connection.run(
        `CREATE OR REPLACE TEMP TABLE archive_rows AS SELECT * EXCLUDE (ord), ord + ${first - 1n}::BIGINT AS position FROM (${portion.select})`,
      );
      const columnNames = own.map(({ name }) => name);
      const part = await writeRows(connection, archived, columnNames, dayName(day), { directory, at, made });
      if (part === null) continue;
      parts.push({ table: archived, rows: part.rows, bytes: part.bytes });
      if (isTrial) continue;
      await publishPart(directory, part, at);
      published.push(part.file);
      if (portion.remove !== null) {
        const { rowsChanged } = await connection.run(portion.remove);
        if (rowsChanged !== part.rows)
          throw differing(`${rowsChanged} rows would be deleted of ${part.rows} that were copied`);
      }
      await at(`deleted ${archived}`);
      const hasStrays = archived === "logstore" && (await findsStrays(connection, cutMs));
      await addPart(connection, { ...part, hasStrays }, nowMs);
    }
    await connection.run("DROP TABLE IF EXISTS temp.archive_rows");
    if (isTrial || parts.length === 0) {
      await connection.run("ROLLBACK");
      await removeParts(directory, made);
      if (isTrial) await removeEmpty(directory);
    } else {
      await defineViews(
        connection,
        directory,
        columns,
        parts.map(({ table }) => table),
      );
      await syncDirectories(directory, published);
      await at("commit");
      await connection.run("COMMIT");
      await at("committed");
    }
    return { day: dayName(day), parts };
  } catch (error) {
    await connection.run("ROLLBACK").catch(() => {});
    throw error;
  }
}

/** Whether lines of \`archive_rows\` are not from the time of their run. */
async function findsStrays(connection: DuckDBConnection, cutMs: number): Promise<boolean> {
  const { ends } = plansFor(cutMs);
  const reader = await connection.runAndReadAll(
    `SELECT count(*)::DOUBLE FROM archive_rows l LEFT JOIN ${ends} e ON e.run = l.workflow_instance_id
     WHERE NOT coalesce(l.timestamp_ms >= e.created_ms - ${SPAN_SLACK_MS} AND l.time_ms <= e.ended_ms + ${SPAN_SLACK_MS}, false)`,
  );
  return reader.value(0, 0) !== 0;
}
