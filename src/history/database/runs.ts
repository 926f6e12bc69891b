/** Runs from the history, for those that are no longer in the operational state. */
import type { DuckDBConnection, DuckDBValue } from "@duckdb/node-api";
import type { HistoricRun } from "../../contract/history.ts";
import type {
  ItemSummary,
  ListItems,
  ListRuns,
  RunAttempt,
  RunSummary,
  TaskRunSummary,
} from "../../contract/messages.ts";
import { MAX_OUTPUTS_TOGETHER_BYTES } from "../../contract/outputs.ts";
import { DEFAULT_PRIORITY } from "../../workflow/limits.ts";
import type { RunStatus } from "../../workflow/status.ts";
import type { Part } from "./archive-manifest.ts";
import { quoteText } from "./duckdb.ts";
import { type AnySources, TABLES_ALONE } from "./sources.ts";

type Row = Record<string, DuckDBValue>;

/** How many archived runs are looked through first for a list. */
const FIRST_LOOK_RUNS = 2_000;
/** How many rows of statuses are looked through first, for each run of a list, and how many at most before all are. */
const FIRST_LOOK_ROWS = 20;
const LAST_LOOK_ROWS = 50_000;

/** Newest first. */
export async function listRuns(
  connection: DuckDBConnection,
  list: ListRuns,
  before?: number,
  sources: AnySources = TABLES_ALONE,
): Promise<RunSummary[]> {
  const prefix = list.id_prefix ?? "";
  const read = async (source: string, among?: readonly string[]): Promise<Row[]> => {
    const ids = among && `workflow_instance_id IN (${among.map(quoteText).join(", ")}) AND`;
    const reader = await connection.runAndReadAll(
      `SELECT * FROM ${source}
       WHERE ${ids ?? ""} ($1::VARCHAR IS NULL OR workflow_id = $1) AND ($2::VARCHAR IS NULL OR status::VARCHAR = $2)
         AND ($3::DOUBLE IS NULL OR created_at_ms < $3) AND starts_with(workflow_instance_id, $4)
       ORDER BY created_at_ms DESC, workflow_instance_id DESC LIMIT $5::BIGINT`,
      [list.workflow_id ?? null, list.status ?? null, before ?? null, prefix, list.limit],
    );
    return reader.getRowObjects();
  };
  let rows = await newestInDatabase(connection, list, before, sources, read);
  const parts = await sources.parts("workflow_runs", { untilMs: before });
  // Newest first, more and more of them, until none of the others can have a run that belongs to the list.
  parts.sort((a, b) => b.maxMs - a.maxMs);
  for (let look = FIRST_LOOK_RUNS; parts.length > 0; look *= 4) {
    const last = rows.length < list.limit ? undefined : rows.at(-1);
    if (last !== undefined && (number(last, "created_at_ms") ?? 0) > (parts[0]?.maxMs ?? 0)) break;
    const some: Part[] = [];
    for (let found = 0; found < look; ) {
      const part = parts.shift();
      if (part === undefined) break;
      some.push(part);
      found += part.rows;
    }
    rows = newest([...rows, ...(await read(sources.archived("workflow_runs", some)))], list.limit);
  }
  return rows.map(toSummary);
}

/**
 * The newest runs of the database, in order. What the view says of all runs takes seconds when there are many: it is asked about those
 * alone that have the newest rows. Each run has a row with the time of its creation, so all runs that are newer than the oldest of the
 * rows that were looked through are among them.
 */
async function newestInDatabase(
  connection: DuckDBConnection,
  list: ListRuns,
  before: number | undefined,
  sources: AnySources,
  read: (source: string, among?: readonly string[]) => Promise<Row[]>,
): Promise<Row[]> {
  const runs = sources.over("workflow_runs", []);
  for (let look = list.limit * FIRST_LOOK_ROWS; look <= LAST_LOOK_ROWS; look *= 8) {
    const reader = await connection.runAndReadAll(
      `SELECT workflow_instance_id, coalesce(created_at_ms, timestamp_ms)::DOUBLE AS created_ms
       FROM ${sources.over("workflow_run_status", [])}
       WHERE ($1::VARCHAR IS NULL OR workflow_id = $1) AND ($2::DOUBLE IS NULL OR coalesce(created_at_ms, timestamp_ms) < $2)
         AND starts_with(workflow_instance_id, $3)
       ORDER BY created_ms DESC LIMIT ${look}`,
      [list.workflow_id ?? null, before ?? null, list.id_prefix ?? ""],
    );
    const found = reader.getRows();
    const among = [...new Set(found.map(([id]) => String(id)))];
    if (among.length === 0) return [];
    const rows = await read(runs, among);
    if (found.length < look) return rows;
    const last = rows.length < list.limit ? undefined : rows.at(-1);
    if (last !== undefined && (number(last, "created_at_ms") ?? 0) > Number(found.at(-1)?.[1])) return rows;
  }
  return read(runs);
}

