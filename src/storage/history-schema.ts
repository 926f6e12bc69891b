/** The schema of the history database: one list of columns a table, from which everything else follows. */
import type { DuckDBConnection } from "@duckdb/node-api";
import { RUN_STATUSES } from "../workflow/status.ts";
import { quoteText } from "./duckdb.ts";
import { HistoryUnavailableError } from "./history-error.ts";

/** The version of the schema that this cdktr writes. */
export const SCHEMA_VERSION = 1;

/** Columns of a table in order: name → type. */
export type Columns = Readonly<Record<string, string>>;

const LOGSTORE: Columns = {
  workflow_id: "VARCHAR",
  workflow_name: "VARCHAR",
  workflow_instance_id: "VARCHAR",
  task_name: "VARCHAR",
  task_instance_id: "VARCHAR",
  timestamp_ms: "BIGINT",
  level: "VARCHAR",
  payload: "VARCHAR",
  agent_id: "VARCHAR",
  stream_id: "VARCHAR",
  seq: "BIGINT",
};

const WORKFLOW_RUN_STATUS: Columns = {
  workflow_id: "VARCHAR",
  workflow_instance_id: "VARCHAR",
  status: "RunStatus",
  timestamp_ms: "BIGINT",
  workflow_name: "VARCHAR",
  trigger: "VARCHAR",
  attempt: "INTEGER",
  agent_id: "VARCHAR",
  scheduled_time_ms: "BIGINT",
  created_at_ms: "BIGINT",
  params: "VARCHAR",
  error: "VARCHAR",
  retry_of: "VARCHAR",
};

const TASK_RUN_STATUS: Columns = {
  task_id: "VARCHAR",
  task_instance_id: "VARCHAR",
  workflow_instance_id: "VARCHAR",
  status: "RunStatus",
  timestamp_ms: "BIGINT",
  workflow_id: "VARCHAR",
  task_name: "VARCHAR",
  attempt: "INTEGER",
  task_attempt: "INTEGER",
  agent_id: "VARCHAR",
  exit_code: "INTEGER",
  signal: "VARCHAR",
  error: "VARCHAR",
  cpu_ms: "DOUBLE",
  max_rss_kb: "BIGINT",
};

/** The documented tables: rows are only ever inserted. */
export const TABLES = {
  logstore: LOGSTORE,
  workflow_run_status: WORKFLOW_RUN_STATUS,
  task_run_status: TASK_RUN_STATUS,
} as const satisfies Record<string, Columns>;

/** The tables of statuses. */
export type StatusTable = "workflow_run_status" | "task_run_status";

const TERMINAL = "('COMPLETED', 'FAILED', 'CRASHED', 'SKIPPED', 'CANCELLED')";

/**
 * The newest row decides. Its place is by attempt, then by insertion: the principal writes changes in the order in which it
 * made them, while timestamps come from the clocks of several machines.
 */
const NEWEST = "coalesce(attempt, 1)::BIGINT * 1099511627776 + rowid";

/** The documented views. */
export const VIEWS = {
  workflow_runs: `
    SELECT
      workflow_id, workflow_instance_id, latest.workflow_name, latest.status, latest.trigger, latest.attempt, latest.agent_id,
      latest.scheduled_time_ms, created_at_ms, started_at_ms, finished_at_ms,
      CASE WHEN finished_at_ms IS NOT NULL AND started_at_ms IS NOT NULL THEN greatest(finished_at_ms - started_at_ms, 0) END AS duration_ms,
      latest.params, latest.error, latest.retry_of
    FROM (
      SELECT
        *, CASE WHEN latest.status IN ${TERMINAL} THEN latest.timestamp_ms END AS finished_at_ms
      FROM (
        SELECT
          arg_max(workflow_id, ${NEWEST}) AS workflow_id,
          workflow_instance_id,
          coalesce(min(created_at_ms), min(timestamp_ms)) AS created_at_ms,
          min(timestamp_ms) FILTER (status = 'RUNNING') AS started_at_ms,
          arg_max({
            workflow_name: workflow_name, status: status, timestamp_ms: timestamp_ms, trigger: trigger, attempt: attempt,
            agent_id: agent_id, scheduled_time_ms: scheduled_time_ms, params: params, error: error, retry_of: retry_of
          }, ${NEWEST}) AS latest
        FROM workflow_run_status
        GROUP BY workflow_instance_id
      )
    )`,
  task_runs: `
    SELECT
      workflow_id, workflow_instance_id, latest.task_id, latest.task_name, task_instance_id, latest.status, latest.attempt,
      latest.task_attempt, latest.agent_id, created_at_ms, started_at_ms, finished_at_ms,
      CASE WHEN finished_at_ms IS NOT NULL AND started_at_ms IS NOT NULL THEN greatest(finished_at_ms - started_at_ms, 0) END AS duration_ms,
      latest.exit_code, latest.signal, latest.error, latest.cpu_ms, latest.max_rss_kb
    FROM (
      SELECT
        *, CASE WHEN latest.status IN ${TERMINAL} THEN latest.timestamp_ms END AS finished_at_ms
      FROM (
        SELECT
          arg_max(workflow_id, ${NEWEST}) AS workflow_id,
          workflow_instance_id,
          task_instance_id,
          min(timestamp_ms) AS created_at_ms,
          min(timestamp_ms) FILTER (status = 'RUNNING') AS started_at_ms,
          arg_max({
            task_id: task_id, task_name: task_name, status: status, timestamp_ms: timestamp_ms, attempt: attempt,
            task_attempt: task_attempt, agent_id: agent_id, exit_code: exit_code, signal: signal, error: error,
            cpu_ms: cpu_ms, max_rss_kb: max_rss_kb
          }, ${NEWEST}) AS latest
        FROM task_run_status
        GROUP BY workflow_instance_id, task_instance_id
      )
    )`,
} as const;

