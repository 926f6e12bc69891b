/** The condition of a task, `when`, for the machine of progress.ts. */
import { errorMessage } from "../errors.ts";
import type { expressionsOf, TaskResult } from "./expressions.ts";
import type { RunFacts } from "./run-facts.ts";

type Compiled = ReturnType<ReturnType<typeof expressionsOf>["compile"]>;

/** Longer expressions are shortened in reasons, characters. */
const LONGEST = 200;

/** A condition as a part of a plan. */
interface Condition {
  /** The tasks whose results it reads. */
  readonly decidedBy: ReadonlySet<string>;
  /** Null if it holds; why the task is skipped; or why it fails, because the condition cannot be computed. */
  when(
    results: (id: string) => TaskResult | undefined,
    facts: RunFacts,
  ): { readonly skip: string } | { readonly fail: string } | null;
}

/** What a condition means for the machine, which runs on the principal or on an agent. */
export function conditionOf(compiled: Compiled): Condition {
  const source = shortened(compiled.source.replace(/\s+/g, " "));
  return {
    decidedBy: new Set(compiled.tasks),
    when: (results, facts) => {
      let value: unknown;
      try {
        value = compiled.evaluate({ facts, results });
      } catch (error) {
        return { fail: `when: ${errorMessage(error)}` };
      }
      if (value === true) return null;
      if (value === false) return { skip: `when: ${source} is false` };
      return {
        fail: `when: ${source} is ${shortened(JSON.stringify(value))}, which is neither true nor false`,
      };
    },
  };
}

function shortened(text: string): string {
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
}
