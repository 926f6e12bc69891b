/** The display order of a workflow's tasks: each task comes after its dependencies. */
import { buildDag } from "../../workflow/dag.ts";
import type { WorkflowDefinition } from "../../workflow/model.ts";

const kept = new WeakMap<WorkflowDefinition, readonly string[]>();

/** Ids of the tasks; empty while the definition is unknown. */
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
