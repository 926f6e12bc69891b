/** Which concurrency group a run belongs to. */
import { errorMessage } from "../errors.ts";
import { type Concurrency, type OnConflict, problemOfGroup } from "./concurrency.ts";
import { expressionsOf, hasExpressions, type WorkflowWithExpressions } from "./expressions.ts";
import { factsOf, type RunWithFacts } from "./run-facts.ts";

/** The group that a run belongs to. */
export interface GroupOfRun {
  /** `g NAME` for a group that has a name, which workflows can share; `w WORKFLOW` for that of one workflow. */
  readonly key: string;
  readonly max: number;
  readonly on_conflict: OnConflict;
}

/** The group of a run, or why it cannot be computed; null without a limit. */
export function groupOf(
  workflow: WorkflowWithExpressions & {
    readonly id: string;
    readonly env: Readonly<Record<string, string>>;
    readonly concurrency?: Concurrency | undefined;
  },
  run: RunWithFacts,
): GroupOfRun | { readonly fail: string } | null {
  if (workflow.concurrency === undefined) return null;
  const { group, max_runs: max, on_conflict } = workflow.concurrency;
  if (group === undefined) return { key: `w ${workflow.id}`, max, on_conflict };
  if (!hasExpressions(group)) return { key: `g ${group}`, max, on_conflict };
  const fail = (why: string) => ({ fail: `concurrency.group has no value: ${why}` });
  try {
    const compiled = expressionsOf(workflow).compile(group, "group", null);
    const name = compiled.text({ facts: factsOf(run, workflow) }).trim();
    const problem = problemOfGroup(name);
    if (problem !== null) return fail(`${compiled.isWhole ? compiled.source : "the text"} ${problem}`);
    return { key: `g ${name}`, max, on_conflict };
  } catch (error) {
    return fail(errorMessage(error));
  }
}

/** A group in words: `group "eu"`, or `workflow etl.daily`. */
export function groupText(key: string): string {
  const name = key.slice(2);
  return key.startsWith("w ") ? `workflow ${name}` : `group ${JSON.stringify(name)}`;
}
