/** Reads log lines from the history. */
import type { DuckDBConnection, DuckDBValue } from "@duckdb/node-api";
import type { LineQuery } from "../../contract/history.ts";
import { LOG_COLUMNS, type LogLine, type LogRow, lineOf, rowOf } from "../../contract/log-line.ts";
import type { LogPage, SearchLogs } from "../../contract/messages.ts";
import { errorMessage, InvalidInputError } from "../../errors.ts";

/** Maximum lines and characters per page: even with everything escaped, its JSON fits a frame. */
const PAGE_ROWS = 10_000;
const PAGE_CHARACTERS = 2 * 1024 * 1024;
/** Maximum characters of the single reply of `QUERYLOGS`. */
const REPLY_CHARACTERS = 8 * 1024 * 1024;
/** Range of times that an ISO date can express, ms. */
const LAST_INSTANT_MS = 8.64e15;

/** The source of lines and their order: `time`, then `l.rowid`, which is insertion order. */
export interface LogOrder {
  readonly from: string;
  readonly time: string;
}

/**
 * The order of lines: by time, and within a task run as they were written. The two differ where the clock of an agent was set back:
 * lines of such a task run are treated as not earlier than those before them.
 * @param disordered whether there are such task runs
 */
export function logOrder(disordered: boolean): LogOrder {
  if (!disordered) return { from: "logstore l", time: "l.timestamp_ms" };
  return {
    from: `logstore l LEFT JOIN (
        SELECT rowid AS line, max(timestamp_ms) OVER (PARTITION BY task_instance_id ORDER BY rowid) AS time_ms
        FROM logstore WHERE task_instance_id IN (FROM log_disorder)
      ) d ON d.line = l.rowid`,
    time: "coalesce(d.time_ms, l.timestamp_ms)",
  };
}

/** Collects conditions and their parameter values. */
class Filter {
  readonly values: DuckDBValue[] = [];
  readonly #conditions: string[] = [];

  /** The placeholder of a value. */
  text(value: string): string {
    this.values.push(value);
    return `$${this.values.length}::VARCHAR`;
  }

  /** The placeholder of a whole number. */
  integer(value: number): string {
    this.values.push(BigInt(Math.trunc(Math.min(Math.max(value, -LAST_INSTANT_MS), LAST_INSTANT_MS))));
    return `$${this.values.length}::BIGINT`;
  }

  add(condition: string): void {
    this.#conditions.push(condition);
  }

  get where(): string {
    return this.#conditions.length === 0 ? "" : `WHERE ${this.#conditions.join(" AND ")}`;
  }
}

const COLUMNS = LOG_COLUMNS.map((column) => `l.${column}`).join(", ");

/**
 * A page of lines in order. Without `limit` it begins with the oldest line, with `limit` with the first of that many newest ones; with
 * `after` it continues from there, and `limit` bounds the rest. The connection is in a transaction.
 * @throws InvalidInputError when the pattern or the position is invalid
 */
export async function searchLogs(
  connection: DuckDBConnection,
  search: SearchLogs,
  disordered: boolean,
): Promise<Omit<LogPage, "warning">> {
  if (search.grep !== undefined) await checkPattern(connection, search.grep);
  const { from, time } = logOrder(disordered);
  const filter = new Filter();
  addFilters(filter, search);
  const { limit, after } = search;
  let source: string;
  if (after !== undefined) {
    const at = filter.integer(await timeAt(connection, after, { from, time }));
    filter.add(`${time} >= ${at} AND (${time} > ${at} OR l.rowid > ${filter.integer(after)})`);
  }
  const lines = `SELECT ${COLUMNS}, ${time} AS time_ms, l.rowid AS position FROM ${from} ${filter.where}`;
  const rows = Math.min(PAGE_ROWS, limit !== undefined && after !== undefined ? limit : PAGE_ROWS);
  if (limit !== undefined && after === undefined) {
    source = `SELECT * FROM (${lines} ORDER BY time_ms DESC, position DESC LIMIT ${limit})`;
  } else {
    source = lines;
  }
  return readPage(connection, `${source} ORDER BY time_ms, position LIMIT ${rows + 1}`, filter.values, rows);
}

function addFilters(filter: Filter, search: SearchLogs): void {
  if (search.workflow_id !== undefined) filter.add(`l.workflow_id = ${filter.text(search.workflow_id)}`);
  if (search.workflow_instance_id !== undefined) {
    filter.add(`l.workflow_instance_id = ${filter.text(search.workflow_instance_id)}`);
  }
  if (search.task !== undefined) {
    const task = filter.text(search.task);
    // Items of fan-outs are called load[orders]: without the key, all of them are meant.
    filter.add(
      `(l.task_name = ${task} OR starts_with(l.task_name, ${task} || '[') OR l.task_instance_id = ${task}
        OR l.task_instance_id IN (
          SELECT task_instance_id FROM task_run_status WHERE task_id = ${task} OR task_id || '[' || item_key || ']' = ${task}))`,
    );
  }
  if (search.level !== undefined) filter.add(`l.level = ${filter.text(search.level)}`);
  if (search.since_ms !== undefined) {
    filter.add(`l.timestamp_ms >= ${filter.integer(Math.ceil(search.since_ms))}`);
  }
  if (search.until_ms !== undefined) {
    filter.add(`l.timestamp_ms <= ${filter.integer(Math.floor(search.until_ms))}`);
  }
  if (search.grep !== undefined) filter.add(`regexp_matches(l.payload, ${filter.text(search.grep)})`);
}

