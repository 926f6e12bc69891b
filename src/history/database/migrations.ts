/**
 * Migrates the schema of the history database from any older version to the current one: forward only, by a table of steps, in one
 * transaction. The table `schema_version` holds the version.
 */
import type { DuckDBConnection } from "@duckdb/node-api";
import { VERSION } from "../../build-facts.ts";
import { HistoryUnavailableError } from "../../contract/history.ts";
import {
  type Additive,
  canRead,
  newerSchema,
  oldestReader,
  type SchemaChange,
} from "../../migrations/newer-schema.ts";
import { RUN_STATUSES } from "../../workflow/status.ts";
import { quoteText } from "./duckdb.ts";

/** The documented tables. */
export type Table = "logstore" | "workflow_run_status" | "task_run_status" | "audit_log" | "alert_log";

/** Columns of a table in order: name → type. */
export type Columns = Readonly<Record<string, string>>;

/** A step from one schema version to the next. */
interface HistoryMigration extends Additive {
  /** Description for the log. */
  readonly what: string;
  /** Types that a DuckDB file needs first; a lake has none of its own. */
  readonly types?: (connection: DuckDBConnection) => Promise<unknown>;
  /** Columns added at the end of a table; existing rows get NULL. The views follow automatically. */
  readonly adds?: Readonly<Partial<Record<Table, Columns>>>;
  /** Statements to run after that. */
  readonly after?: (connection: DuckDBConnection) => Promise<unknown>;
}

/** Step n migrates version n to n + 1. Never edit a released step: append another. */
export type HistoryMigrations = readonly HistoryMigration[];

/** The type of statuses: an enum of DuckDB. */
export const STATUS_TYPE = "RunStatus";

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
  status: STATUS_TYPE,
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
  status: STATUS_TYPE,
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

/** The migrations of the history, from its first version on. */
export const HISTORY_MIGRATIONS: HistoryMigrations = [
  {
    what: "logs and statuses",
    types: ensureStatusType,
    adds: {
      logstore: LOGSTORE,
      workflow_run_status: WORKFLOW_RUN_STATUS,
      task_run_status: TASK_RUN_STATUS,
    },
    async after(connection) {
      // Position of each source of rows: 'log' per stream, 'outbox' for the status rows.
      await connection.run(
        "CREATE TABLE IF NOT EXISTS ingest_cursor(kind VARCHAR, id VARCHAR, position BIGINT, updated_ms BIGINT)",
      );
      // Task runs whose lines go back in time; their lines are ordered by insertion.
      await connection.run("CREATE TABLE IF NOT EXISTS log_disorder(task_instance_id VARCHAR)");
      await connection.run(
        "CREATE TABLE IF NOT EXISTS schema_version(version INTEGER, applied_at_ms BIGINT)",
      );
    },
  },
  {
    what: "slices and outputs of tasks, and why runs wait",
    isAdditive: true,
    adds: {
      workflow_run_status: { reason: "VARCHAR" },
      task_run_status: { slice: "INTEGER", outputs: "VARCHAR" },
    },
  },
  {
    what: "durations by monotonic clocks",
    isAdditive: true,
    adds: { workflow_run_status: { duration_ms: "BIGINT" }, task_run_status: { duration_ms: "BIGINT" } },
  },
  {
    what: "which slices wait for what, and how many agents shared a run",
    isAdditive: true,
    adds: { workflow_run_status: { waits: "VARCHAR", agents: "INTEGER" } },
  },
  {
    what: "the second version of the workflow language",
    isAdditive: true,
    adds: {
      workflow_run_status: {
        event: "VARCHAR",
        outputs: "VARCHAR",
        allowed_failures: "INTEGER",
        parent_run: "VARCHAR",
        parent_task: "VARCHAR",
        bundle: "VARCHAR",
      },
      task_run_status: {
        item_key: "VARCHAR",
        item_index: "INTEGER",
        allowed: "BOOLEAN",
        artifacts: "VARCHAR",
      },
    },
  },
  {
    what: "concurrency groups, priorities, backfills and schedules with several entries",
    isAdditive: true,
    adds: {
      workflow_run_status: {
        priority: "INTEGER",
        concurrency_group: "VARCHAR",
        backfill_id: "VARCHAR",
        schedule: "VARCHAR",
      },
    },
  },
  {
    what: "who did what, and alerts",
    isAdditive: true,
    adds: {
      audit_log: {
        timestamp_ms: "BIGINT",
        actor: "VARCHAR",
        role: "VARCHAR",
        action: "VARCHAR",
        subject: "VARCHAR",
        detail: "VARCHAR",
        outcome: "VARCHAR",
        source: "VARCHAR",
      },
      alert_log: {
        alert_id: "VARCHAR",
        timestamp_ms: "BIGINT",
        event: "VARCHAR",
        kind: "VARCHAR",
        workflow_id: "VARCHAR",
        workflow_instance_id: "VARCHAR",
        key: "VARCHAR",
        subject: "VARCHAR",
        channel: "VARCHAR",
        error: "VARCHAR",
      },
    },
  },
  {
    what: "the traces that triggers of runs are part of",
    isAdditive: true,
    adds: { workflow_run_status: { traceparent: "VARCHAR" } },
  },
];

