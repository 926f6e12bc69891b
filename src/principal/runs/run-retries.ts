/** Retries runs that are over: a retry is a new run, which keeps what need not run again. */
import type { Clock } from "../../clock.ts";
import type { RetryRun } from "../../contract/messages.ts";
import { UnprocessableError } from "../../errors.ts";
import type {
  OperationalStore,
  OperationalTx,
  RunRecord,
  TaskRunState,
} from "../../storage/operational/store.ts";
import { RUN_TRANSITIONS } from "../../workflow/run-state.ts";
import { isTerminal } from "../../workflow/status.ts";
import { undisturbedTasks } from "../../workflow/undisturbed.ts";
import { stillNeeded } from "./assignments.ts";
import type { Definitions } from "./definitions.ts";
import { once } from "./once.ts";
import type { RunChanges } from "./run-changes.ts";
import { newestOf } from "./run-details.ts";
import { type OldRuns, type RunFinder, unknownRun } from "./run-finder.ts";

/** What {@link RunRetries} needs. */
interface RunRetriesOptions {
  readonly store: OperationalStore;
  readonly changes: RunChanges;
  readonly definitions: Definitions;
  readonly finder: RunFinder;
  readonly old: OldRuns;
  readonly clock: Clock;
}

/** Outputs of these task instances are needed, and are only in the history. */
class OutputsMovedError extends Error {
  readonly taskInstanceIds: readonly string[];

  constructor(taskInstanceIds: readonly string[]) {
    super("outputs are only in the history");
    this.taskInstanceIds = taskInstanceIds;
  }
}

/** Retries runs. */
export class RunRetries {
  readonly #o: RunRetriesOptions;

  constructor(options: RunRetriesOptions) {
    this.#o = options;
  }

  /**
   * Retries a finished run, from the tasks that did not complete or from the beginning.
   * @throws UnprocessableError when it is not over, or needs outputs that cannot be read from the history
   */
  async retry(retry: RetryRun): Promise<string> {
    const { workflow_instance_id: id } = await this.#o.finder.find(retry.workflow_instance_id, "retried");
    const restored = new Map<string, string>();
    for (;;) {
      try {
        return await this.#retry(id, retry, restored);
      } catch (error) {
        if (!(error instanceof OutputsMovedError)) throw error;
        for (const [task, outputs] of await this.#restoreOutputs(id, error.taskInstanceIds))
          restored.set(task, outputs);
      }
    }
  }

  /**
   * @param restored outputs from the history, by task instance
   * @throws OutputsMovedError when more are needed
   */
  #retry(id: string, retry: RetryRun, restored: ReadonlyMap<string, string>): Promise<string> {
    return once(this.#o, "RETRYRUN", id, retry.dedupe_key, async (tx, runId) => {
      const run = await tx.getRun(id);
      if (run === null) throw unknownRun(id);
      if (!isTerminal(RUN_TRANSITIONS, run.status)) {
        throw new UnprocessableError(`Run ${id} is ${run.status}: only a run that is over can be retried.`, {
          hint: `Cancel it first: cdktr runs cancel ${id}`,
        });
      }
      if (run.status === "COMPLETED" && !retry.from_start) {
        throw new UnprocessableError(`Run ${id} COMPLETED: there is no failed task to retry.`, {
          hint: `To run it from the beginning: cdktr runs retry ${id} --from-start`,
        });
      }
      if (run.damage !== undefined) {
        throw new UnprocessableError(`Run ${id} cannot be retried: ${run.damage}.`, {
          hint: `To trigger a new run: cdktr run ${run.workflow_id}`,
        });
      }
      const definition = await tx.getDefinition(run.definition_hash);
      if (definition === null) throw unknownRun(id);
      const tasks = retry.from_start ? [] : await tx.listTaskRuns(id);
      const plan = await this.#o.definitions.planOf(tx, run);
      const undisturbed = plan === null ? null : undisturbedTasks(plan, endsOf(tasks));
      const isKept = (task: string): boolean => undisturbed?.has(task) ?? true;
      const done = tasks.filter(({ status, task_id }) => status === "COMPLETED" && isKept(task_id));
      const carried = newestOf(done.filter(({ item_key }) => item_key === null));
      const items = done.filter(({ item_key }) => item_key !== null);
      const lacking = await this.#lackingOutputs(tx, run, carried, items);
      const missing = lacking.filter((task) => !restored.has(task));
      if (missing.length > 0) throw new OutputsMovedError(missing);
      await this.#o.changes.create(tx, {
        workflow_instance_id: runId,
        workflow_id: run.workflow_id,
        workflow_name: run.workflow_name,
        definition_hash: run.definition_hash,
        definition,
        params: run.params,
        event: run.event,
        trigger: "retry",
        scheduled_time_ms: run.scheduled_time_ms,
        retry_of: id,
        trigger_depth: run.trigger_depth,
        tasks_total: run.tasks_total,
        carried: carried.map((task) => ({
          ...task,
          outputs: task.outputs ?? restored.get(task.task_instance_id) ?? null,
        })),
        items_of: items.length === 0 ? null : id,
        fan_outs: [...new Set(items.map(({ task_id }) => task_id))],
        item_outputs: restored,
      });
    });
  }

  /** The task instances among those carried over whose outputs a retry needs, but only the history has. */
  async #lackingOutputs(
    tx: OperationalTx,
    run: RunRecord,
    carried: readonly TaskRunState[],
    items: readonly TaskRunState[],
  ): Promise<string[]> {
    if (carried.length + items.length === 0) return [];
    const moved = new Set(
      (await tx.movedOutputs(run.workflow_instance_id)).map((task) => task.task_instance_id),
    );
    if (moved.size === 0) return [];
    const plan = await this.#o.definitions.planOf(tx, run);
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

  /** @throws UnprocessableError */
  async #restoreOutputs(
    id: string,
    taskInstanceIds: readonly string[],
  ): Promise<ReadonlyMap<string, string>> {
    const cannot = (why: string, cause?: unknown) =>
      new UnprocessableError(
        `Run ${id} cannot be retried from the tasks that failed: what earlier tasks published is only in the history, ${why}.`,
        { cause, hint: `To run it from the beginning: cdktr runs retry ${id} --from-start` },
      );
    let found: ReadonlyMap<string, string> | null;
    try {
      found = await this.#o.old.findOutputs(taskInstanceIds);
    } catch (error) {
      if (!(error instanceof UnprocessableError)) throw error;
      throw cannot(`which is not available (${error.message})`, error);
    }
    if (found === null) throw cannot("and too large for a retry");
    if (taskInstanceIds.some((task) => !found.has(task))) throw cannot("which does not have it any more");
    return found;
  }
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
