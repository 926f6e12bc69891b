/**
 * Writes a batch to the history: lines, status rows and the position of each source, in one transaction. DuckDB itself splits the
 * lines: that is twice as fast as passing rows, and the event loop does not wait for it. Most lines of a burst come from one task and
 * have one level: their common columns are taken off here, which saves DuckDB a third of the work.
 */
import type { DuckDBConnection, DuckDBPreparedStatement } from "@duckdb/node-api";
import type { PendingStatus } from "../../contract/history-rows.ts";
import { headOf, LOG_COLUMNS } from "../../contract/log-line.ts";
import { SEPARATOR } from "../../contract/wire.ts";
import { RUN_STATUSES } from "../../workflow/status.ts";
import { quoteText } from "./duckdb.ts";
import { STATUS_TYPE } from "./migrations.ts";
import { TABLES } from "./schema.ts";

/** Consecutive lines of a stream, encoded as they are published. A line with fewer than eight fields keeps its number but is not stored. */
export interface LogSlice {
  readonly agent_id: string;
  readonly stream_id: string;
  readonly first_seq: number;
  readonly lines: readonly string[];
}

/** A batch, written all or nothing. */
export interface HistoryBatch {
  /** In order; slices of one stream in the order of their numbers. */
  readonly logs: readonly LogSlice[];
  /** In the order of their ids. */
  readonly statuses: readonly PendingStatus[];
  /** Task runs whose lines go back in time. */
  readonly disordered: readonly string[];
  /** The state that the status rows come from. */
  readonly state_id?: string | undefined;
}

/** The positions of the sources of rows. */
export interface HistoryCursors {
  /** Id of the last status row from any state; 0 for none. An older cdktr only reads and writes this one. */
  readonly outbox: number;
  /** State → id of its last status row. */
  readonly states: ReadonlyMap<string, number>;
  /** The installation that the history belongs to; null until one has claimed it. */
  readonly installation: string | null;
  /** Stream → number of its last line. */
  readonly streams: ReadonlyMap<string, number>;
}

/** Lines passed to DuckDB in one statement: as many as fit a core's cache. */
const STATEMENT_LINES = 4_000;
const STATEMENT_CHARACTERS = 1024 * 1024;
/** Fewer lines with common columns are written together with others: each statement costs as much as about a hundred lines. */
const LEAST_ALIKE = 128;

const insertLines = (table: string) => `
  INSERT INTO ${table}(${LOG_COLUMNS.join(", ")}, agent_id, stream_id, seq)
  SELECT ${LOG_COLUMNS.map(fieldOf).join(", ")}, $1, $2, seq
  FROM (
    SELECT string_split(line, chr(1)) AS field, seq
    FROM (SELECT unnest(string_split($3, chr(10))) AS line, unnest(range($4::BIGINT, $5::BIGINT)) AS seq)
  )
  WHERE len(field) >= ${LOG_COLUMNS.length}`;

/** Lines that have all columns but time and payload in common, which are parameters. */
const insertAlike = (table: string) => `
  INSERT INTO ${table}(${LOG_COLUMNS.join(", ")}, agent_id, stream_id, seq)
  SELECT $6::VARCHAR, $7::VARCHAR, $8::VARCHAR, $9::VARCHAR, $10::VARCHAR,
    coalesce(try_cast(time AS BIGINT), 0), $11::VARCHAR, payload, $1, $2, seq
  FROM (
    SELECT unnest(string_split($3, chr(10))) AS payload, unnest(string_split($12, ',')) AS time,
      unnest(range($4::BIGINT, $5::BIGINT)) AS seq
  )`;

/** A column from the fields of an encoded line. The payload is everything after the last separator, and may contain more of them. */
function fieldOf(column: (typeof LOG_COLUMNS)[number], index: number): string {
  if (column === "timestamp_ms") return `coalesce(try_cast(field[${index + 1}] AS BIGINT), 0)`;
  return column === "payload" ? `array_to_string(field[${index + 1}:], chr(1))` : `field[${index + 1}]`;
}

