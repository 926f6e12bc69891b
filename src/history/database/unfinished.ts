/** Compares runs of the history with those of the state: what it has of them, and how they are ended there. */
import type { DuckDBConnection, DuckDBValue } from "@duckdb/node-api";
import type { HistoricStatuses } from "../../contract/history-rows.ts";
import type { RunStatus } from "../../workflow/status.ts";
import { NEWEST, type StatusTable, TABLES, TERMINAL } from "./schema.ts";
import { type AnySources, TABLES_ALONE } from "./sources.ts";

/** The ids in $1. */
const IDS = "SELECT unnest(from_json($1::VARCHAR, '[\"VARCHAR\"]'))";

/** The latest statuses of all runs that have not ended, with their task runs. None of them is in the archive. */
export async function findUnfinished(connection: DuckDBConnection): Promise<HistoricStatuses[]> {
  const runs = await connection.runAndReadAll(
    `SELECT * FROM (${latest("workflow_run_status", "workflow_instance_id")}) WHERE status NOT IN ${TERMINAL}`,
    [null],
  );
  return withTasks(connection, runs.getRows(), "task_run_status");
}

/** The latest statuses of runs, with their task runs; also of those that the history does not have. */
export async function findStatuses(
  connection: DuckDBConnection,
  ids: readonly string[],
  sources: AnySources = TABLES_ALONE,
): Promise<HistoricStatuses[]> {
  const statuses = await sources.of("workflow_run_status", { runs: ids });
  const runs = await connection.runAndReadAll(latest(statuses, "workflow_instance_id"), [
    JSON.stringify(ids),
  ]);
  const found = new Map(runs.getRows().map((row) => [String(row[0]), row]));
  return withTasks(
    connection,
    ids.map((id) => found.get(id) ?? [id, 0, "PENDING"]),
    await sources.of("task_run_status", { runs: ids }),
  );
}

async function withTasks(
  connection: DuckDBConnection,
  runs: readonly (readonly DuckDBValue[])[],
  taskStatuses: string,
): Promise<HistoricStatuses[]> {
  const tasks = new Map(
    runs.map(([id]) => [String(id), new Map<string, { attempt: number; status: RunStatus }>()]),
  );
  const rows = await connection.runAndReadAll(
    latest(taskStatuses, "workflow_instance_id, task_instance_id"),
    [JSON.stringify([...tasks.keys()])],
  );
  for (const [run, task, attempt, status] of rows.getRows())
    tasks
      .get(String(run))
      ?.set(String(task), { attempt: Number(attempt), status: String(status) as RunStatus });
  return runs.map(([id, attempt, status]) => ({
    workflow_instance_id: String(id),
    attempt: Number(attempt),
    status: String(status) as RunStatus,
    tasks: tasks.get(String(id)) ?? new Map(),
  }));
}

/** The latest attempt and status of each run or task run: of the runs in $1, or of all if it is NULL. */
function latest(table: string, by: string): string {
  return `
    SELECT ${by}, newest.attempt::INTEGER AS attempt, newest.status AS status FROM (
      SELECT ${by}, arg_max({attempt: coalesce(attempt, 1), status: status::VARCHAR}, ${NEWEST}) AS newest
      FROM ${table} WHERE $1::VARCHAR IS NULL OR workflow_instance_id IN (${IDS}) GROUP BY ALL
    )`;
}

/** Ends unfinished runs, and their unfinished task runs, as CRASHED at `nowMs`. The connection is in a transaction. */
export async function crashRuns(
  connection: DuckDBConnection,
  ids: readonly string[],
  error: string,
  nowMs: number,
): Promise<void> {
  const insert = (table: StatusTable, view: string) => {
    const columns = Object.keys(TABLES[table]);
    const changed: Readonly<Record<string, string>> = {
      status: "'CRASHED'",
      timestamp_ms: "$2::BIGINT",
      error: "$3::VARCHAR",
    };
    return `INSERT INTO ${table}(${columns.join(", ")}) SELECT ${columns.map((name) => changed[name] ?? name).join(", ")}
      FROM ${view} WHERE workflow_instance_id IN (${IDS}) AND status::VARCHAR NOT IN ${TERMINAL}`;
  };
  const values = [JSON.stringify(ids), BigInt(Math.trunc(nowMs)), error];
  await connection.run(insert("task_run_status", "task_runs"), values);
  await connection.run(insert("workflow_run_status", "workflow_runs"), values);
}