/** The newest of these runs, in order. */
function newest(rows: Row[], limit: number): Row[] {
  const key = (row: Row) => text(row, "workflow_instance_id") ?? "";
  const created = (row: Row) => number(row, "created_at_ms") ?? 0;
  return rows.sort((a, b) => created(b) - created(a) || (key(b) > key(a) ? 1 : -1)).slice(0, limit);
}

/** A run with its attempts, and the tasks of its newest attempt; null when there is none with that id. */
export async function findRun(
  connection: DuckDBConnection,
  workflowInstanceId: string,
  outputs: boolean,
  sources: AnySources = TABLES_ALONE,
): Promise<HistoricRun | null> {
  const scope = { runs: [workflowInstanceId] };
  const [runs, statuses, taskRuns] = [
    await sources.of("workflow_runs", scope),
    await sources.of("workflow_run_status", scope),
    await sources.of("task_runs", scope),
  ];
  const read = async (sql: string): Promise<Row[]> =>
    (await connection.runAndReadAll(sql, [workflowInstanceId])).getRowObjects();
  const [run] = await read(`SELECT * FROM ${runs} WHERE workflow_instance_id = $1`);
  if (run === undefined) return null;
  const attempts = await read(
    `SELECT 0 AS slice, attempt, last.agent_id, last.status, started_at_ms, last.error,
       CASE WHEN last.status NOT IN ('PENDING', 'RUNNING', 'WAITING') THEN last.timestamp_ms END AS finished_at_ms
     FROM (
       SELECT attempt, min(timestamp_ms) FILTER (status = 'RUNNING') AS started_at_ms,
         arg_max({status: status, timestamp_ms: timestamp_ms, agent_id: agent_id, error: error}, rowid) AS last
       FROM ${statuses} WHERE workflow_instance_id = $1 GROUP BY attempt
     ) ORDER BY attempt`,
  );
  // The rows of a run that agents shared are about the run; what each agent had of it is known from the tasks.
  const shared = await read(
    `SELECT slice, attempt, any_value(agent_id) AS agent_id, min(started_at_ms) AS started_at_ms, max(finished_at_ms) AS finished_at_ms,
       arg_max(error, status = 'CRASHED') AS error,
       CASE WHEN bool_or(finished_at_ms IS NULL) THEN 'RUNNING' ELSE coalesce(min(status::VARCHAR) FILTER (status <> 'SKIPPED' AND status <> 'COMPLETED' AND NOT allowed), 'COMPLETED') END AS status
     FROM ${taskRuns} WHERE workflow_instance_id = $1 AND slice > 0 AND agent_id IS NOT NULL
     GROUP BY slice, attempt ORDER BY slice, attempt`,
  );
  // A task that completed in an earlier attempt has no task run in the newest one: use each task's newest task run. Attempts of different
  // slices cannot be compared.
  const newest = `SELECT * FROM ${taskRuns} WHERE workflow_instance_id = $1 AND item_key IS NULL
     QUALIFY row_number() OVER (
       PARTITION BY task_id ORDER BY status = 'COMPLETED' DESC, ${shared.length > 0 ? "" : "attempt DESC, "}created_at_ms DESC) = 1`;
  const tasks = await read(
    outputs
      ? `SELECT * REPLACE (CASE WHEN bytes <= ${MAX_OUTPUTS_TOGETHER_BYTES} THEN outputs END AS outputs)
         FROM (SELECT *, sum(strlen(outputs::VARCHAR)) OVER () AS bytes FROM (${newest})) ORDER BY created_at_ms, task_id`
      : `SELECT * EXCLUDE (outputs) FROM (${newest}) ORDER BY created_at_ms, task_id`,
  );
  const published = parseObject<NonNullable<HistoricRun["outputs"]>>(text(run, "outputs"));
  const items = await read(
    `SELECT task_id, status, count(*) AS items FROM (
       SELECT * FROM ${taskRuns} WHERE workflow_instance_id = $1 AND item_key IS NOT NULL
       QUALIFY row_number() OVER (PARTITION BY task_id, item_key ORDER BY status = 'COMPLETED' DESC, created_at_ms DESC) = 1)
     GROUP BY task_id, status`,
  );
  const countOf = countsIn(items);
  return {
    ...toSummary(run),
    workflow_name: text(run, "workflow_name") ?? "",
    scheduled_time_ms: number(run, "scheduled_time_ms"),
    params: parseObject<Record<string, string>>(text(run, "params")) ?? {},
    error: text(run, "error"),
    retry_of: text(run, "retry_of"),
    ...(published === undefined ? {} : { outputs: published }),
    attempts: (shared.length > 0 ? shared : attempts).map(toAttempt),
    tasks: tasks.map(toTask).map((task) => ({ ...task, ...countOf(task.task_id) })),
    ...(tasks.some((row) => (number(row, "bytes") ?? 0) > MAX_OUTPUTS_TOGETHER_BYTES)
      ? { outputs_left_out: true }
      : {}),
  };
}

