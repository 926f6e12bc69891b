/**
 * The door to the expressions of workflows. What is behind it, with the library that reads expressions, is loaded by the first workflow
 * that has some: a workflow without them pays nothing.
 */
import type { Finding } from "./diagnostic.ts";
import type {
  checkExpressions as Check,
  checkExpressionsOf as CheckOf,
  compileForRow as CompileForRow,
  expressionsOf as ExpressionsOf,
  WorkflowExpressions,
  WorkflowWithExpressions,
} from "./expressions/index.ts";
import type { RowTemplate } from "./expressions/row.ts";
import type { AnyField } from "./field.ts";
import { hasExpressions } from "./has-expressions.ts";
import type { WorkflowDefinition } from "./model.ts";
import type { Located } from "./yaml-tree.ts";

export type { Compiled } from "./expressions/compiled.ts";
export type { WorkflowExpressions, WorkflowWithExpressions } from "./expressions/index.ts";
export type { Row } from "./expressions/row.ts";
export type { ResponseValues, ScopeValues, TaskResult } from "./expressions/source.ts";
export { hasExpressions };

interface Behind {
  readonly checkExpressions: typeof Check;
  readonly checkExpressionsOf: typeof CheckOf;
  readonly compileForRow: typeof CompileForRow;
  readonly expressionsOf: typeof ExpressionsOf;
}

function load(): Behind {
  return require("./expressions/index.ts") as Behind;
}

/** The expressions of a workflow; the same object for the same definition. */
export function expressionsOf(workflow: WorkflowWithExpressions): WorkflowExpressions {
  return load().expressionsOf(workflow);
}

const isComputed = (param: WorkflowDefinition["params"][string]): boolean =>
  param.default_template !== undefined;

/** The names that the expressions of a workflow read of the event that triggers it; null for all, undefined for none. */
export function eventNamesOf(
  workflow: WorkflowWithExpressions & Pick<WorkflowDefinition, "language">,
): readonly string[] | null | undefined {
  const hasSome =
    workflow.language !== undefined ||
    Object.values(workflow.params ?? {}).some(isComputed) ||
    hasExpressions(workflow.concurrency?.group ?? "");
  return hasSome ? expressionsOf(workflow).eventNames : undefined;
}

/**
 * What a run keeps of an event: what its expressions read.
 * @returns null for nothing
 */
export function eventFor(
  workflow: WorkflowWithExpressions & Pick<WorkflowDefinition, "language">,
  event: Readonly<Record<string, string>> | undefined,
): Readonly<Record<string, string>> | null {
  const names = event === undefined ? undefined : eventNamesOf(workflow);
  if (event === undefined || names === undefined) return null;
  return names === null
    ? event
    : Object.fromEntries(Object.entries(event).filter(([name]) => names.includes(name)));
}

/**
 * Checks the expressions of a file.
 * @param env names of variables that the workflow has from the settings of its directory
 * @returns what is wrong with them, and whether there are any where they may be
 */
export function checkExpressions(
  root: Located,
  text: string,
  env: readonly string[],
): { readonly findings: readonly Finding[]; readonly hasTemplates: boolean } {
  return load().checkExpressions(root, text, env);
}

/** {@link checkExpressions} for a file with another schema, which is no workflow. */
export function checkExpressionsOf(schema: AnyField, root: Located, text: string): readonly Finding[] {
  return load().checkExpressionsOf(schema, root, text);
}

/** Compiles a text of an alert file, see {@link RowTemplate}. */
export function compileForRow(text: string): RowTemplate {
  return load().compileForRow(text);
}
