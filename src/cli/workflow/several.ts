/** Commands that take several workflows. */
import { reportError } from "../support/report.ts";

/** The first of the workflows. */
export const workflowArgs = {
  id: {
    type: "positional",
    required: true,
    description: "A workflow's id, as shown by 'cdktr workflow list'",
  },
} as const;

export const workflowExtras = {
  rest: "ID",
  restDescription: "Further workflows",
  completes: { id: "workflow" },
} as const;

/** Does something with each workflow, also if it fails with one of them. @throws the last failure, after the others were told */
export async function forEachWorkflow<T>(
  { id, _ }: { readonly id: string; readonly _: readonly string[] },
  act: (workflowId: string) => Promise<T>,
): Promise<T[]> {
  const done: T[] = [];
  const failures: unknown[] = [];
  for (const each of new Set([id, ..._])) {
    try {
      done.push(await act(each));
    } catch (error) {
      failures.push(error);
    }
  }
  for (const failure of failures.slice(0, -1)) await reportError(failure);
  if (failures.length > 0) throw failures.at(-1);
  return done;
}
