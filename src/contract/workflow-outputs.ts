/** The outputs of a workflow: computed from those of its tasks when a run of it has COMPLETED. */
import { errorMessage } from "../errors.ts";
import { expressionsOf, type TaskResult } from "../workflow/expressions.ts";
import type { WorkflowDefinition } from "../workflow/model.ts";
import type { RunFacts } from "../workflow/run-facts.ts";
import { faultOfOutputs, type Outputs } from "./outputs.ts";

/** The outputs, or why there are none: then the run has failed. */
type Computed =
  | { readonly outputs: Outputs; readonly error?: undefined }
  | { readonly outputs?: undefined; readonly error: string };

/** The tasks whose results the outputs of a workflow are computed from. */
export function tasksReadAtEnd(definition: WorkflowDefinition): ReadonlySet<string> {
  return new Set(compiledOutputs(definition).flatMap(([, { tasks }]) => tasks));
}

/**
 * Computes the outputs of a workflow.
 * @param facts of the run, whose tasks have COMPLETED
 * @param results how its tasks ended
 */
export function outputsOfWorkflow(
  definition: WorkflowDefinition,
  facts: RunFacts,
  results: (id: string) => TaskResult | undefined,
): Computed {
  const run = { ...facts.run, status: "COMPLETED", error: null, failed_tasks: [] } as const;
  const outputs: Record<string, unknown> = {};
  for (const [name, compiled] of compiledOutputs(definition)) {
    try {
      outputs[name] = compiled.evaluate({ facts: { ...facts, run }, results });
    } catch (error) {
      return { error: `output "${name}": ${errorMessage(error)}` };
    }
  }
  const fault = faultOfOutputs(outputs);
  return fault === undefined
    ? { outputs }
    : { error: `the outputs of the workflow cannot be published: ${fault}` };
}

function compiledOutputs(definition: WorkflowDefinition) {
  const { outputs = {} } = definition;
  const expressions = expressionsOf(definition);
  return Object.entries(outputs).map(
    ([name, text]) => [name, expressions.compile(text, "result", null)] as const,
  );
}
