/** The values of a task's expressions, for its start on this agent. */
import type { RunAssignment } from "../contract/messages.ts";
import { expressionsOf, type TaskResult } from "../workflow/expressions.ts";
import type { TaskDefinition } from "../workflow/model.ts";
import { factsOf } from "../workflow/run-facts.ts";
import { CannotStartError } from "./executors/index.ts";

/** A task and the env of its workflow, with the values of their expressions. */
export interface ResolvedTask {
  readonly task: TaskDefinition;
  readonly workflowEnv: Readonly<Record<string, string>>;
}

/**
 * Evaluates the expressions of a task; one of a workflow that has none is given back as it is.
 * @param results how the tasks before it ended
 * @throws CannotStartError naming the key and what has no value
 */
export function resolved(
  task: TaskDefinition,
  assignment: RunAssignment,
  results: (id: string) => TaskResult | undefined,
): ResolvedTask {
  const { workflow } = assignment;
  if (workflow.language === undefined) return { task, workflowEnv: workflow.env };
  const expressions = expressionsOf(workflow);
  const values = { facts: factsOf(assignment, workflow), results };
  try {
    return { task: expressions.resolveTask(task, values), workflowEnv: expressions.resolveEnv(values) };
  } catch (error) {
    const { message, help } = error as { readonly message: string; readonly help?: string };
    throw new CannotStartError(`Cannot start: ${message}.`, { cause: error, hint: help });
  }
}