/** The items of fan-outs, by task. A fan-out without items is not known to be one. */
function countsIn(rows: readonly Row[]): (task: string) => Pick<TaskRunSummary, "items"> {
  const byTask = Map.groupBy(rows, (row) => text(row, "task_id") ?? "");
  return (task) => {
    const counts = byTask.get(task)?.map((row) => [status(row), number(row, "items") ?? 0] as const);
    if (counts === undefined) return {};
    const total = counts.reduce((sum, [, count]) => sum + count, 0);
    return { items: { total, by_status: Object.fromEntries(counts) } };
  };
}

/** A page of the items of a fan-out, in order: of each the task run that COMPLETED, or else the newest. */
export async function findItems(
  connection: DuckDBConnection,
  { workflow_instance_id, task_id, status, after_index, before_index, words = [], limit, outputs }: ListItems,
  sources: AnySources = TABLES_ALONE,
): Promise<ItemSummary[]> {
  const taskRuns = await sources.of("task_runs", { runs: [workflow_instance_id] });
  const asked = words.map((word) => (word.startsWith("!") && word.length > 1 ? word.slice(1) : word));
  const has = asked.map((word, n) => {
    const isNot = word !== words[n];
    return `AND ${isNot ? "NOT " : ""}contains(lower(task_id || '[' || item_key || '] ' || status::VARCHAR), lower($${6 + n}::VARCHAR))`;
  });
  // One statement reads the outputs, which may be large, of the items of the page only.
  const reader = await connection.runAndReadAll(
    `SELECT * EXCLUDE (bytes) FROM (
       SELECT *, sum(strlen(outputs::VARCHAR)) OVER (ORDER BY item_index) AS bytes FROM (
         SELECT * ${outputs ? "" : "REPLACE (NULL AS outputs)"} FROM ${taskRuns}
         WHERE workflow_instance_id = $1 AND task_id = $2 AND item_key IS NOT NULL
         QUALIFY row_number() OVER (PARTITION BY item_index ORDER BY status = 'COMPLETED' DESC, created_at_ms DESC) = 1)
       WHERE item_index > $3::BIGINT AND item_index < $4::BIGINT ${status === undefined ? "" : `AND status = '${status}'`} ${has.join(" ")}
       ORDER BY item_index LIMIT $5::BIGINT)
     WHERE bytes IS NULL OR bytes <= ${MAX_OUTPUTS_TOGETHER_BYTES} ORDER BY item_index`,
    [
      workflow_instance_id,
      task_id,
      after_index ?? -1,
      before_index ?? Number.MAX_SAFE_INTEGER,
      limit,
      ...asked,
    ],
  );
  return reader.getRowObjects().map((row) => ({
    ...toTask(row),
    item_key: text(row, "item_key") ?? "",
    item_index: number(row, "item_index") ?? 0,
  }));
}

/**
 * What task runs published, as JSON, by their ids.
 * @returns null if that is more than fits into one message
 */
