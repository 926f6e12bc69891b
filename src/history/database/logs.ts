/** Reads log lines from the history. */
import type { DuckDBConnection, DuckDBValue } from "@duckdb/node-api";
import type { LineQuery } from "../../contract/history.ts";
import { LOG_COLUMNS, type LogLine, type LogRow, lineOf, rowOf } from "../../contract/log-line.ts";
import type { LogPage, SearchLogs } from "../../contract/messages.ts";
import { errorMessage, InvalidInputError } from "../../errors.ts";
import type { Part } from "./archive-manifest.ts";
import type { LineMarks } from "./line-marks.ts";
import { type AnySources, TABLES_ALONE } from "./sources.ts";

/** Maximum lines and characters per page: even with everything escaped, its JSON fits a frame. */
const PAGE_ROWS = 10_000;
const PAGE_CHARACTERS = 2 * 1024 * 1024;
/** Maximum characters of the single reply of `QUERYLOGS`. */
const REPLY_CHARACTERS = 8 * 1024 * 1024;
/** Range of times that an ISO date can express, ms. */
const LAST_INSTANT_MS = 8.64e15;

/** The source of lines and their order: `time`, then `l.rowid`, which is insertion order. */
interface LogOrder {
  readonly from: string;
  readonly time: string;
}

/**
 * The order of lines: by time, and within a task run as they were written. The two differ where the clock of an agent was set back:
 * lines of such a task run are treated as not earlier than those before them.
 * @param disordered whether there are such task runs
 */
export function logOrder(disordered: boolean, table = "logstore"): LogOrder {
  if (!disordered) return { from: `${table} l`, time: "l.timestamp_ms" };
  return {
    from: `${table} l LEFT JOIN (
        SELECT rowid AS line, max(timestamp_ms) OVER (PARTITION BY task_instance_id ORDER BY rowid) AS time_ms
        FROM ${table} WHERE task_instance_id IN (FROM log_disorder)
      ) d ON d.line = l.rowid`,
    time: "coalesce(d.time_ms, l.timestamp_ms)",
  };
}

/** The order of lines of the database and of these parts of the archive, in which lines have the time by which they are ordered. */
function orderOver(disordered: boolean, sources: AnySources, parts: readonly Part[]): LogOrder {
  if (parts.length === 0) return logOrder(disordered);
  const { from, time } = logOrder(disordered, "main.logstore");
  const live = `SELECT ${sources.columns("logstore", "l")}, l.rowid AS rowid, ${time} AS time_ms FROM ${from}`;
  return { from: `(${[live, ...sources.lines(parts)].join(" UNION ALL ")}) l`, time: "l.time_ms" };
}

/** All lines in order, for an export. */
export async function orderOfAll(disordered: boolean, sources: AnySources): Promise<LogOrder> {
  return orderOver(disordered, sources, await sources.parts("logstore"));
}

/** How many archived lines are looked through first. */
const FIRST_LOOK_LINES = 500_000;
/** A task run has statuses after its lines, by clocks that may differ. */
const SLACK_MS = 86_400_000;

/** Part of the time: from `fromMs` on, before `untilMs`. */
interface Window {
  readonly fromMs: number | undefined;
  readonly untilMs: number | undefined;
  readonly parts: readonly Part[];
}

/** Cuts the time so that each window has more lines than the one before: a page is usually found in the first. */
function* windowsFrom(all: readonly Part[], fromMs: number | undefined): Generator<Window> {
  const parts = all.filter(({ maxMs }) => fromMs === undefined || maxMs >= fromMs);
  parts.sort((a, b) => a.minMs - b.minMs);
  let from = fromMs;
  for (let look = FIRST_LOOK_LINES, next = 0; ; look *= 4) {
    for (let found = 0; next < parts.length && found < look; next++) found += parts[next]?.rows ?? 0;
    const untilMs = parts[next]?.minMs;
    yield {
      fromMs: from,
      untilMs,
      parts: parts.slice(0, next).filter(({ maxMs }) => from === undefined || maxMs >= from),
    };
    if (untilMs === undefined) return;
    from = untilMs;
  }
}

