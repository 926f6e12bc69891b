/** Files written by earlier versions of cdktr, and a schema newer than the current one. */
import { Database } from "bun:sqlite";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { OUTBOX_MIGRATIONS } from "../../src/agent/outbox-file.ts";
import { loadDuckDB } from "../../src/history/database/duckdb.ts";
import { HISTORY_MIGRATIONS, type HistoryMigrations } from "../../src/history/database/migrations.ts";
import type { SqliteMigrations } from "../../src/migrations/sqlite-migrations.ts";
import { STATE_MIGRATIONS } from "../../src/storage/operational/sqlite/schema.ts";
import { shellWorkflow } from "../e2e/support/fixtures.ts";

/** A workflow whose tasks are slices of their own, with outputs. */
export const SHARED = shellWorkflow(
  {
    one: { sh: 'echo n=1 > "$CDKTR_OUTPUT"' },
    two: { sh: 'cat "$CDKTR_INPUTS/one.json"', depends: ["one"] },
  },
  "placement: spread\n",
);

/** The agent of the fixtures, and what it is called on this host. */
const RECORDED_AGENT = "worker-agent-1";
export const AGENT = `${hostname()}-agent-1`;

/** A data directory as cdktr `version` left it, killed in the middle of its work. Gone at the end of the test. */
export class FormerDirectory implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), "cdktr-former-"));

  at(...names: string[]): string {
    return join(this.path, ...names);
  }

  get state(): string {
    return this.at("state.db");
  }

  get outbox(): string {
    return this.at("agents", AGENT, "outbox.db");
  }

  get history(): string {
    return this.at("app.db");
  }

  /** Writes the files. */
  static async of(version: "v0.1"): Promise<FormerDirectory> {
    const directory = new FormerDirectory();
    restore(fixture(version, "state.sql"), directory.state);
    restore(fixture(version, "outbox.sql"), directory.outbox);
    restore(fixture(version, "triggers.sql"), directory.at("triggers.db"));
    await restoreHistory(fixture(version, "history.sql"), directory.history);
    return directory;
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

function fixture(version: string, name: string): string {
  const hex = (text: string) => Buffer.from(text).toString("hex");
  return readFileSync(join(import.meta.dir, version, name), "utf8")
    .replaceAll(RECORDED_AGENT, AGENT)
    .replaceAll(hex(RECORDED_AGENT), hex(AGENT));
}

function restore(sql: string, path: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const database = new Database(path);
  database.run(sql);
  database.close();
  chmodSync(path, 0o600);
}

async function restoreHistory(sql: string, path: string): Promise<void> {
  const { DuckDBInstance } = await loadDuckDB();
  const instance = await DuckDBInstance.create(path);
  const connection = await instance.connect();
  await connection.run(sql);
  connection.closeSync();
  instance.closeSync();
}

/** Every row of every table of a sqlite file but those about the schema, and the marks. */
export function contentOf(path: string): Record<string, unknown[]> {
  const database = new Database(path, { readonly: true });
  try {
    const tables = database
      .query<{ name: string }, []>(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT IN ('schema_changes', 'sqlite_sequence') ORDER BY name",
      )
      .all();
    return Object.fromEntries(
      tables.map(({ name }) => [name, database.query(`SELECT * FROM ${name}`).all()]),
    );
  } finally {
    database.close();
  }
}

/** The schema that a sqlite file is marked with. */
export function markOf(path: string): number {
  const database = new Database(path, { readonly: true });
  try {
    return database.query<{ user_version: number }, []>("PRAGMA user_version").get()?.user_version ?? 0;
  } finally {
    database.close();
  }
}

/** The rows of a statement on a DuckDB file that nobody has open. */
export async function ask(path: string, sql: string): Promise<unknown[][]> {
  const { DuckDBInstance } = await loadDuckDB();
  const instance = await DuckDBInstance.create(path, { access_mode: "READ_ONLY" });
  const connection = await instance.connect();
  try {
    return (await connection.runAndReadAll(sql)).getRowsJson() as unknown[][];
  } finally {
    connection.closeSync();
    instance.closeSync();
  }
}

/** The schemas that the next cdktr may have. `during` is called when the last step has made its changes. */
export function nextState(during: () => void = () => {}): SqliteMigrations {
  return [
    ...STATE_MIGRATIONS,
    {
      what: "runs have a mood",
      apply(database) {
        database.run("ALTER TABLE runs ADD COLUMN mood TEXT NOT NULL DEFAULT 'good'");
        database.run("UPDATE runs SET mood = 'bad' WHERE status = 'FAILED'");
        during();
      },
    },
  ];
}

export const NEXT_OUTBOX: SqliteMigrations = [
  ...OUTBOX_MIGRATIONS,
  {
    what: "the stream has a colour",
    apply: (database) => void database.run("ALTER TABLE stream ADD COLUMN colour TEXT"),
  },
];

export function nextHistory(during: () => Promise<void> = async () => {}): HistoryMigrations {
  return [
    ...HISTORY_MIGRATIONS,
    {
      what: "lines have a colour",
      adds: { logstore: { colour: "VARCHAR" }, task_run_status: { node: "INTEGER" } },
      async after(connection) {
        await connection.run("UPDATE logstore SET colour = 'red' WHERE level = 'ERROR'");
        await during();
      },
    },
  ];
}