export async function findOutputs(
  connection: DuckDBConnection,
  taskInstanceIds: readonly string[],
  sources: AnySources = TABLES_ALONE,
): Promise<ReadonlyMap<string, string> | null> {
  // In two statements: DuckDB fails now and then with an internal error if a window function adds up the sizes.
  const from = `FROM ${await sources.of("task_runs")} WHERE outputs IS NOT NULL AND task_instance_id IN (SELECT unnest(from_json($1, '["VARCHAR"]')))`;
  const ids = [JSON.stringify(taskInstanceIds)];
  const size = await connection.runAndReadAll(`SELECT sum(strlen(outputs::VARCHAR)) AS bytes ${from}`, ids);
  if ((number(size.getRowObjects()[0] ?? {}, "bytes") ?? 0) > MAX_OUTPUTS_TOGETHER_BYTES) return null;
  const reader = await connection.runAndReadAll(
    `SELECT task_instance_id, outputs::VARCHAR AS outputs ${from}`,
    ids,
  );
  const found = new Map<string, string>();
  for (const row of reader.getRowObjects())
    found.set(text(row, "task_instance_id") ?? "", text(row, "outputs") ?? "");
  return found;
}

function toSummary(row: Row): RunSummary {
  const agents = number(row, "agents");
  const allowed = number(row, "allowed_failures") ?? 0;
  return {
    workflow_id: text(row, "workflow_id") ?? "",
    workflow_instance_id: text(row, "workflow_instance_id") ?? "",
    status: status(row),
    trigger: text(row, "trigger") ?? "",
    agent_id: text(row, "agent_id"),
    ...(agents === null ? {} : { agents }),
    attempt: number(row, "attempt") ?? 1,
    created_at_ms: number(row, "created_at_ms") ?? 0,
    started_at_ms: number(row, "started_at_ms"),
    finished_at_ms: number(row, "finished_at_ms"),
    duration_ms: number(row, "duration_ms"),
    ...(allowed === 0 ? {} : { allowed_failures: allowed }),
    ...parentOf(row),
    ...limitsOf(row),
  };
}

function limitsOf(row: Row): Partial<RunSummary> {
  const priority = number(row, "priority") ?? DEFAULT_PRIORITY;
  const [group, backfill] = [text(row, "concurrency_group"), text(row, "backfill_id")];
  return {
    ...(priority === DEFAULT_PRIORITY ? {} : { priority }),
    ...(group === null ? {} : { group }),
    ...(backfill === null ? {} : { backfill_id: backfill }),
  };
}

function parentOf(row: Row): Pick<RunSummary, "parent"> {
  const [run, task] = [text(row, "parent_run"), text(row, "parent_task")];
  return run === null || task === null ? {} : { parent: { workflow_instance_id: run, task_id: task } };
}

function toAttempt(row: Row): RunAttempt {
  return {
    slice: number(row, "slice") ?? 0,
    attempt: number(row, "attempt") ?? 1,
    agent_id: text(row, "agent_id"),
    status: status(row),
    started_at_ms: number(row, "started_at_ms"),
    finished_at_ms: number(row, "finished_at_ms"),
    error: text(row, "error"),
  };
}

function toTask(row: Row): TaskRunSummary {
  const outputs = parseObject<TaskRunSummary["outputs"]>(text(row, "outputs"));
  return {
    task_id: text(row, "task_id") ?? "",
    task_instance_id: text(row, "task_instance_id") ?? "",
    slice: number(row, "slice") ?? 0,
    attempt: number(row, "attempt") ?? 1,
    task_attempt: number(row, "task_attempt") ?? 0,
    status: status(row),
    exit_code: number(row, "exit_code"),
    signal: text(row, "signal"),
    error: text(row, "error"),
    cpu_ms: number(row, "cpu_ms"),
    max_rss_kb: number(row, "max_rss_kb"),
    started_at_ms: number(row, "started_at_ms"),
    finished_at_ms: number(row, "finished_at_ms"),
    duration_ms: number(row, "duration_ms"),
    agent_id: text(row, "agent_id"),
    ...(outputs === undefined ? {} : { outputs }),
    ...(row.allowed === true ? { is_allowed: true } : {}),
  };
}

function text(row: Row, name: string): string | null {
  const value = row[name];
  return value === null || value === undefined ? null : String(value);
}

function number(row: Row, name: string): number | null {
  const value = row[name];
  return value === null || value === undefined ? null : Number(value);
}

function status(row: Row): RunStatus {
  return (text(row, "status") ?? "CRASHED") as RunStatus;
}

/** A JSON object as it was written; undefined if there is none. */
function parseObject<T>(json: string | null): T | undefined {
  try {
    return JSON.parse(json ?? "");
  } catch {
    return undefined;
  }
}