/** A schema older than the current one. */
export interface PendingMigration {
  /** Its version; 0 when cdktr has not created one yet. */
  readonly version: number;
  /** The database is empty, so there is nothing to back up. */
  readonly isNew: boolean;
  readonly steps: HistoryMigrations;
  /** The oldest schema whose programs can use the database afterwards. */
  readonly oldestReader: number;
}

/**
 * The pending migration of a database; null when its schema is current.
 * @throws HistoryUnavailableError when a newer cdktr has made changes that are not just additive
 */
export async function pendingMigration(
  connection: DuckDBConnection,
  path: string,
  migrations: HistoryMigrations,
): Promise<PendingMigration | null> {
  const version = await readVersion(connection);
  if (version > migrations.length) {
    const changes = await readChanges(connection);
    if (canRead(migrations.length, version, changes)) return null;
    const { message, hint } = newerSchema(path, migrations.length, version, changes);
    throw new HistoryUnavailableError(message, {
      hint: `${hint} Until then everything else continues, and nothing is lost: data for the history waits.`,
    });
  }
  if (version === migrations.length) return null;
  const tables = await connection.runAndReadAll(
    "SELECT count(*)::INTEGER FROM duckdb_tables() WHERE database_name = current_database()",
  );
  return {
    version,
    isNew: tables.value(0, 0) === 0,
    steps: migrations.slice(version),
    oldestReader: oldestReader(migrations),
  };
}

/**
 * Runs a migration in one transaction.
 * @param views the documented views, which are recreated
 * @param backup the backup made before, or null
 * @param statusType the type of statuses; another one than {@link STATUS_TYPE} in a lake, which has no types of its own
 * @throws errors of DuckDB; nothing is changed then
 */
export async function applyMigration(
  connection: DuckDBConnection,
  { version, steps, oldestReader }: PendingMigration,
  views: Readonly<Record<string, string>>,
  backup: string | null,
  statusType = STATUS_TYPE,
): Promise<void> {
  const typeOf = (type: string) => (type === STATUS_TYPE ? statusType : type);
  await connection.run("BEGIN TRANSACTION");
  try {
    for (const step of steps) {
      if (statusType === STATUS_TYPE) await step.types?.(connection);
      for (const [table, columns] of Object.entries(step.adds ?? {})) {
        const definitions = Object.entries(columns).map(([name, type]) => `${name} ${typeOf(type)}`);
        await ensureTable(connection, table, definitions);
      }
      await step.after?.(connection);
    }
    for (const [view, definition] of Object.entries(views)) {
      await connection.run(`CREATE OR REPLACE VIEW ${view} AS ${definition}`);
    }
    for (const column of ["cdktr VARCHAR", "backup VARCHAR", "oldest_reader INTEGER"]) {
      await connection.run(`ALTER TABLE schema_version ADD COLUMN IF NOT EXISTS ${column}`);
    }
    await connection.run(
      "INSERT INTO schema_version(version, applied_at_ms, cdktr, backup, oldest_reader) VALUES ($1, $2, $3, $4, $5)",
      [version + steps.length, BigInt(Date.now()), VERSION, backup, oldestReader],
    );
    await connection.run("COMMIT");
  } catch (error) {
    await connection.run("ROLLBACK").catch(() => {});
    throw error;
  }
}

async function readVersion(connection: DuckDBConnection): Promise<number> {
  const known = await connection.runAndReadAll(
    "SELECT count(*)::INTEGER FROM duckdb_tables() WHERE table_name = 'schema_version' AND database_name = current_database()",
  );
  if (known.value(0, 0) === 0) return 0;
  const reader = await connection.runAndReadAll("SELECT max(version)::INTEGER FROM schema_version");
  return Number(reader.value(0, 0) ?? 0);
}

async function readChanges(connection: DuckDBConnection): Promise<SchemaChange[]> {
  try {
    const reader = await connection.runAndReadAll(
      "SELECT version, cdktr, backup, oldest_reader FROM schema_version ORDER BY version, applied_at_ms",
    );
    const text = (value: unknown) => (typeof value === "string" ? value : null);
    return reader.getRows().map(([version, cdktr, backup, oldest]) => ({
      version: Number(version),
      oldest_reader: Number(oldest ?? version),
      cdktr: text(cdktr),
      backup: text(backup),
    }));
  } catch {
    // It records that in another way.
    return [];
  }
}

/** Creates the enum, or extends one made by an older version: its columns become text and then the new type. */
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

async function ensureTable(
  connection: DuckDBConnection,
  table: string,
  definitions: readonly string[],
): Promise<void> {
  await connection.run(`CREATE TABLE IF NOT EXISTS ${table}(${definitions.join(", ")})`);
  for (const definition of definitions) {
    await connection.run(`ALTER TABLE ${table} ADD COLUMN IF NOT EXISTS ${definition}`);
  }
}
