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
  /** Its tasks, if it FAILED: the reason of one that did is passed on. */
  readonly tasks?: readonly EndedTask[];
}

/** A task of such a run. */
interface EndedTask {
  readonly task_id: string;
  readonly status: RunStatus;
  readonly error: string | null;
  /** Whether its failure does not count. */
  readonly is_allowed?: boolean | undefined;
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
  { workflow_instance_id, workflow_id, status, error, outputs, tasks = [] }: EndedChild,
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
  return {
    status: "FAILED",
    error: `${name} ${status}${error === null ? "" : `: ${error}${causeOf(error, tasks)}`}`,
  };
}

/** Why a task failed, if that is why its run did: of nested runs, what happened in the innermost one. */
function causeOf(error: string, tasks: readonly EndedTask[]): string {
  if (!error.startsWith("failed: ")) return "";
  const isCause = ({ status, is_allowed }: EndedTask) =>
    (status === "FAILED" || status === "CRASHED") && is_allowed !== true;
  const cause = tasks.find((task) => isCause(task) && task.error !== null);
  if (cause?.error == null) return "";
  const [, run, failed, inner] = NESTED.exec(cause.error) ?? [];
  if (inner !== undefined)
    return inner.startsWith("run ") ? ` (${inner})` : ` (run ${run}, ${failed}: ${inner})`;
  return error === `failed: ${cause.task_id}` ? ` (${cause.error})` : ` (${cause.task_id}: ${cause.error})`;
}

/** What {@link endOfCaller} says of a run that failed for a task of which something is known. */
const NESTED = /^run (\S+ of \S+) FAILED: failed: (.+?) \((.*)\)$/s;

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
