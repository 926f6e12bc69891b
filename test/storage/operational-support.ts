/** A store in a directory of its own. */
import { SQLiteError } from "bun:sqlite";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createConsola } from "consola";
import type { Clock } from "../../src/clock.ts";
import { SqliteOperationalStore } from "../../src/storage/operational/sqlite/store.ts";
import type { AgentRecord, RunRecord } from "../../src/storage/operational/store.ts";

export const silent = createConsola({ level: -999 });

/** Makes a directory, and stores in it that are stopped at the end. */
export class TestStores implements AsyncDisposable {
  readonly directory: string;
  readonly #stores: SqliteOperationalStore[] = [];
  /** Statements until one fails; null for none. */
  #left: number | null = null;
  /** Transactions that were committed. */
  commits = 0;
  statements = 0;
  /** The texts of the statements of all such stores of this process. */
  static readonly texts = new Set<string>();

  /** @param parent where to make the directory: in memory, a disk's time for each transaction is saved */
  constructor(parent = tmpdir()) {
    this.directory = mkdtempSync(join(parent, "cdktr-state-"));
  }

  async open(name = "data", clock?: Clock): Promise<SqliteOperationalStore> {
    const store = new SqliteOperationalStore({
      directory: join(this.directory, name),
      log: silent,
      beforeStatement: (sql) => this.#before(sql),
      ...(clock === undefined ? {} : { clock }),
    });
    await store.start();
    this.#stores.push(store);
    return store;
  }

  /** Stops the newest store and opens another on the same file. */
  async reopen(): Promise<SqliteOperationalStore> {
    await this.#stores.at(-1)?.stop();
    return this.open();
  }

  /** The n-th statement from now on, from 1, fails as on a full disk; none with null. */
  failStatement(n: number | null): void {
    this.#left = n;
  }

  #before(sql: string): void {
    if (this.#left !== null && --this.#left === 0) throw diskFull();
    this.statements++;
    TestStores.texts.add(sql);
    if (sql === "COMMIT") this.commits++;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const store of this.#stores) await store.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** What sqlite throws on a full disk. */
export function diskFull(): SQLiteError {
  const error: SQLiteError = Object.create(SQLiteError.prototype);
  return Object.assign(error, {
    name: "SQLiteError",
    message: "database or disk is full",
    code: "SQLITE_FULL",
  });
}

/** A run that waits. */
export function pendingRun(id: string, over: Partial<RunRecord> = {}): RunRecord {
  return {
    workflow_instance_id: id,
    workflow_id: "flow",
    workflow_name: "Flow",
    definition_hash: "hash",
    params: { day: "1" },
    trigger: "cli",
    scheduled_time_ms: null,
    retry_of: null,
    parent_run: null,
    parent_task: null,
    depth: 0,
    from_start: false,
    event: null,
    trigger_depth: 0,
    created_at_ms: 1000,
    status: "PENDING",
    attempt: 1,
    crashed_attempts: 0,
    queued: true,
    needs: "",
    revision: 0,
    agent_id: null,
    agents: 0,
    cancel_requested_at_ms: null,
    timed_out_at_ms: null,
    deadline_ms: null,
    start_at_ms: null,
    hooks_stopped: false,
    resting: false,
    actor: null,
    tasks_total: 1,
    tasks_done: 0,
    allowed_failures: 0,
    outputs: null,
    started_at_ms: null,
    finished_at_ms: null,
    duration_ms: null,
    status_at_ms: 1000,
    error: null,
    log_stream_id: null,
    log_seq: 0,
    hold: null,
    group_key: null,
    group_max: null,
    on_conflict: null,
    admitted: false,
    priority: 5,
    rank_ms: null,
    schedule: null,
    backfill_id: null,
    cancel_reason: null,
    traceparent: null,
    ...over,
  };
}

/** An agent that takes work. */
export function agentRecord(id: string, over: Partial<AgentRecord> = {}): AgentRecord {
  return {
    agent_id: id,
    session_id: "s",
    stream_id: null,
    host: "host",
    pid: 1,
    version: "0.0.0",
    protocol: 1,
    oldest_protocol: 1,
    max_concurrent_workflows: 1,
    labels: {},
    status: "UP",
    registered_at_ms: 1,
    last_heartbeat_ms: 1,
    deadline_ms: null,
    ...over,
  };
}
