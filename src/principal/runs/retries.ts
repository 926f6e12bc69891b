/** What a retry of a run consists of: which tasks it has to run again, and what it takes over from the run. */
import type { OperationalTx, RunRecord, TaskRunState } from "../../storage/operational/store.ts";
import { undisturbedTasks } from "../../workflow/undisturbed.ts";
import { stillNeeded } from "./assignments.ts";
import type { Definitions } from "./definitions.ts";
import type { NewRun } from "./new-run.ts";
import { newestOf } from "./run-details.ts";

/** Outputs of these task instances are needed, and are only in the history. */
export class OutputsMovedError extends Error {
  readonly taskInstanceIds: readonly string[];

  constructor(taskInstanceIds: readonly string[]) {
    super("outputs are only in the history");
    this.taskInstanceIds = taskInstanceIds;
  }
}

/** What is to be retried. */
export interface Retry {
  readonly from_start: boolean;
}

/**
 * A run that retries another one, which is over, with its definition and its parameters. Part of a unit of work.
 * @param id of the new run
 * @param restored outputs from the history, by task instance
 * @returns null when the definition is not known any more
 * @throws OutputsMovedError when more are needed
 */
export async function retryOf(
  tx: OperationalTx,
  definitions: Definitions,
  run: RunRecord,
  { from_start }: Retry,
  id: string,
  restored: ReadonlyMap<string, string> = new Map(),
): Promise<NewRun | null> {
  const definition = await tx.getDefinition(run.definition_hash);
  if (definition === null) return null;
  const tasks = from_start ? [] : await tx.listTaskRuns(run.workflow_instance_id);
  const plan = await definitions.planOf(tx, run);
  const undisturbed = plan === null ? null : undisturbedTasks(plan, endsOf(tasks));
  const isKept = (task: string): boolean => undisturbed?.has(task) ?? true;
  const done = tasks.filter(({ status, task_id }) => status === "COMPLETED" && isKept(task_id));
  const carried = newestOf(done.filter(({ item_key }) => item_key === null));
  const items = done.filter(({ item_key }) => item_key !== null);
  const lacking = await lackingOutputs(tx, definitions, run, carried, items);
  const missing = lacking.filter((task) => !restored.has(task));
  if (missing.length > 0) throw new OutputsMovedError(missing);
  return {
    workflow_instance_id: id,
    workflow_id: run.workflow_id,
    workflow_name: run.workflow_name,
    definition_hash: run.definition_hash,
    definition,
    params: run.params,
    event: run.event,
    trigger: "retry",
    scheduled_time_ms: run.scheduled_time_ms,
    retry_of: run.workflow_instance_id,
    from_start,
    trigger_depth: run.trigger_depth,
    tasks_total: run.tasks_total,
    bundle:
      (await definitions.of(tx, run))?.files === undefined
        ? null
        : await tx.referredBlob(run.workflow_instance_id, "bundle", ""),
    carried: carried.map((task) => ({
      ...task,
      outputs: task.outputs ?? restored.get(task.task_instance_id) ?? null,
    })),
    items_of: items.length === 0 ? null : run.workflow_instance_id,
    fan_outs: [...new Set(items.map(({ task_id }) => task_id))],
    item_outputs: restored,
  };
}

/** The task instances among those carried over whose outputs a retry needs, but only the history has. */
async function lackingOutputs(
  tx: OperationalTx,
  definitions: Definitions,
  run: RunRecord,
  carried: readonly TaskRunState[],
  items: readonly TaskRunState[],
): Promise<string[]> {
  if (carried.length + items.length === 0) return [];
  const moved = new Set(
    (await tx.movedOutputs(run.workflow_instance_id)).map((task) => task.task_instance_id),
  );
  if (moved.size === 0) return [];
  const plan = await definitions.planOf(tx, run);
  const done = carried.map(({ task_id }) => task_id);
  const nodes = plan?.nodes ?? [];
  // Items of a fan-out that did not complete as a whole are read together with those that run again.
  const open = nodes.filter(({ id, fanOut }) => fanOut !== undefined && !done.includes(id));
  const still = plan === null ? [] : stillNeeded(nodes, done, plan.readAtEnd);
  const needed = new Set([...still, ...open.map(({ id }) => id)]);
  return [...carried, ...items].flatMap(({ task_id, task_instance_id }) =>
    needed.has(task_id) && moved.has(task_instance_id) ? [task_instance_id] : [],
  );
}

/** How tasks ended: in the attempt in which they COMPLETED, or else in the newest. */
function endsOf(tasks: readonly TaskRunState[]): Parameters<typeof undisturbedTasks>[1] {
  const whole = tasks.filter(({ item_key }) => item_key === null);
  const ends = newestOf([...whole, ...whole.filter(({ status }) => status === "COMPLETED")]);
  const byId = new Map(
    ends.map(({ task_id, status, allowed }) => [task_id, { status, isAllowed: allowed === 1 }]),
  );
  return (id) => byId.get(id);
}
