import type { TaskDefinition, WorkflowDefinition } from "../../workflow/model.ts";

/** A workflow as one host executes it: all tasks may run anywhere. */
export function hereOnly(definition: WorkflowDefinition): WorkflowDefinition {
  const { runs_on: _, placement: __, ...workflow } = definition;
  const anywhere = <T extends Pick<TaskDefinition, "runs_on">>({ runs_on: _, ...task }: T) => task;
  const { hooks } = definition;
  return {
    ...workflow,
    tasks: definition.tasks.map(anywhere),
    ...(hooks === undefined
      ? {}
      : { hooks: Object.fromEntries(Object.entries(hooks).map(([on, hook]) => [on, anywhere(hook)])) }),
  };
}
