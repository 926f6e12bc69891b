/** Writes a part: rows that are collected in a table of the connection become a file, which is read back and compared. */
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { DuckDBConnection } from "@duckdb/node-api";
import { HistoryUnavailableError } from "../../contract/history.ts";
import { partFile, publish, sizeOf } from "./archive-layout.ts";
import type { Archived, Part } from "./archive-manifest.ts";
import { quoteName, quoteText } from "./duckdb.ts";
import { isTable, readFiles } from "./sources.ts";

/** Called at each step, in tests: it may end the process, or throw. */
export type Steps = (step: string) => Promise<void> | void;

/** Where parts are written. */
export interface Writing {
  readonly directory: string;
  readonly at: Steps;
  /** Files that were made: they get names of their own when the part is complete. */
  readonly made: string[];
}

/** A part that is complete under another name. */
export interface WrittenPart extends Part {
  /** The name of the file for now, relative to the archive. */
  readonly staged: string;
  readonly lastPosition: bigint | null;
}

/** Something is not as it was written. */
export function differing(what: string): HistoryUnavailableError {
  return new HistoryUnavailableError(
    `The archive did not come out as it should: ${what}. Nothing was changed.`,
  );
}

/** The count of rows, and the sum of their hashes, which no order changes. */
function countAndHash(columns: readonly string[], from: string): string {
  return `SELECT count(*)::BIGINT, coalesce(sum(hash(${columns.map(quoteName).join(", ")})::HUGEINT), 0)::VARCHAR FROM ${from}`;
}

/**
 * Writes the rows of the temporary table `archive_rows` into a file: these columns, `position` if they are of a table, and `time_ms` if
 * they are lines. Its column `ms` is the time by which they are found.
 * @returns null when there are none
 * @throws HistoryUnavailableError when the file does not have these rows; errors of DuckDB and of the file system
 */
export async function writeRows(
  connection: DuckDBConnection,
  archived: Archived,
  columns: readonly string[],
  day: string,
  { directory, at, made }: Writing,
): Promise<WrittenPart | null> {
  const isLines = archived === "logstore";
  const first = isLines ? "timestamp_ms" : "ms";
  const facts = await connection.runAndReadAll(
    `SELECT count(*)::DOUBLE, coalesce(min(${first}), 0)::DOUBLE, coalesce(max(ms), 0)::DOUBLE, max(position)::VARCHAR
     FROM archive_rows`,
  );
  const [count, minMs, maxMs, last = null] = facts.getRows()[0] ?? [];
  const rows = Number(count);
  if (rows === 0) return null;
  const stored = [...columns, ...(isLines ? ["time_ms"] : []), ...(isTable(archived) ? ["position"] : [])];
  const staged = `${partFile(archived, day, "0".repeat(16))}.${crypto.randomUUID().replaceAll("-", "")}.tmp`;
  const path = join(directory, staged);
  made.push(staged);
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await at(`write ${archived}`);
  await connection.run(
    `COPY (SELECT ${stored.map(quoteName).join(", ")} FROM archive_rows ORDER BY position) TO ${quoteText(path)} (FORMAT parquet, COMPRESSION zstd)`,
  );
  await at(`written ${archived}`);
  const read = async (from: string) =>
    (await connection.runAndReadAll(countAndHash(stored, from))).getRows()[0]?.map(String).join(" ");
  const [wanted, found] = [await read("archive_rows"), await read(readFiles(directory, [staged]))];
  if (wanted === undefined || wanted !== found)
    throw differing(`${staged} does not have the rows that were copied into it`);
  const name = new Bun.CryptoHasher("sha256").update(`${archived} ${day} ${wanted}`).digest("hex");
  return {
    table: archived,
    day,
    staged,
    file: partFile(archived, day, name.slice(0, 16)),
    rows,
    bytes: (await sizeOf(directory, staged)) ?? 0,
    hash: wanted.split(" ")[1] ?? "",
    minMs: Number(minMs),
    maxMs: Number(maxMs),
    hasStrays: false,
    columns,
    isMissing: false,
    lastPosition: isTable(archived) && last !== null ? BigInt(String(last)) : null,
  };
}

/** Gives a part its name. */
export async function publishPart(
  directory: string,
  { table, staged, file }: WrittenPart,
  at: Steps,
): Promise<void> {
  await at(`publish ${table}`);
  await publish(directory, join(directory, staged), file);
  await at(`published ${table}`);
}
