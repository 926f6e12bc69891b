/**
 * Hooks: tasks that run when all other tasks of a run are over. In a file they are under `hooks:`; in a run they are tasks whose ids are
 * the keys there.
 */
import type { TaskDefinition, WorkflowDefinition } from "./model.ts";

/** When a hook runs, by the end of all other tasks; in the order in which they are shown. */
export const HOOKS = ["on_success", "on_failure", "on_cancel", "on_exit"] as const;
export type HookOn = (typeof HOOKS)[number];

/** A hook as a task. */
export type HookTask = TaskDefinition & { readonly id: HookOn };

type WithHooks = Pick<WorkflowDefinition, "hooks">;

/** The hooks of a workflow as tasks. */
export function hookTasks({ hooks }: WithHooks): HookTask[] {
  if (hooks === undefined) return [];
  return HOOKS.flatMap((on): HookTask[] => {
    const hook = hooks[on];
    return hook === undefined ? [] : [{ ...hook, id: on, depends: [] }];
  });
}

/** The tasks of a workflow, and after them its hooks. */
export function allTasks(workflow: WithHooks & Pick<WorkflowDefinition, "tasks">): readonly TaskDefinition[] {
  return workflow.hooks === undefined ? workflow.tasks : [...workflow.tasks, ...hookTasks(workflow)];
}

/** Whether a task of a workflow is one of its hooks. */
export function isHook({ hooks }: WithHooks, taskId: string): boolean {
  return hooks !== undefined && Object.hasOwn(hooks, taskId) && (HOOKS as readonly string[]).includes(taskId);
}
