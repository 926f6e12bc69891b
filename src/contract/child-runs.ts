/** How runs that tasks have started are told in a few words. */
import type { ChildRun, RunSummary } from "./messages.ts";

/** The beginning of an id that is long enough for any command. */
const shortId = (id: string): string => id.slice(0, 13);

/** `0198c2a4-7d31 of etl.load, 3 of 5 tasks`; without the tasks when it has COMPLETED. */
export function childWord({
  workflow_id,
  workflow_instance_id,
  status,
  tasks_done,
  tasks_total,
}: ChildRun): string {
  const name = `${shortId(workflow_instance_id)} of ${workflow_id}`;
  return status === "COMPLETED" ? name : `${name}, ${tasks_done} of ${tasks_total} tasks`;
}

/** What has triggered a run: for one that a task has started, `load of 0198c2a4-7d31`. */
export function triggerWord({ trigger, parent }: Pick<RunSummary, "trigger" | "parent">): string {
  if (parent === undefined) return trigger;
  return `${parent.task_id} of ${shortId(parent.workflow_instance_id)}`;
}
