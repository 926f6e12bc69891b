/** How far a run has got with its hooks. */
import { RUN_TRANSITIONS } from "../workflow/run-state.ts";
import { isTerminal } from "../workflow/status.ts";
import { TASK_TRANSITIONS } from "../workflow/task-state.ts";
import type { RunDetails } from "./messages.ts";

/** Whether all tasks of a run are over, but its hooks are not. */
export function isInHooks({ status, definition, tasks }: RunDetails): boolean {
  if (definition?.hooks === undefined || isTerminal(RUN_TRANSITIONS, status)) return false;
  const over = new Set(
    tasks.flatMap((task) => (isTerminal(TASK_TRANSITIONS, task.status) ? [task.task_id] : [])),
  );
  return definition.tasks.every(({ id }) => over.has(id));
}