const MOVE_CURSORS = `
  UPDATE ingest_cursor SET position = moved.position, updated_ms = moved.updated_ms
  FROM (SELECT unnest(from_json($1::VARCHAR, '[{"kind":"VARCHAR","id":"VARCHAR","position":"BIGINT","updated_ms":"BIGINT"}]'), recursive := true)) moved
  WHERE ingest_cursor.kind = moved.kind AND ingest_cursor.id = moved.id`;

const ADD_CURSORS = `
  INSERT INTO ingest_cursor
  SELECT kind, id, position, updated_ms
  FROM (SELECT unnest(from_json($1::VARCHAR, '[{"kind":"VARCHAR","id":"VARCHAR","position":"BIGINT","updated_ms":"BIGINT"}]'), recursive := true)) moved
  WHERE NOT EXISTS (FROM ingest_cursor c WHERE c.kind = moved.kind AND c.id = moved.id)`;

/** How a place of histories is written. */
export interface Writing {
  /** The table that lines are inserted into. */
  readonly lines: string;
  /** The type of statuses. */
  readonly statusType: string;
  /**
   * Does the work in a transaction, which is undone if it fails. What may be done again, as after a conflict, is.
   * @throws errors of `work` and of DuckDB
   */
  transact(connection: DuckDBConnection, work: () => Promise<void>): Promise<void>;
  /** Calls `insert`, which inserts lines, in the transaction. */
  insertLines(connection: DuckDBConnection, insert: () => Promise<void>): Promise<void>;
}

/** Does the work in a transaction. */
export async function inTransaction(connection: DuckDBConnection, work: () => Promise<void>): Promise<void> {
  await connection.run("BEGIN TRANSACTION");
  try {
    await work();
    await connection.run("COMMIT");
  } catch (error) {
    await connection.run("ROLLBACK").catch(() => {});
    throw error;
  }
}

/** How a DuckDB file is written. */
export const INTO_FILE: Writing = {
  lines: "logstore",
  statusType: STATUS_TYPE,
  transact: inTransaction,
  insertLines: (_, insert) => insert(),
};

/** The connection that writes. */
export class HistoryWriter {
  readonly #connection: DuckDBConnection;
  readonly #writing: Writing;
  readonly #insertStatuses: Readonly<Record<PendingStatus["table"], string>>;
  #insertLines: DuckDBPreparedStatement | undefined;
  #insertAlike: DuckDBPreparedStatement | undefined;

