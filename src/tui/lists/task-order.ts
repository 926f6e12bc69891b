/** The order in which the tasks of a workflow are listed: what a task waits for comes before it. */
import { buildDag } from "../../workflow/dag.ts";
import type { WorkflowDefinition } from "../../workflow/model.ts";

const kept = new WeakMap<WorkflowDefinition, readonly string[]>();

/** Ids of the tasks; none when the definition is not known yet. */
export function taskOrder(definition: WorkflowDefinition | null | undefined): readonly string[] {
  if (definition == null) return [];
  let order = kept.get(definition);
  if (order === undefined) {
    const { depth, order: topological } = buildDag(definition.tasks);
    order = [...topological].sort((a, b) => depth(a) - depth(b));
    kept.set(definition, order);
  }
  return order;
}
