/** What has to run again, although it COMPLETED, when the attempt in which it did is lost. */
import type { AttemptName, OperationalTx } from "../../storage/operational/store.ts";
import type { Plan } from "../../workflow/plan.ts";
import { undisturbedTasks } from "../../workflow/undisturbed.ts";

/**
 * The tasks of a run, or of a slice, that depend on how something ends that did not complete in this attempt: it runs again, and may end
 * otherwise. What was kept from earlier attempts, or from the run that this one retries, stays so. Hooks are not among them.
 * @param scope the tasks of the slice; all by default
 */
export async function disturbedTasks(
  tx: OperationalTx,
  plan: Plan,
  { workflow_instance_id: id, slice, attempt }: AttemptName,
  scope: ReadonlySet<string> = new Set(plan.order),
): Promise<string[]> {
  const all = slice === 0 ? await tx.listTasks(id) : await tx.listTaskStates(id, slice);
  const tasks = all.filter(({ item_key }) => item_key === null);
  const earlier = tasks.filter((task) => task.attempt < attempt && task.status === "COMPLETED");
  const elsewhere = plan.order.filter((task) => !scope.has(task));
  const kept = new Set([...elsewhere, ...earlier.map(({ task_id }) => task_id)]);
  const ends = new Map(
    tasks
      .filter((task) => task.attempt === attempt)
      .map(({ task_id, status, allowed }) => [task_id, { status, isAllowed: allowed === 1 }]),
  );
  const undisturbed = undisturbedTasks(plan, (task) => ends.get(task), kept);
  return plan.order.filter((task) => !undisturbed.has(task) && plan.node(task)?.hook === undefined);
}