/**
 * Makes the schema, or completes an older one, in one transaction.
 * @throws HistoryUnavailableError when a newer cdktr wrote the database
 */
export async function ensureSchema(connection: DuckDBConnection, path: string): Promise<void> {
  const version = await readVersion(connection);
  if (version === SCHEMA_VERSION) return;
  if (version !== null && version > SCHEMA_VERSION) {
    throw new HistoryUnavailableError(
      `The history database ${path} was written by a newer cdktr (schema ${version}; this one knows ${SCHEMA_VERSION}).`,
      { hint: "Run that newer cdktr, or set CDKTR_DB_PATH to another file." },
    );
  }
  await connection.run("BEGIN TRANSACTION");
  try {
    await ensureStatusType(connection);
    for (const [table, columns] of Object.entries(TABLES)) await ensureTable(connection, table, columns);
    for (const [view, definition] of Object.entries(VIEWS)) {
      await connection.run(`CREATE OR REPLACE VIEW ${view} AS ${definition}`);
    }
    // How far each source of rows has been taken in: 'log' is by stream, 'outbox' the status rows.
    await connection.run(
      "CREATE TABLE IF NOT EXISTS ingest_cursor(kind VARCHAR, id VARCHAR, position BIGINT, updated_ms BIGINT)",
    );
    // Task runs whose lines carry times that go back; their lines are ordered by insertion.
    await connection.run("CREATE TABLE IF NOT EXISTS log_disorder(task_instance_id VARCHAR)");
    await connection.run("CREATE TABLE IF NOT EXISTS schema_version(version INTEGER, applied_at_ms BIGINT)");
    await connection.run("INSERT INTO schema_version VALUES ($1, $2)", [SCHEMA_VERSION, BigInt(Date.now())]);
    await connection.run("COMMIT");
  } catch (error) {
    await connection.run("ROLLBACK").catch(() => {});
    throw error;
  }
}

async function readVersion(connection: DuckDBConnection): Promise<number | null> {
  const known = await connection.runAndReadAll(
    "SELECT count(*)::INTEGER FROM duckdb_tables() WHERE table_name = 'schema_version' AND database_name = current_database()",
  );
  if (known.value(0, 0) === 0) return null;
  const reader = await connection.runAndReadAll("SELECT max(version)::INTEGER FROM schema_version");
  const version = reader.value(0, 0);
  return typeof version === "number" ? version : null;
}

/** Makes the enum, or widens one that an older writer made: its columns become text and then the new type. */
async function ensureStatusType(connection: DuckDBConnection): Promise<void> {
  const create = `CREATE TYPE RunStatus AS ENUM (${RUN_STATUSES.map(quoteText).join(", ")})`;
  const found = await connection.runAndReadAll(
    "SELECT count(*)::INTEGER FROM duckdb_types() WHERE type_name = 'RunStatus' AND database_name = current_database()",
  );
  if (found.value(0, 0) === 0) {
    await connection.run(create);
    return;
  }
  const columns = await connection.runAndReadAll(
    `SELECT table_name, column_name FROM duckdb_columns() c JOIN duckdb_tables() t USING (table_oid, database_name, table_name)
     WHERE database_name = current_database() AND c.data_type LIKE 'ENUM(%' AND c.column_name = 'status'`,
  );
  const affected = columns.getRows().map(([table, column]) => [String(table), String(column)] as const);
  for (const [table, column] of affected) {
    await connection.run(`ALTER TABLE ${table} ALTER ${column} TYPE VARCHAR`);
  }
  await connection.run("DROP TYPE RunStatus");
  await connection.run(create);
  for (const [table, column] of affected) {
    await connection.run(`ALTER TABLE ${table} ALTER ${column} TYPE RunStatus`);
  }
}

async function ensureTable(connection: DuckDBConnection, table: string, columns: Columns): Promise<void> {
  const definitions = Object.entries(columns).map(([name, type]) => `${name} ${type}`);
  await connection.run(`CREATE TABLE IF NOT EXISTS ${table}(${definitions.join(", ")})`);
  for (const definition of definitions) {
    await connection.run(`ALTER TABLE ${table} ADD COLUMN IF NOT EXISTS ${definition}`);
  }
}
