/**
 * What deletes history: whole days of the archive, and the runs of a workflow, from the database and from the files of the archive, which
 * are written anew without them. As with {@link moveDay}, one transaction decides; it also writes into the audit log what was deleted.
 * The files that are not needed any more are removed after that, when nobody reads them.
 */
import type { DuckDBConnection } from "@duckdb/node-api";
import type { KeptRuns } from "../../contract/history.ts";
import type { AuditRow } from "../../contract/history-rows.ts";
import { DAY_MS, dayName, syncDirectories } from "./archive-layout.ts";
import {
  type Archived,
  addPart,
  dropParts,
  lastPositionOf,
  type Part,
  readParts,
} from "./archive-manifest.ts";
import { quoteName } from "./duckdb.ts";
import type { Table } from "./migrations.ts";
import type { Moving } from "./move-day.ts";
import { TERMINAL } from "./schema.ts";
import { type AnySources, ARCHIVED, defineViews, isTable, readFiles } from "./sources.ts";
import { publishPart, writeRows } from "./write-part.ts";

/** A run that is over and older than its workflow keeps is deleted some time after its end: readers may still be at it. */
const REST_MS = 3_600_000;
/** Number of runs that are deleted in one transaction. */
const RUNS_AT_ONCE = 2_000;

/** What was deleted, or would be. */
export interface Removed {
  /** A day (YYYY-MM-DD), or a workflow. */
  readonly subject: string;
  /** Number of runs; null for a day. */
  readonly runs: number | null;
  readonly parts: readonly { readonly table: Archived; readonly rows: number; readonly bytes: number }[];
}

/** Nothing is deleted: what would be is told, a number of runs at a time. */
export interface Trial {
  /** The number of runs that were told before. */
  readonly skipped: number;
}

/** What is to be done when the transaction is over. */
export interface Outcome {
  readonly removed: Removed[];
  /** Files that are not in the manifest any more. */
  readonly files: readonly string[];
  /** Whether there is more of it. */
  readonly more: boolean;
}

/**
 * Deletes the days of the archive before this one, or tells what would be deleted.
 * @param firstKept days since 1970
 */
export async function removeDays(
  connection: DuckDBConnection,
  firstKept: number,
  moving: Moving,
  isTrial: boolean,
): Promise<Outcome> {
  const { directory, columns, nowMs } = moving;
  return inTransaction(connection, isTrial, moving, async () => {
    const old = (await readParts(connection, null)).filter(({ day }) => day < dayName(firstKept));
    const files = old.map(({ file }) => file);
    const removed = [...Map.groupBy(old, ({ day }) => day)]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([subject, parts]) => ({ subject, runs: null, parts: totals(parts) }));
    if (!isTrial && files.length > 0) {
      await dropParts(connection, files);
      for (const { subject, parts } of removed)
        await audit(connection, nowMs, subject, { why: "CDKTR_ARCHIVE_KEEP", ...rowsOf(parts) });
      await defineViews(connection, directory, columns, ARCHIVED);
    }
    return { removed, files, more: false };
  });
}

/**
 * Deletes runs that a workflow does not keep, or tells which would be deleted.
 * @param forget called with their ids before they are deleted: the principal's state must not have them any longer
 */
export async function removeRuns(
  connection: DuckDBConnection,
  { workflow_id, days, runs }: KeptRuns,
  sources: AnySources,
  moving: Moving,
  trial: Trial | null,
  forget: (runs: readonly string[]) => Promise<void>,
): Promise<Outcome> {
  const { directory, columns, nowMs } = moving;
  const isTrial = trial !== null;
  return inTransaction(connection, isTrial, moving, async () => {
    const before = days === null ? null : BigInt(Math.trunc(nowMs - days * DAY_MS));
    const reader = await connection.runAndReadAll(
      `SELECT workflow_instance_id FROM (
         SELECT *, row_number() OVER (ORDER BY created_at_ms DESC, workflow_instance_id DESC) AS place
         FROM ${await sources.of("workflow_runs")} WHERE workflow_id = $1
       ) WHERE status IN ${TERMINAL} AND finished_at_ms < $2::BIGINT AND (finished_at_ms < $3::BIGINT OR place > $4::BIGINT)
       ORDER BY created_at_ms, workflow_instance_id LIMIT ${RUNS_AT_ONCE + 1} OFFSET ${trial?.skipped ?? 0}`,
      [workflow_id, BigInt(Math.trunc(nowMs - REST_MS)), before, runs === null ? null : BigInt(runs)],
    );
    const found = reader.getRows().map(([id]) => String(id));
    const ids = found.slice(0, RUNS_AT_ONCE);
    if (ids.length === 0) return { removed: [], files: [], more: false };
    await connection.run(
      `CREATE OR REPLACE TEMP TABLE archive_removed AS SELECT unnest(from_json($1::VARCHAR, '["VARCHAR"]')) AS run`,
      [JSON.stringify(ids)],
    );
    const files: string[] = [];
    const made: string[] = [];
    const parts: Removed["parts"][number][] = [];
    const changed: Archived[] = [];
    for (const archived of ARCHIVED) {
      const hasRuns = columns.get(archived)?.some(({ name }) => name === "workflow_instance_id");
      if (hasRuns !== true) continue;
      let rows = 0;
      let bytes = 0;
      if (isTable(archived))
        rows += await deleteRows(connection, archived, `workflow_instance_id IN ${RUNS}`, isTrial);
      for (const part of await affected(connection, archived, ids, sources, directory)) {
        files.push(part.file);
        if (!changed.includes(archived)) changed.push(archived);
        rows += part.removed;
        // How much smaller the file gets is known when it is written anew; a trial tells the share of the rows.
        bytes += isTrial
          ? Math.round((part.bytes * part.removed) / part.rows)
          : part.bytes - (await rewrite(connection, part, moving, made));
      }
      if (rows > 0 && isTable(archived)) parts.push({ table: archived, rows, bytes });
    }
    if (!isTrial) {
      await forget(ids);
      const why = [days === null ? [] : `days: ${days}`, runs === null ? [] : `runs: ${runs}`].flat();
      await audit(connection, nowMs, workflow_id, {
        why: `retention: {${why.join(", ")}}`,
        runs: ids.length,
        ...rowsOf(parts),
      });
      if (changed.length > 0) await defineViews(connection, directory, columns, changed);
    }
    const more = found.length > ids.length;
    return { removed: [{ subject: workflow_id, runs: ids.length, parts }], files, more };
  });
}

