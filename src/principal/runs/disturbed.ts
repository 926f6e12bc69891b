/** What has to run again, although it is over, when the attempt at a run, or at a slice, is lost. */
import type { AttemptName, OperationalTx } from "../../storage/operational/store.ts";
import type { Plan } from "../../workflow/plan.ts";
import { undisturbedTasks } from "../../workflow/undisturbed.ts";

/** The end of a task that stays as it is, unless something that it depends on does not. */
const KEPT = { status: "COMPLETED", isAllowed: false } as const;

/**
 * The tasks of a run that depend on how something ends that did not complete in this attempt: it runs again, and may end otherwise. What was
 * kept from earlier attempts, or from the run that this one retries, stays so. Hooks are not among them.
 * @param scope the tasks of the slice; all by default
 * @param isOver whether a task that is not in the slice is over, and so is its own slice; none by default
 */
export async function disturbedTasks(
  tx: OperationalTx,
  plan: Plan,
  { workflow_instance_id: id, slice, attempt }: AttemptName,
  scope: ReadonlySet<string> = new Set(plan.order),
  isOver: (task: string) => boolean = () => false,
): Promise<string[]> {
  const tasks = await tx.listTasks(id);
  const own = tasks.filter((task) => task.slice === slice);
  const earlier = [
    ...own.filter((task) => task.attempt < attempt),
    ...tasks.filter((task) => task.attempt === 0),
  ].filter(({ status }) => status === "COMPLETED");
  const elsewhere = plan.order.filter((task) => !scope.has(task) && !isOver(task));
  const kept = new Set([...elsewhere, ...earlier.map(({ task_id }) => task_id)]);
  const ends = new Map(
    own
      .filter((task) => task.attempt === attempt)
      .map(({ task_id, status, allowed }) => [task_id, { status, isAllowed: allowed === 1 }]),
  );
  const endOf = (task: string) => (scope.has(task) ? ends.get(task) : KEPT);
  const undisturbed = undisturbedTasks(plan, endOf, kept);
  return plan.order.filter((task) => !undisturbed.has(task) && plan.node(task)?.hook === undefined);
}