async function checkPattern(connection: DuckDBConnection, pattern: string): Promise<void> {
  try {
    await connection.runAndReadAll("SELECT regexp_matches('', $1::VARCHAR)", [pattern]);
  } catch (error) {
    const reason = errorMessage(error).replace(/^Invalid Input Error: /, "");
    throw new InvalidInputError(`"${pattern}" is not a regular expression: ${reason}`, {
      cause: error,
      hint: "Patterns use RE2 syntax: no look-around and no back-references. Escape ( [ . * + ? and similar characters with a backslash.",
    });
  }
}

async function timeAt(connection: DuckDBConnection, position: number, order: LogOrder): Promise<number> {
  const reader = await connection.runAndReadAll(
    `SELECT (${order.time})::DOUBLE FROM ${order.from} WHERE l.rowid = $1::BIGINT`,
    [BigInt(position)],
  );
  if (reader.currentRowCount === 0) {
    throw new InvalidInputError(`There is no log line at position ${position}.`, {
      hint: "Set `after` to the value of `next` in the previous reply.",
    });
  }
  return Number(reader.value(0, 0));
}

async function readPage(
  connection: DuckDBConnection,
  sql: string,
  values: DuckDBValue[],
  maxRows: number,
): Promise<Omit<LogPage, "warning">> {
  const result = await connection.stream(sql, values);
  const rows: LogRow[] = [];
  let characters = 0;
  let last = 0;
  for (;;) {
    const chunk = await result.fetchChunk();
    if (chunk === null || chunk.rowCount === 0) return { rows, next: null };
    for (const values of chunk.getRows()) {
      const row = rowOf(values);
      characters += row.reduce<number>((sum, field) => sum + String(field).length, 0);
      if (rows.length === maxRows || (characters > PAGE_CHARACTERS && rows.length > 0)) {
        return { rows, next: last };
      }
      rows.push(row);
      last = Number(values[9]);
    }
  }
}

/**
 * Lines as text, in order. If they exceed the size of a reply, the newest are returned, after a line that says so. The connection is in
 * a transaction.
 */
export async function queryLogLines(
  connection: DuckDBConnection,
  query: LineQuery,
  disordered: boolean,
): Promise<string[]> {
  const { from, time } = logOrder(disordered);
  const filter = new Filter();
  addFilters(filter, {
    ...(query.workflowId === null ? {} : { workflow_id: query.workflowId }),
    ...(query.workflowInstanceId === null ? {} : { workflow_instance_id: query.workflowInstanceId }),
    ...(query.startMs === null ? {} : { since_ms: query.startMs }),
    ...(query.endMs === null ? {} : { until_ms: query.endMs }),
  });
  const selection = `FROM ${from} ${filter.where}`;
  const result = await connection.stream(
    `SELECT ${COLUMNS} ${selection} ORDER BY ${time} DESC, l.rowid DESC`,
    filter.values,
  );
  const newestFirst: string[] = [];
  let characters = 0;
  for (;;) {
    const chunk = await result.fetchChunk();
    if (chunk === null || chunk.rowCount === 0) return newestFirst.reverse();
    for (const values of chunk.getRows()) {
      const line = lineOf(rowOf(values));
      const text = formatLine(line, query.verbose);
      characters += text.length;
      if (characters > REPLY_CHARACTERS) {
        const counted = await connection.runAndReadAll(`SELECT count(*)::DOUBLE ${selection}`, filter.values);
        const left = Number(counted.value(0, 0)) - newestFirst.length;
        newestFirst.push(
          `${isoTime(line.timestamp_ms)} [WARN] cdktr: ${left} older lines are omitted; narrow the time range.`,
        );
        return newestFirst.reverse();
      }
      newestFirst.push(text);
    }
  }
}

function formatLine(line: LogLine, verbose: boolean): string {
  const head = `${isoTime(line.timestamp_ms)} [${line.level}]`;
  if (!verbose) return `${head} ${line.payload}`;
  const { workflow_name, workflow_instance_id, task_name, task_instance_id } = line;
  return `${head} ${workflow_name}/${workflow_instance_id}/${task_name}/${task_instance_id}: ${line.payload}`;
}

function isoTime(ms: number): string {
  return Math.abs(ms) <= LAST_INSTANT_MS ? new Date(ms).toISOString() : `${ms}`;
}
