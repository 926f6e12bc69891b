/** How runs that tasks have started are told in a few words. */
import type { RunStatus } from "../workflow/status.ts";
import type { ChildRun, RunSummary } from "./messages.ts";

/** A run that a task has started, when it is over. */
interface EndedChild {
  readonly workflow_instance_id: string;
  readonly workflow_id: string;
  readonly status: RunStatus;
  readonly error: string | null;
  /** What its workflow has published. */
  readonly outputs: object;
}

/** How a task ends. */
interface ChildEnd {
  readonly status: "COMPLETED" | "FAILED" | "CANCELLED";
  readonly error: string | null;
}

/**
 * How a task ends whose run is over.
 * @param declared the outputs that the task declares
 * @param stop how it ends if the run was CANCELLED because the task was to be stopped
 */
export function endOfCaller(
  { workflow_instance_id, workflow_id, status, error, outputs }: EndedChild,
  declared: readonly string[] = [],
  stop?: ChildEnd,
): ChildEnd {
  const name = `run ${workflow_instance_id} of ${workflow_id}`;
  if (status === "COMPLETED") {
    const missing = declared.filter((output) => !Object.hasOwn(outputs, output));
    if (missing.length === 0) return { status, error: null };
    const names = missing.map((output) => `"${output}"`).join(", ");
    return {
      status: "FAILED",
      error: `${name} COMPLETED, but its workflow has no ${missing.length === 1 ? "output" : "outputs"} ${names}, which the task declares`,
    };
  }
  if (status === "CANCELLED") return stop ?? { status: "FAILED", error: `${name} was cancelled` };
  return { status: "FAILED", error: `${name} ${status}${error === null ? "" : `: ${error}`}` };
}

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