/** The time from which on there are so many lines, or more; undefined if all are needed. */
async function newestFrom(
  all: readonly Part[],
  limit: number,
  count: (window: Window) => Promise<number>,
): Promise<number | undefined> {
  const parts = [...all].sort((a, b) => b.maxMs - a.maxMs);
  let untilMs: number | undefined;
  let found = 0;
  // What is newer than all parts comes first.
  for (let look = 0, next = 0; next < parts.length; look = Math.max(FIRST_LOOK_LINES, look * 4)) {
    for (let rows = 0; next < parts.length && rows < look; next++) rows += parts[next]?.rows ?? 0;
    const oldest = parts[next];
    if (oldest === undefined) return undefined;
    const fromMs = oldest.maxMs + 1;
    const looked = parts.slice(0, next).filter(({ minMs }) => untilMs === undefined || minMs < untilMs);
    found += await count({ fromMs, untilMs, parts: looked });
    if (found >= limit) return fromMs;
    untilMs = fromMs;
  }
  return undefined;
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
  sources: AnySources = TABLES_ALONE,
  marks?: LineMarks,
): Promise<Omit<LogPage, "warning">> {
  if (search.grep !== undefined) await checkPattern(connection, search.grep);
  const { limit, after, workflow_instance_id: run } = search;
  const parts = await sources.parts("logstore", {
    sinceMs: search.since_ms,
    untilMs: search.until_ms,
    runs: run === undefined ? undefined : [run],
  });
  const tasks = await taskStatuses(search, sources);
  const over = (window: Window) => {
    const order = orderOver(disordered, sources, window.parts);
    const filter = new Filter();
    addFilters(filter, search, tasks);
    if (window.fromMs !== undefined) filter.add(`${order.time} >= ${filter.integer(window.fromMs)}`);
    if (window.untilMs !== undefined) filter.add(`${order.time} < ${filter.integer(window.untilMs)}`);
    return { ...order, filter };
  };
  const rows = Math.min(PAGE_ROWS, limit !== undefined && after !== undefined ? limit : PAGE_ROWS);
  const page = new Page(rows, marks);
  const select = ({ from, time }: LogOrder, where: string) =>
    `SELECT ${COLUMNS}, ${time} AS time_ms, l.rowid AS position, l.stream_id, l.seq FROM ${from} ${where}`;
  if (limit !== undefined && after === undefined) {
    const count = async (window: Window) => {
      const { from, filter } = over(window);
      const sql = `SELECT count(*)::DOUBLE FROM (SELECT 1 FROM ${from} ${filter.where} LIMIT ${limit})`;
      return Number((await connection.runAndReadAll(sql, filter.values)).value(0, 0));
    };
    const fromMs = await newestFrom(parts, limit, count);
    const needed = parts.filter(({ maxMs }) => fromMs === undefined || maxMs >= fromMs);
    const order = over({ fromMs, untilMs: undefined, parts: needed });
    const lines = `${select(order, order.filter.where)} ORDER BY time_ms DESC, position DESC LIMIT ${limit}`;
    const sql = `SELECT * FROM (${lines}) ORDER BY time_ms, position LIMIT ${rows + 1}`;
    await page.read(connection, sql, order.filter.values);
    return page.done();
  }
  const from =
    after === undefined ? undefined : await lineAt(connection, after, { disordered, sources, marks });
  for (const window of windowsFrom(parts, from?.timeMs)) {
    const { filter, ...order } = over(window);
    if (from !== undefined) {
      const at = filter.integer(from.timeMs);
      filter.add(`(${order.time} > ${at} OR l.rowid > ${filter.integer(from.position)})`);
    }
    const sql = `${select(order, filter.where)} ORDER BY time_ms, position LIMIT ${rows + 1 - page.rows}`;
    if (await page.read(connection, sql, filter.values)) break;
  }
  return page.done();
}

/** What has the statuses of task runs, if tasks are asked for. */
function taskStatuses(search: SearchLogs, sources: AnySources): Promise<string> {
  const { since_ms, workflow_instance_id: run } = search;
  const sinceMs = since_ms === undefined ? undefined : since_ms - SLACK_MS;
  return search.task === undefined
    ? Promise.resolve("")
    : sources.of("task_run_status", { sinceMs, runs: run === undefined ? undefined : [run] });
}

