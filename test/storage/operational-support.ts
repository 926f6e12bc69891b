/** A store in a directory of its own. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createConsola } from "consola";
import type { RunRecord } from "../../src/storage/operational.ts";
import { SqliteOperationalStore } from "../../src/storage/operational-sqlite.ts";

export const silent = createConsola({ level: -999 });

/** Makes a directory, and stores in it that are stopped at the end. */
export class TestStores implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), "cdktr-state-"));
  readonly #stores: SqliteOperationalStore[] = [];

  async open(name = "data"): Promise<SqliteOperationalStore> {
    const store = new SqliteOperationalStore({ directory: join(this.directory, name), log: silent });
    await store.start();
    this.#stores.push(store);
    return store;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const store of this.#stores) await store.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }
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
    created_at_ms: 1000,
    status: "PENDING",
    attempt: 1,
    crashed_attempts: 0,
    queued: true,
    agent_id: null,
    cancel_requested_at_ms: null,
    tasks_total: 1,
    tasks_done: 0,
    started_at_ms: null,
    finished_at_ms: null,
    status_at_ms: 1000,
    error: null,
    log_stream_id: null,
    log_seq: 0,
    ...over,
  };
}

/** A row of the history. */
export function runRow(run: RunRecord) {
  return {
    workflow_id: run.workflow_id,
    workflow_instance_id: run.workflow_instance_id,
    status: run.status,
    timestamp_ms: run.status_at_ms,
    workflow_name: run.workflow_name,
    trigger: run.trigger,
    attempt: run.attempt,
    agent_id: run.agent_id,
    scheduled_time_ms: run.scheduled_time_ms,
    created_at_ms: run.created_at_ms,
    params: JSON.stringify(run.params),
    error: run.error,
    retry_of: run.retry_of,
  };
}
