/** The workflow of a command that an agent runs by itself: `cdktr exec`. */
import { readDefinition, type TaskConfig, type WorkflowDefinition } from "./model.ts";

/** A workflow of one task and nothing else, which no other agent ever executes. */
export function commandDefinition(
  id: string,
  task: { readonly id: string; readonly name: string; readonly config: TaskConfig },
): WorkflowDefinition {
  return readDefinition(JSON.stringify({ id, name: id, failover: "never", tasks: [task] }));
}
