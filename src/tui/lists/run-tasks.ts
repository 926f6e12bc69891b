/** The tasks of a run. */
import type { ItemCounts, RunDetails, TaskRunSummary } from "../../contract/messages.ts";
import { isShared } from "../../contract/run-agents.ts";
import { allTasks, hookTasks } from "../../workflow/hooks.ts";
import type { TaskDefinition } from "../../workflow/model.ts";
import type { RunStatus } from "../../workflow/status.ts";
import { taskOrder } from "./task-order.ts";

/** A task with its definition, if still known, and its task run, if it has started. */
export interface TaskOfRun {
  readonly id: string;
  readonly definition: TaskDefinition | null;
  readonly run: TaskRunSummary | undefined;
}

/** The tasks in display order; hooks come last. */
export function tasksOf(run: RunDetails): TaskOfRun[] {
  const known = run.definition === null ? [] : allTasks(run.definition);
  const byId = new Map(known.map((task) => [task.id, task]));
  const runs = new Map(run.tasks.map((task) => [task.task_id, task]));
  const ids =
    run.definition === null
      ? run.tasks.map((task) => task.task_id)
      : [...taskOrder(run.definition), ...hookTasks(run.definition).map(({ id }) => id)];
  return ids.map((id) => ({ id, definition: byId.get(id) ?? null, run: runs.get(id) }));
}

/**
 * What is said beside a task in the graph, by its id: how many items of a fan-out are over, or the agent in a run that several share; null
 * for nothing.
 */
export function noteOfTask(run: RunDetails): (task: string) => string | null {
  const shared = isShared(run);
  const notes = new Map(
    run.tasks.map(({ task_id, items, agent_id }) => {
      if (items !== undefined) return [task_id, itemsOver(items)];
      return [task_id, shared && agent_id !== null ? `@${agent_id}` : null];
    }),
  );
  return (task) => notes.get(task) ?? null;
}

/** How many items are over: `312/5,000`. */
export function itemsOver({ total, by_status }: ItemCounts): string {
  const { PENDING: _, RUNNING: __, WAITING: ___, ...ended } = by_status;
  const over = Object.values(ended).reduce((sum, count) => sum + count, 0);
  return `${over.toLocaleString("en")}/${total.toLocaleString("en")}`;
}

/** The status of a task by its id; PENDING until the agent has reported it. */
export function statusOfTask(run: RunDetails): (task: string) => RunStatus {
  const statuses = new Map(run.tasks.map((task) => [task.task_id, task.status]));
  return (task) => statuses.get(task) ?? "PENDING";
}
