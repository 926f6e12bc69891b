/** The outputs of a workflow: computed from those of its tasks in the unit of work that ends a run of it. */
import { MAX_OUTPUTS_TOGETHER_BYTES } from "../../contract/outputs.ts";
import { outputsOfWorkflow, tasksReadAtEnd } from "../../contract/workflow-outputs.ts";
import type { OperationalTx, RunRecord } from "../../storage/operational/store.ts";
import type { TaskResult } from "../../workflow/expressions.ts";
import { aggregate } from "../../workflow/fan-out.ts";
import type { WorkflowDefinition } from "../../workflow/model.ts";
import { factsOf } from "../../workflow/run-facts.ts";

/** The outputs as JSON, or why they cannot be computed: the run has failed then. */
type RunOutputs = { readonly outputs: string } | { readonly error: string };

/**
 * The outputs of a run whose tasks are over, and which has completed.
 * @returns null when its workflow has none
 */
export async function outputsOfRun(
  tx: OperationalTx,
  run: RunRecord,
  definition: WorkflowDefinition,
): Promise<RunOutputs | null> {
  if (definition.outputs === undefined) return null;
  const read = await resultsOf(tx, run, tasksReadAtEnd(definition)).catch(undamaged);
  if (typeof read === "string") return { error: read };
  const { outputs, error } = outputsOfWorkflow(definition, factsOf(run, definition), (id) => read.get(id));
  return error === undefined ? { outputs: JSON.stringify(outputs) } : { error };
}

/** Why the outputs of a run whose tasks all COMPLETED cannot be computed; null if they can. Part of a unit of work. */
export async function faultOfResult(
  tx: OperationalTx,
  run: RunRecord,
  definition: WorkflowDefinition,
): Promise<string | null> {
  const result = await outputsOfRun(tx, run, definition);
  return result !== null && "error" in result ? result.error : null;
}

function undamaged(error: unknown): string {
  if (error instanceof SyntaxError) return "what is stored of the outputs of its tasks is damaged";
  throw error;
}

/** How these tasks ended, or why that is too much. */
async function resultsOf(
  tx: OperationalTx,
  { workflow_instance_id: id }: RunRecord,
  tasks: ReadonlySet<string>,
): Promise<ReadonlyMap<string, TaskResult> | string> {
  const results = new Map<string, TaskResult>();
  if (tasks.size === 0) return results;
  const totals = new Map<string, number>();
  for (const { task_id, status, error, items_total } of await tx.listTasks(id)) {
    // In an earlier attempt it may have ended otherwise.
    if (tasks.has(task_id) && results.get(task_id)?.status !== "COMPLETED")
      results.set(task_id, { status, error, outputs: null });
    if (items_total !== null && tasks.has(task_id)) totals.set(task_id, items_total);
  }
  const single = await tx.outputsOf(id, [...tasks]);
  const items =
    totals.size === 0 ? [] : await tx.itemOutputs(id, [...totals.keys()], MAX_OUTPUTS_TOGETHER_BYTES);
  const texts = [...single.values(), ...items.map(({ outputs }) => outputs)];
  const bytes = texts.reduce((sum, json) => sum + Buffer.byteLength(json), 0);
  if (bytes > MAX_OUTPUTS_TOGETHER_BYTES) {
    return `the outputs that those of the workflow are made of have more than ${MAX_OUTPUTS_TOGETHER_BYTES / 1024 / 1024} MiB together`;
  }
  for (const [task, json] of single) results.set(task, { status: "COMPLETED", outputs: JSON.parse(json) });
  for (const [task, of] of Map.groupBy(items, ({ task_id }) => task_id)) {
    const published = of.map((item) => ({ index: item.item_index, outputs: JSON.parse(item.outputs) }));
    const known = results.get(task) ?? { status: "COMPLETED", outputs: null };
    results.set(task, { ...known, outputs: aggregate(totals.get(task) ?? 0, published) });
  }
  return results;
}
