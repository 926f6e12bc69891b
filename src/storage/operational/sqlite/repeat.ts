/** Compares the state with what the history has, and repeats status rows that the history lost. */

import type { HistoricStatuses } from "../../../contract/history-rows.ts";
import { RUN_TRANSITIONS, toldStatus } from "../../../workflow/run-state.ts";
import { isTerminal, type RunStatus } from "../../../workflow/status.ts";
import type { RunRecord, TaskRunRecord } from "../store.ts";
import { getAttempt } from "./leases.ts";
import { getRun } from "./runs.ts";
import type { Statements } from "./statements.ts";
import { appendRunStatus, takeStatuses, writeTaskStatuses } from "./statuses.ts";

/** The last status of a run or a task run that the history has, or will have. */
type Known = { readonly attempt: number; readonly status: RunStatus };

/** Runs that differ from the history. */
export interface Differences {
  /** The state does not have them, and they are unfinished in the history. */
  readonly unknown: string[];
  /** The state has them with another status, or other task runs. */
  readonly changed: string[];
}

/**
 * Compares runs with what the history has of them after the row `takenId`; rows after that are still on their way to it.
 * @param repeat appends what the history lacks to the status rows
 */
export function compareWithHistory(
  db: Statements,
  runs: readonly HistoricStatuses[],
  takenId: number,
  repeat: boolean,
): Differences {
  const differences: Differences = { unknown: [], changed: [] };
  const coming = rowsAfter(db, takenId);
  for (const { workflow_instance_id: id, attempt, status, tasks } of runs) {
    const run = getRun(db, id);
    if (run === null) {
      if (!isTerminal(RUN_TRANSITIONS, status)) differences.unknown.push(id);
      continue;
    }
    const told = { ...run, status: toldStatus(run) };
    const rows = statusesSince(told, coming.get(id) ?? (attempt === 0 ? undefined : { attempt, status }));
    const taskRows = db
      .all<TaskRunRecord>("SELECT * FROM task_runs WHERE workflow_instance_id = ? ORDER BY seq", id)
      // Those of attempt 0 were carried over from another run, whose rows they are.
      .filter((task) => task.attempt > 0)
      .flatMap((task) =>
        statusesSince(task, coming.get(task.task_instance_id) ?? tasks.get(task.task_instance_id)),
      );
    if (rows.length + taskRows.length === 0) continue;
    differences.changed.push(id);
    if (!repeat) continue;
    for (const task of taskRows) {
      // No agent had those that were skipped before any was given them.
      const agent_id = getAttempt(db, task)?.agent_id ?? null;
      writeTaskStatuses(db, [task], { workflow_id: run.workflow_id, agent_id }, 0);
    }
    for (const row of rows) appendRunStatus(db, row);
  }
  return differences;
}

/**
 * What the history lacks: nothing if it has the current status, otherwise that status, and when it began before that. A history that is
 * ahead of the state has later attempts; the status becomes that of the latest.
 */
function statusesSince<T extends RunRecord | TaskRunRecord>(stored: T, known: Known | undefined): T[] {
  const now: T = { ...stored, attempt: Math.max(stored.attempt, known?.attempt ?? 0) };
  if (known?.attempt === now.attempt && known.status === now.status) return [];
  const { started_at_ms } = now;
  const hasBegun = started_at_ms !== null && now.status !== "PENDING" && now.status !== "RUNNING";
  if (!hasBegun || known?.status === "RUNNING") return [now];
  return [{ ...now, status: "RUNNING", status_at_ms: started_at_ms, error: null }, now];
}

/** The last status of each run and task run in the rows after an id. */
function rowsAfter(db: Statements, id: number): ReadonlyMap<string, Known> {
  const last = new Map<string, Known>();
  for (const { table, row } of takeStatuses(db, id, -1)) {
    if (table === "task_run_status") last.set(row.task_instance_id, row);
    else if (table === "workflow_run_status") last.set(row.workflow_instance_id, row);
  }
  return last;
}

/** The runs whose latest status row has an id after `id`. */
export function runsChangedAfter(db: Statements, id: number): string[] {
  return db
    .all<{ id: string }>("SELECT workflow_instance_id AS id FROM runs WHERE last_outbox_id > ?", id)
    .map((run) => run.id);
}
