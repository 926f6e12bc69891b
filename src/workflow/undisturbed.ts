/** Which tasks a retry of a run, or its next attempt, need not touch: nothing that they depend on runs again and may end otherwise. */
import type { Plan } from "./plan.ts";
import type { RunStatus } from "./status.ts";

/** How a task ended. */
interface Ended {
  readonly status: RunStatus;
  /** It FAILED, and was allowed to. */
  readonly isAllowed: boolean;
}

/**
 * The tasks whose needs end as they did if what did not complete runs again. A task that COMPLETED because another one had failed, such as
 * one that takes back what that one did, is not among them: the other one runs again, and may fail again. What accepts an allowed failure
 * like a completed task is. Hooks are not among them: they are about the end of one run.
 * @param endOf how a task ended; undefined if it never began
 * @param kept tasks that are known not to run again, however they ended
 */
export function undisturbedTasks(
  plan: Pick<Plan, "order" | "node">,
  endOf: (id: string) => Ended | undefined,
  kept: ReadonlySet<string> = new Set(),
): ReadonlySet<string> {
  const undisturbed = new Set(kept);
  for (const id of plan.order) {
    const node = plan.node(id);
    if (node === undefined || node.hook !== undefined || kept.has(id)) continue;
    const isSame = node.needs.every(({ task, accepts }) => {
      if (kept.has(task)) return true;
      const end = undisturbed.has(task) ? endOf(task) : undefined;
      if (end?.isAllowed === true) return accepts.has("COMPLETED");
      return end?.status === "COMPLETED" || end?.status === "SKIPPED";
    });
    if (isSame) undisturbed.add(id);
  }
  return undisturbed;
}
