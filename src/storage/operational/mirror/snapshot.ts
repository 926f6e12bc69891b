/** The whole state at once: from PostgreSQL into a SQLite file, and back. */
import type { Database } from "bun:sqlite";
import { members } from "./capture.ts";
import { storable } from "./change-set.ts";
import { upsert } from "./commit-statement.ts";
import { extendSchema } from "./mirror-schema.ts";
import type { Query } from "./query.ts";
import { type MirrorRow, RowWriter } from "./rows.ts";
import { type MirrorTable, quoted, SEQUENCES, tablesOf } from "./tables.ts";

/** How PostgreSQL must begin the transaction of {@link download}: all tables as of one moment. */
export const AS_OF_ONE_MOMENT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/** Rows of each table that are fetched first, in one round trip for all tables, and then at once. */
const FETCHED = { first: 100, next: 500 };
/** Rows that are sent at once, and their size as JSON, bytes. */
const SENT = { rows: 1000, bytes: 4 * 1024 * 1024 };

/** What PostgreSQL says about the state that it has. */
export interface Head {
  readonly epoch: number;
  /** The number of the last commit. */
  readonly commit_seq: number;
  /** The version of the schema; 0 when there is no state yet. */
  readonly schema_version: number;
}

/** Reads the head. */
export async function readHead(query: Query): Promise<Head> {
  const [head] = await query<Head>(
    "SELECT epoch, commit_seq, schema_version FROM cluster_leadership WHERE one = 1",
  );
  if (head === undefined) throw new Error("cluster_leadership has no row");
  return head;
}

/**
 * Replaces what is in a database by the state that PostgreSQL has, in one transaction.
 * @param query in a transaction that sees {@link AS_OF_ONE_MOMENT}
 * @param database with the schema of the state, and without its triggers
 */
export async function download(query: Query, database: Database): Promise<void> {
  const writer = new RowWriter(database);
  try {
    database.run("BEGIN IMMEDIATE");
    const tables = [...tablesOf(database), SEQUENCES];
    for (const { name } of tables)
      database.run(`DELETE FROM main.${name === SEQUENCES.name ? "sqlite_sequence" : quoted(name)}`);
    for (const table of tables) for await (const rows of rowsOf(query, table)) writer.put(table.name, rows);
    database.run("COMMIT");
  } finally {
    writer.release();
    if (database.inTransaction) database.run("ROLLBACK");
  }
}

/**
 * The rows of a table in PostgreSQL, some at a time, in the order of their keys.
 * @param query in a transaction
 * @param first the first of them, if they are known
 */
export async function* rowsOf(
  query: Query,
  table: MirrorTable,
  first?: readonly MirrorRow[],
): AsyncGenerator<readonly MirrorRow[]> {
  const rows = first ?? (await firstRows(query, table));
  yield rows;
  if (rows.length < FETCHED.first) return;
  await query(`DECLARE mirrored NO SCROLL CURSOR FOR ${selection(table)} OFFSET ${FETCHED.first}`);
  for (;;) {
    const next = await query<Fetched>(`FETCH ${FETCHED.next} FROM mirrored`);
    yield next.map(parsed);
    if (next.length < FETCHED.next) break;
  }
  await query("CLOSE mirrored");
}

interface Fetched {
  readonly row: string;
}

async function firstRows(query: Query, table: MirrorTable): Promise<MirrorRow[]> {
  return (await query<Fetched>(`${selection(table)} LIMIT ${FETCHED.first}`)).map(parsed);
}

function parsed({ row }: Fetched): MirrorRow {
  return JSON.parse(row);
}

function selection(table: MirrorTable): string {
  const order = table.key.map(({ name, type }) => `${quoted(name)}${type === "TEXT" ? ' COLLATE "C"' : ""}`);
  const columns = table.columns.map(({ name }) => quoted(name)).join(", ");
  return `SELECT row_to_json(t)::text AS row FROM (
    SELECT ${columns} FROM ${quoted(table.name)} ORDER BY ${order.join(", ")}) AS t`;
}

/**
 * Replaces the state that PostgreSQL has by that of a database, and makes the tables for it. Nobody changes the database meanwhile.
 * @param query in a transaction, which the caller fences before its end
 * @param sent called with the number of rows that were sent since the last call
 */
export async function upload(
  query: Query,
  database: Database,
  sent: (rows: number) => void = () => {},
): Promise<void> {
  const tables = [...tablesOf(database), SEQUENCES];
  await extendSchema(query, tables);
  // Not TRUNCATE: those who read as of an earlier moment would find nothing.
  await query(tables.map(({ name }) => `DELETE FROM ${quoted(name)}`).join("; "));
  for (const table of tables) {
    const insert = upsert(
      table,
      `FROM json_populate_recordset(NULL::${quoted(table.name)}, $1::text::json) AS r`,
    );
    for (const chunk of chunks(database, table)) {
      await query(insert, [chunk.text]);
      sent(chunk.rows);
    }
  }
}

function* chunks(database: Database, table: MirrorTable): Generator<{ text: string; rows: number }> {
  const from = table.name === SEQUENCES.name ? "sqlite_sequence" : quoted(table.name);
  const statement = database.prepare<{ row: string }, []>(
    `SELECT json_object(${members(table.columns, "r")}) AS row FROM main.${from} AS r`,
  );
  try {
    let rows: string[] = [];
    let bytes = 0;
    for (const { row } of statement.iterate()) {
      rows.push(row);
      bytes += row.length;
      if (rows.length < SENT.rows && bytes < SENT.bytes) continue;
      yield { text: storable(`[${rows.join(",")}]`), rows: rows.length };
      rows = [];
      bytes = 0;
    }
    if (rows.length > 0) yield { text: storable(`[${rows.join(",")}]`), rows: rows.length };
  } finally {
    statement.finalize();
  }
}