/** Does the work in a transaction, which is undone after a trial. */
async function inTransaction(
  connection: DuckDBConnection,
  isTrial: boolean,
  { at, transact }: Moving,
  work: () => Promise<Outcome>,
): Promise<Outcome> {
  if (isTrial) return { ...(await inTrial(connection, work)), files: [] };
  let outcome: Outcome = { removed: [], files: [], more: false };
  await transact(connection, async () => {
    outcome = await work();
    await at("commit removal");
  });
  await at("committed removal");
  return outcome;
}

/** Does the work in a transaction that is undone. */
export async function inTrial<T>(connection: DuckDBConnection, work: () => Promise<T>): Promise<T> {
  await connection.run("BEGIN TRANSACTION");
  try {
    return await work();
  } finally {
    await connection.run("ROLLBACK").catch(() => {});
  }
}

const RUNS = "(SELECT run FROM archive_removed)";

/** Deletes rows of a table of the database, or counts those that would be. @returns their number */
export async function deleteRows(
  connection: DuckDBConnection,
  table: Table,
  where: string,
  isTrial: boolean,
): Promise<number> {
  const which = `FROM main.${table} WHERE ${where}`;
  if (!isTrial) return (await connection.run(`DELETE ${which}`)).rowsChanged;
  return Number((await connection.runAndReadAll(`SELECT count(*)::DOUBLE ${which}`)).value(0, 0));
}

/** The parts that have rows of these runs, with the number of those. */
async function affected(
  connection: DuckDBConnection,
  archived: Archived,
  ids: readonly string[],
  sources: AnySources,
  directory: string,
): Promise<(Part & { readonly removed: number })[]> {
  const parts = await sources.parts(archived, { runs: ids });
  if (parts.length === 0) return [];
  const files = readFiles(
    directory,
    parts.map(({ file }) => file),
    ", filename = true",
  );
  const reader = await connection.runAndReadAll(
    `SELECT filename, count(*)::DOUBLE FROM ${files} WHERE workflow_instance_id IN ${RUNS} GROUP BY filename`,
  );
  const counts = new Map(reader.getRows().map(([file, count]) => [String(file), Number(count)]));
  return parts.flatMap((part) => {
    const removed = counts.get(`${directory}/${part.file}`);
    return removed === undefined ? [] : [{ ...part, removed }];
  });
}

/** Writes a part anew without the runs. @returns the size of the new file; 0 when nothing is left */
async function rewrite(
  connection: DuckDBConnection,
  part: Part,
  { directory, nowMs, at }: Moving,
  made: string[],
): Promise<number> {
  const { table, columns, day } = part;
  const order = isTable(table) ? "" : ", row_number() OVER () AS position";
  const ms = table === "logstore" ? "time_ms" : isTable(table) ? "timestamp_ms" : "created_at_ms";
  await connection.run(
    `CREATE OR REPLACE TEMP TABLE archive_rows AS SELECT *, ${quoteName(ms)} AS ms${order}
     FROM ${readFiles(directory, [part.file])} WHERE workflow_instance_id NOT IN ${RUNS}`,
  );
  const last = await lastPositionOf(connection, part.file);
  const written = await writeRows(connection, table, columns, day, { directory, at, made });
  await connection.run("DROP TABLE temp.archive_rows");
  await dropParts(connection, [part.file]);
  if (written === null) return 0;
  await publishPart(directory, written, at);
  await syncDirectories(directory, [written.file]);
  // What comes next goes on from the last position that there was.
  await addPart(connection, { ...written, hasStrays: part.hasStrays, lastPosition: last }, nowMs);
  await at(`rewritten ${table}`);
  return written.bytes;
}

function totals(parts: readonly Part[]): Removed["parts"] {
  const byTable = Map.groupBy(parts, ({ table }) => table);
  return [...byTable].map(([table, some]) => ({
    table,
    rows: some.reduce((sum, { rows }) => sum + rows, 0),
    bytes: some.reduce((sum, { bytes }) => sum + bytes, 0),
  }));
}

/** How many rows of which table, for the audit log. */
export function rowsOf(parts: Removed["parts"]): Record<string, number> {
  return Object.fromEntries(
    parts.filter(({ table }) => isTable(table)).map(({ table, rows }) => [table, rows]),
  );
}

/** Writes a deletion into the audit log. */
export async function audit(
  connection: DuckDBConnection,
  nowMs: number,
  subject: string,
  detail: Readonly<Record<string, unknown>>,
): Promise<void> {
  const row: AuditRow = {
    timestamp_ms: Math.trunc(nowMs),
    actor: "cdktr",
    role: null,
    action: "history.delete",
    subject,
    detail: JSON.stringify(detail),
    outcome: "done",
    source: "local",
  };
  const names = Object.keys(row);
  await connection.run(
    `INSERT INTO main.audit_log(${names.join(", ")}) VALUES (${names.map((_, n) => `$${n + 1}`).join(", ")})`,
    Object.values(row).map((value) => (typeof value === "number" ? BigInt(value) : value)),
  );
}