  constructor(connection: DuckDBConnection, writing: Writing) {
    this.#connection = connection;
    this.#writing = writing;
    const insert = (table: PendingStatus["table"]) => insertFromJson(table, writing.statusType);
    this.#insertStatuses = {
      workflow_run_status: insert("workflow_run_status"),
      task_run_status: insert("task_run_status"),
      audit_log: insert("audit_log"),
      alert_log: insert("alert_log"),
    };
  }

  /**
   * Does the work in a transaction of this connection.
   * @throws errors of `work` and of DuckDB
   */
  async transact(work: (connection: DuckDBConnection) => Promise<void>): Promise<void> {
    try {
      await this.#writing.transact(this.#connection, () => work(this.#connection));
    } catch (error) {
      this.#insertLines = undefined;
      this.#insertAlike = undefined;
      throw error;
    }
  }

  /**
   * Writes a batch and moves the cursors, in one transaction that is on disk when the promise resolves.
   * After a failure, either all of it was written or none, see {@link cursors}.
   * @throws errors of DuckDB
   */
  async write(batch: HistoryBatch): Promise<void> {
    await this.transact(async (connection) => {
      if (batch.logs.length > 0) {
        await this.#writing.insertLines(connection, async () => {
          for (const slice of batch.logs) await this.#writeLines(slice);
        });
      }
      for (const table of Object.keys(this.#insertStatuses) as PendingStatus["table"][])
        await this.#writeStatuses(table, batch.statuses);
      if (batch.disordered.length > 0) {
        await connection.run(
          "INSERT INTO log_disorder SELECT DISTINCT id FROM (SELECT unnest(from_json($1::VARCHAR, '[\"VARCHAR\"]')) AS id) WHERE id NOT IN (FROM log_disorder)",
          [toJson(batch.disordered)],
        );
      }
      await this.#moveCursors(batch);
    });
  }

  /** Reads the positions of the sources. */
  async cursors(): Promise<HistoryCursors> {
    const reader = await this.#connection.runAndReadAll(
      "SELECT kind, id, position::DOUBLE FROM ingest_cursor ORDER BY updated_ms",
    );
    const streams = new Map<string, number>();
    const states = new Map<string, number>();
    let installation: string | null = null;
    let outbox = 0;
    for (const [kind, id, position] of reader.getRows()) {
      if (kind === "log") streams.set(String(id), Number(position));
      else if (kind === "state") states.set(String(id), Number(position));
      else if (kind === "installation") installation = String(id);
      else if (kind === "outbox") outbox = Number(position);
    }
    return { outbox, states, installation, streams };
  }

  /** Records the installation that the history belongs to. */
  async claim(installationId: string): Promise<void> {
    await this.transact(async (connection) => {
      await connection.run("DELETE FROM ingest_cursor WHERE kind = 'installation'");
      await connection.run("INSERT INTO ingest_cursor VALUES ('installation', $1, 0, $2)", [
        installationId,
        BigInt(Date.now()),
      ]);
    });
  }

  async #writeLines(slice: LogSlice): Promise<void> {
    const { lines } = slice;
    for (let start = 0; start < lines.length; ) {
      let alike = linesAlike(lines, start);
      if (alike.end - start >= LEAST_ALIKE) {
        await this.#writeAlike(slice, start, alike);
        start = alike.end;
        continue;
      }
      let end = start;
      let size = 0;
      while (end < lines.length && end - start < STATEMENT_LINES && size < STATEMENT_CHARACTERS) {
        end = alike.end;
        size += alike.characters;
        alike = linesAlike(lines, end);
        if (alike.end - end >= LEAST_ALIKE) break;
      }
      await this.#writeMixed(slice, start, end);
      start = end;
    }
  }

  async #writeAlike(
    slice: LogSlice,
    start: number,
    { end, head, level, times, payloads }: LinesAlike,
  ): Promise<void> {
    this.#insertAlike ??= await this.#connection.prepare(insertAlike(this.#writing.lines));
    const statement = this.#insertAlike;
    bindPlace(statement, slice, start, end);
    statement.bindVarchar(3, payloads.join("\n"));
    for (const [index, column] of head.split(SEPARATOR, HEAD_COLUMNS).entries())
      statement.bindVarchar(6 + index, column);
    statement.bindVarchar(11, level);
    statement.bindVarchar(12, times.join(","));
    await statement.run();
  }

  async #writeMixed(slice: LogSlice, start: number, end: number): Promise<void> {
    this.#insertLines ??= await this.#connection.prepare(insertLines(this.#writing.lines));
    const statement = this.#insertLines;
    bindPlace(statement, slice, start, end);
    statement.bindVarchar(3, slice.lines.slice(start, end).join("\n"));
    await statement.run();
  }

  async #writeStatuses(table: PendingStatus["table"], statuses: readonly PendingStatus[]): Promise<void> {
    const rows = statuses.filter((pending) => pending.table === table).map((pending) => pending.row);
    if (rows.length > 0) await this.#connection.run(this.#insertStatuses[table], [toJson(rows)]);
  }

  async #moveCursors(batch: HistoryBatch): Promise<void> {
    const updated_ms = Date.now();
    const positions = new Map<string, number>();
    for (const slice of batch.logs) positions.set(slice.stream_id, slice.first_seq + slice.lines.length - 1);
    const moved = [...positions].map(([id, position]) => ({ kind: "log", id, position, updated_ms }));
    const last = batch.statuses.at(-1);
    if (last !== undefined) {
      const { id: position } = last;
      moved.push({ kind: "outbox", id: "", position, updated_ms });
      if (batch.state_id !== undefined)
        moved.push({ kind: "state", id: batch.state_id, position, updated_ms });
    }
    if (moved.length === 0) return;
    const json = toJson(moved);
    await this.#connection.run(MOVE_CURSORS, [json]);
    await this.#connection.run(ADD_CURSORS, [json]);
  }
}

