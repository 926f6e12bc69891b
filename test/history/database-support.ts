/** Helpers for the tests of the history. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RunStatusRow, TaskStatusRow } from "../../src/contract/history-rows.ts";
import { encodeLogHead, encodeLogLines, type LogLine } from "../../src/contract/log-line.ts";
import { HistoryDatabase } from "../../src/history/database/history-database.ts";
import type { HistoryBatch } from "../../src/history/database/write.ts";
import { FileIdentity } from "../../src/host/file-identity.ts";

/** A directory that is removed at the end of the test. */
export class TestDirectory implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), "cdktr-history-"));

  at(name: string): string {
    return join(this.path, name);
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

export function openHistory(
  directory: TestDirectory,
  path = directory.at("app.db"),
): Promise<HistoryDatabase> {
  return HistoryDatabase.open({
    path,
    filesDirectory: directory.at("files"),
    tempDirectory: directory.at("temp"),
    inode: () => new FileIdentity(path, directory.path).inode(),
  });
}

export function line(fields: Partial<LogLine> = {}): string {
  const line: LogLine = {
    workflow_id: "etl.daily",
    workflow_name: "Daily",
    workflow_instance_id: "run-1",
    task_name: "Extract",
    task_instance_id: "task-1",
    timestamp_ms: 1_760_000_000_000,
    level: "INFO",
    payload: "hello",
    ...fields,
  };
  const head = encodeLogHead(line, String);
  return encodeLogLines(head, line.timestamp_ms, line.level, [line.payload]);
}

/** A batch of lines alone. */
export function logs(stream_id: string, first_seq: number, lines: readonly string[]): HistoryBatch {
  return { logs: [{ agent_id: "agent-1", stream_id, first_seq, lines }], statuses: [], disordered: [] };
}

export function runRow(fields: Partial<RunStatusRow> = {}): RunStatusRow {
  return {
    workflow_id: "etl.daily",
    workflow_instance_id: "run-1",
    status: "PENDING",
    timestamp_ms: 1_760_000_000_000,
    workflow_name: "Daily",
    trigger: "cli",
    attempt: 1,
    agent_id: null,
    scheduled_time_ms: null,
    created_at_ms: 1_760_000_000_000,
    params: "{}",
    error: null,
    retry_of: null,
    ...fields,
  };
}

export function taskRow(fields: Partial<TaskStatusRow> = {}): TaskStatusRow {
  return {
    task_id: "extract",
    task_instance_id: "task-1",
    workflow_instance_id: "run-1",
    status: "RUNNING",
    timestamp_ms: 1_760_000_000_000,
    workflow_id: "etl.daily",
    task_name: "Extract",
    attempt: 1,
    task_attempt: 1,
    agent_id: "agent-1",
    exit_code: null,
    signal: null,
    error: null,
    cpu_ms: null,
    max_rss_kb: null,
    ...fields,
  };
}

/** The rows of a statement. */
export async function rowsOf(history: HistoryDatabase, sql: string): Promise<unknown[][]> {
  return (await history.query({ sql, max_rows: 1_000_000 })).rows;
}
