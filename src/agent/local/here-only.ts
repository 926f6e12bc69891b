import type { TaskDefinition, WorkflowDefinition } from "../../workflow/model.ts";

/** A workflow as one host executes it: all tasks may run anywhere, and nobody else takes slots of pools. */
export function hereOnly(definition: WorkflowDefinition): WorkflowDefinition {
  const { runs_on: _, placement: __, pool: ___, ...workflow } = definition;
  const anywhere = <T extends Pick<TaskDefinition, "runs_on" | "pool">>({
    runs_on: _,
    pool: __,
    ...task
  }: T) => task;
  const { hooks } = definition;
  return {
    ...workflow,
    tasks: definition.tasks.map(anywhere),
    ...(hooks === undefined
      ? {}
      : { hooks: Object.fromEntries(Object.entries(hooks).map(([on, hook]) => [on, anywhere(hook)])) }),
  };
}
