/** The ids of the rows of any list, in display order. */

import { currentPage, listState, selectedIndex, selectRow } from "../navigation.ts";
import type { State } from "../state.ts";
import { alertRows } from "./alert-rows.ts";
import { approvalId, approvalRows } from "./approval-rows.ts";
import { calendarRows } from "./calendar-rows.ts";
import { fileRows } from "./file-rows.ts";
import { agentRows, eventRows } from "./other-rows.ts";
import { outputRows } from "./output-rows.ts";
import { queueRows } from "./queue-rows.ts";
import { runRows } from "./run-rows.ts";
import { tasksOf } from "./run-tasks.ts";
import { taskOrder } from "./task-order.ts";
import { isBelow, taskRows } from "./task-rows.ts";
import { workflowRows } from "./workflow-rows.ts";

export function listIds(state: State, name: string): readonly string[] {
  const list = state.lists[name];
  if (name === "workflows") return workflowRows(state, list).map((row) => row.workflow.id);
  if (name === "runs") return runRows(state, list, null).map((run) => run.workflow_instance_id);
  if (name === "agents") return agentRows(state, list).map((agent) => agent.agent_id);
  if (name === "activity") return eventRows(state, list).map((event) => String(event.seq));
  if (name === "approvals") return approvalRows(state, list).map(approvalId);
  if (name === "queue") return queueRows(state, list).map((row) => row.id);
  if (name === "calendar") return calendarRows(state, list).map((row) => row.workflow_id);
  if (name === "alerts") return alertRows(state, list).map((row) => row.id);
  const [kind, id] = split(name);
  if (kind === "runs") return runRows(state, list, id).map((run) => run.workflow_instance_id);
  if (kind === "graph") {
    return taskOrder(state.data.workflowDetails.get(id)?.definition);
  }
  if (kind === "files") return fileRows(state, { workflow_instance_id: id }).map((row) => row.id);
  if (kind === "outputs") {
    const run = state.data.runDetails.get(id);
    return run === undefined ? [] : outputRows(state, run).map((row) => row.id);
  }
  if (kind === "tasks") {
    const run = state.data.runDetails.get(id);
    if (run === undefined) return [];
    const { ids } = taskRows(state, run);
    // The graph has tasks only.
    return isGraph(state) ? ids.filter((row) => !isBelow(row)) : ids;
  }
  return [];
}

function isGraph(state: State): boolean {
  const page = currentPage(state);
  return page.kind === "run" && page.pane === "graph";
}

function split(name: string): [kind: string, id: string] {
  const at = name.indexOf(":");
  return [name.slice(0, at), name.slice(at + 1)];
}

/** Id of the run that a key on this page refers to: the open one, or the selected one of a list. */
export function runInFocus(state: State): string | null {
  const page = currentPage(state);
  if (page.kind === "approvals") {
    const selected = selectedOf(state, "approvals");
    const approval = approvalRows(state, state.lists.approvals).find((one) => approvalId(one) === selected);
    return approval?.workflow_instance_id ?? null;
  }
  if (page.kind === "run") return page.id;
  if (page.kind === "runs") return selectedOf(state, "runs");
  if (page.kind === "workflow" && page.pane === "runs") return selectedOf(state, `runs:${page.id}`);
  return null;
}

/** Id of the workflow that a key on this page refers to. */
export function workflowInFocus(state: State): string | null {
  const page = currentPage(state);
  if (page.kind === "workflow") return page.id;
  if (page.kind === "workflows") return selectedOf(state, "workflows");
  const runId = runInFocus(state);
  return runId === null ? null : workflowOfRun(state, runId);
}

/** The workflow of a run; null when the run is unknown. */
export function workflowOfRun(state: State, runId: string): string | null {
  return (
    state.data.runDetails.get(runId)?.workflow_id ??
    state.data.runs?.find((run) => run.workflow_instance_id === runId)?.workflow_id ??
    null
  );
}

export function selectedOf(state: State, name: string): string | null {
  const ids = listIds(state, name);
  return ids[selectedIndex(state.lists[name], ids, (id) => id)] ?? null;
}

/** Selects the first FAILED task of a run, unless the user chose another one. */
export function selectFailedTask(state: State, runId: string): void {
  const run = state.data.runDetails.get(runId);
  const list = listState(state, `tasks:${runId}`);
  if (run === undefined || list.selected !== null) return;
  const tasks = tasksOf(run);
  const failed = tasks.findIndex((task) => task.run?.status === "FAILED");
  if (failed !== -1)
    selectRow(
      list,
      tasks.map(({ id }) => id),
      failed,
    );
}
