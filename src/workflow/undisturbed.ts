/** Which tasks a retry of a run need not touch: nothing that they depend on runs again and may end otherwise. */
import type { Plan } from "./plan.ts";
import type { RunStatus } from "./status.ts";

/** How a task ended. */
interface Ended {
  readonly status: RunStatus;
  /** It FAILED, and was allowed to. */
  readonly isAllowed: boolean;
}

/**
 * The tasks whose needs end in a retry as they did. A task that COMPLETED because another one had failed, such as one that takes back what that
 * one did, is not among them: the other one runs again, and may fail again. What accepts an allowed failure like a completed task is.
 * Hooks are not among them: they are about the end of one run.
 * @param endOf how a task ended; undefined if it never began
 */
export function undisturbedTasks(
  plan: Pick<Plan, "order" | "node">,
  endOf: (id: string) => Ended | undefined,
): ReadonlySet<string> {
  const undisturbed = new Set<string>();
  for (const id of plan.order) {
    const node = plan.node(id);
    if (node === undefined || node.hook !== undefined) continue;
    const isSame = node.needs.every(({ task, accepts }) => {
      const end = undisturbed.has(task) ? endOf(task) : undefined;
      if (end?.isAllowed === true) return accepts.has("COMPLETED");
      return end?.status === "COMPLETED" || end?.status === "SKIPPED";
    });
    if (isSame) undisturbed.add(id);
  }
  return undisturbed;
}
