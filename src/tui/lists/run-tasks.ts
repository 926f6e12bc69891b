/** The tasks of a run. */
import type { RunDetails, TaskRunSummary } from "../../contract/messages.ts";
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

/** The agent of a task by its id, in a run that several agents share; null where it need not be named. */
export function agentOfTask(run: RunDetails): (task: string) => string | null {
  const agents = new Map(isShared(run) ? run.tasks.map((task) => [task.task_id, task.agent_id]) : []);
  return (task) => agents.get(task) ?? null;
}

/** The status of a task by its id; PENDING until the agent has reported it. */
export function statusOfTask(run: RunDetails): (task: string) => RunStatus {
  const statuses = new Map(run.tasks.map((task) => [task.task_id, task.status]));
  return (task) => statuses.get(task) ?? "PENDING";
}