function addFilters(filter: Filter, search: SearchLogs, tasks: string): void {
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
          SELECT task_instance_id FROM ${tasks} WHERE task_id = ${task} OR task_id || '[' || item_key || ']' = ${task}))`,
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

/** Where the line is now that had this position when it was told. */
async function lineAt(
  connection: DuckDBConnection,
  after: number,
  from: { readonly disordered: boolean; readonly sources: AnySources; readonly marks: LineMarks | undefined },
): Promise<{ readonly timeMs: number; readonly position: number }> {
  const { disordered, sources, marks } = from;
  const mark = marks?.at(after);
  if (mark === "lost") throw noLine(after);
  const moved = mark !== undefined && mark.stream !== null ? mark : undefined;
  const at = moved?.timeMs;
  const parts = await sources.parts("logstore", { sinceMs: at, untilMs: at });
  const order = orderOver(disordered, sources, after < 0 || moved !== undefined ? parts : []);
  const filter = new Filter();
  if (moved === undefined) filter.add(`l.rowid = ${filter.integer(after)}`);
  else {
    filter.add(`${order.time} = ${filter.integer(moved.timeMs)}`);
    filter.add(`l.stream_id = ${filter.text(moved.stream ?? "")} AND l.seq = ${filter.integer(moved.seq)}`);
  }
  const reader = await connection.runAndReadAll(
    `SELECT (${order.time})::DOUBLE, l.rowid::DOUBLE FROM ${order.from} ${filter.where} LIMIT 1`,
    filter.values,
  );
  if (reader.currentRowCount === 0) throw noLine(after);
  return { timeMs: Number(reader.value(0, 0)), position: Number(reader.value(1, 0)) };
}

function noLine(position: number): InvalidInputError {
  return new InvalidInputError(`There is no log line at position ${position}.`, {
    hint: "Set `after` to the value of `next` in the previous reply.",
  });
}

/** A page of lines, read from one statement after the other. */
class Page {
  readonly #most: number;
  readonly #marks: LineMarks | undefined;
  readonly #rows: LogRow[] = [];
  #characters = 0;
  #last: readonly DuckDBValue[] = [];
  #isFull = false;

  constructor(most: number, marks: LineMarks | undefined) {
    this.#most = most;
    this.#marks = marks;
  }

  /** Number of lines so far. */
  get rows(): number {
    return this.#rows.length;
  }

  /** Adds lines; returns whether there are more of them than fit. */
  async read(connection: DuckDBConnection, sql: string, values: DuckDBValue[]): Promise<boolean> {
    const result = await connection.stream(sql, values);
    for (;;) {
      const chunk = await result.fetchChunk();
      if (chunk === null || chunk.rowCount === 0) return false;
      for (const values of chunk.getRows()) {
        const row = rowOf(values);
        this.#characters += row.reduce<number>((sum, field) => sum + String(field).length, 0);
        const isLong = this.#characters > PAGE_CHARACTERS && this.rows > 0;
        if (this.rows === this.#most || isLong) {
          this.#isFull = true;
          return true;
        }
        this.#rows.push(row);
        this.#last = values;
      }
    }
  }

  /** The page, with the position of its last line if there are more. */
  done(): Omit<LogPage, "warning"> {
    if (!this.#isFull) return { rows: this.#rows, next: null };
    const [timeMs, position, stream, seq] = this.#last.slice(LOG_COLUMNS.length);
    const next = Number(position);
    this.#marks?.note(next, {
      timeMs: Number(timeMs),
      stream: stream === null || stream === undefined || seq === null ? null : String(stream),
      seq: Number(seq),
    });
    return { rows: this.#rows, next };
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
  sources: AnySources = TABLES_ALONE,
): Promise<string[]> {
  const parts = await sources.parts("logstore", {
    sinceMs: query.startMs ?? undefined,
    untilMs: query.endMs ?? undefined,
    runs: query.workflowInstanceId === null ? undefined : [query.workflowInstanceId],
  });
  const { from, time } = orderOver(disordered, sources, parts);
  const filter = new Filter();
  addFilters(
    filter,
    {
      ...(query.workflowId === null ? {} : { workflow_id: query.workflowId }),
      ...(query.workflowInstanceId === null ? {} : { workflow_instance_id: query.workflowInstanceId }),
      ...(query.startMs === null ? {} : { since_ms: query.startMs }),
      ...(query.endMs === null ? {} : { until_ms: query.endMs }),
    },
    "",
  );
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
