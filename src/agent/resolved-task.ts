/** The values of a task's expressions, for its start on this agent. */
import type { AssignedItem, RunAssignment } from "../contract/messages.ts";
import type { Outputs } from "../contract/outputs.ts";
import { expressionsOf, type ResponseValues, type TaskResult } from "../workflow/expressions.ts";
import type { TaskDefinition } from "../workflow/model.ts";
import { factsOf, type RunFacts } from "../workflow/run-facts.ts";
import { CannotStartError } from "./executors/index.ts";

/** A task and the env of its workflow, with the values of their expressions. */
export interface ResolvedTask {
  readonly task: TaskDefinition;
  readonly workflowEnv: Readonly<Record<string, string>>;
}

/** The value of an expression, and what it says. */
export interface Evaluated {
  readonly value: unknown;
  readonly source: string;
}

/**
 * Evaluates an expression of a task about the response to its request.
 * @throws ExpressionError
 */
export function evaluated(
  task: TaskDefinition,
  template: string,
  assignment: RunAssignment,
  results: (id: string) => TaskResult | undefined,
  response: ResponseValues,
  item?: AssignedItem,
): Evaluated {
  const { workflow } = assignment;
  const compiled = expressionsOf(workflow).compile(template, "response", task.id);
  const facts = factsFor(assignment);
  const value = compiled.evaluate({ facts, results, response, ...(item === undefined ? {} : { item }) });
  return { value, source: compiled.source };
}

/**
 * Whether a task that polls is over after a try, and what the condition says.
 * @throws ExpressionError
 */
export function isMet(
  task: TaskDefinition,
  until: string,
  assignment: RunAssignment,
  results: (id: string) => TaskResult | undefined,
  attempt: { readonly exit_code: number; readonly outputs: Outputs | null },
): Evaluated {
  const compiled = expressionsOf(assignment.workflow).compile(until, "until", task.id);
  const value = compiled.evaluate({ facts: factsFor(assignment), results, attempt });
  return { value, source: compiled.source };
}

/**
 * Evaluates the expressions of a task; one of a workflow that has none is given back as it is.
 * @param results how the tasks before it ended
 * @param item the item of a fan-out that is executed
 * @throws CannotStartError naming the key and what has no value
 */
export function resolved(
  task: TaskDefinition,
  assignment: RunAssignment,
  results: (id: string) => TaskResult | undefined,
  item?: AssignedItem,
): ResolvedTask {
  const { workflow } = assignment;
  if (workflow.language === undefined) return { task, workflowEnv: workflow.env };
  const expressions = expressionsOf(workflow);
  const values = { facts: factsFor(assignment), results, ...(item === undefined ? {} : { item }) };
  const place = assignment.run === undefined ? "start" : "hook";
  try {
    return {
      task: expressions.resolveTask(task, values, place),
      workflowEnv: expressions.resolveEnv(values),
    };
  } catch (error) {
    const { message, help } = error as { readonly message: string; readonly help?: string };
    throw new CannotStartError(`Cannot start: ${message}.`, { cause: error, hint: help });
  }
}

/** What the run knows of itself: for a hook, also how its tasks have ended. */
function factsFor(assignment: RunAssignment): RunFacts {
  const { attempt, run_attempt = attempt } = assignment;
  const facts = factsOf({ ...assignment, attempt: run_attempt }, assignment.workflow);
  return assignment.run === undefined ? facts : { ...facts, run: { ...facts.run, ...assignment.run } };
}