/** Number of columns of a line's head. */
const HEAD_COLUMNS = 5;

/** Consecutive lines of one task run with one level. */
interface LinesAlike {
  /** Index after the last one: one line at least, and no more than fit a statement. */
  readonly end: number;
  /** Total size of these lines. */
  readonly characters: number;
  readonly head: string;
  readonly level: string;
  readonly times: readonly string[];
  readonly payloads: readonly string[];
}

/** The lines from `start` on that have all columns but time and payload in common. One that is not whole is alone. */
function linesAlike(lines: readonly string[], start: number): LinesAlike {
  const first = lines[start] ?? "";
  const head = headOf(first);
  const level = head === "" ? "" : (first.slice(head.length).split(SEPARATOR, 3)[1] ?? "");
  const times: string[] = [];
  const payloads: string[] = [];
  const after = `${SEPARATOR}${level}${SEPARATOR}`;
  let characters = 0;
  let end = start;
  while (end < lines.length && end - start < STATEMENT_LINES) {
    const line = lines[end] ?? "";
    if (head === "" || !line.startsWith(head)) break;
    const timeEnd = line.indexOf(SEPARATOR, head.length);
    if (timeEnd === -1 || !line.startsWith(after, timeEnd)) break;
    const time = line.slice(head.length, timeEnd);
    if (time.includes(",") || (characters + line.length > STATEMENT_CHARACTERS && end > start)) break;
    characters += line.length;
    times.push(time);
    payloads.push(line.slice(timeEnd + after.length));
    end++;
  }
  return {
    end: Math.max(end, start + 1),
    characters: characters || first.length,
    head,
    level,
    times,
    payloads,
  };
}

function bindPlace(statement: DuckDBPreparedStatement, slice: LogSlice, start: number, end: number): void {
  statement.bindVarchar(1, slice.agent_id);
  statement.bindVarchar(2, slice.stream_id);
  statement.bindBigInt(4, BigInt(slice.first_seq + start));
  statement.bindBigInt(5, BigInt(slice.first_seq + end));
}

/** A statement that inserts the rows of a JSON array. A value that does not fit its column becomes NULL: no row may block those after it. */
function insertFromJson(table: PendingStatus["table"], statusType: string): string {
  const columns = Object.entries(TABLES[table]);
  const types = columns.map(([name, type]) => [name, type === "VARCHAR" ? type : "JSON"]);
  const values = columns.map(([name, type]) => {
    if (type === "VARCHAR") return `r.${name}`;
    const value = `r.${name}->>'$'`;
    if (type !== STATUS_TYPE || statusType === STATUS_TYPE) return `try_cast(${value} AS ${type})`;
    return `CASE WHEN ${value} IN (${RUN_STATUSES.map(quoteText).join(", ")}) THEN ${value} END`;
  });
  return `INSERT INTO ${table}(${columns.map(([name]) => name).join(", ")}) SELECT ${values.join(", ")} FROM (SELECT unnest(from_json($1::VARCHAR, '[${JSON.stringify(Object.fromEntries(types))}]')) AS r)`;
}

/** JSON that DuckDB accepts: it rejects lone surrogates. */
function toJson(value: unknown): string {
  return JSON.stringify(value, (_, part) => (typeof part === "string" ? part.toWellFormed() : part));
}
