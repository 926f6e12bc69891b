/**
 * How far split runs have got: the machine of workflow/progress.ts for each of them, kept in memory. A machine carries the `revision` of
 * the run that it was last changed with. After a unit of work that was undone or repeated, the stored run has another revision; the machine
 * is then built again from the stored slices and task runs.
 *
 * The end of a task counts at once: what depends on it starts or is skipped although its slice goes on. If the slice is lost then, and
 * another agent gets it as its next attempt, only tasks that COMPLETED stay over ({@link Progress.released}).
 */
import type { FanOutRecord, OperationalTx, RunRecord } from "../../storage/operational/store.ts";
import { aggregate, type ItemValue } from "../../workflow/fan-out.ts";
import { nodeId } from "../../workflow/item-id.ts";
import type { WorkflowDefinition } from "../../workflow/model.ts";
import type { Plan } from "../../workflow/plan.ts";
import { type Decision, Progress, type TaskEnd, timeoutText } from "../../workflow/progress.ts";
import { factsOf } from "../../workflow/run-facts.ts";
import type { RunStatus } from "../../workflow/status.ts";
import { isEnding } from "../../workflow/task-state.ts";
import type { Definitions } from "./definitions.ts";

/** How far a run has got. */
export interface RunProgress {
  readonly definition: WorkflowDefinition;
  readonly plan: Plan;
  readonly progress: Progress;
  /** The items of fan-outs that the principal has computed. */
  readonly items: Map<string, readonly ItemValue[]>;
  /** What the machine decided when it was built, and nobody has carried out. */
  readonly decisions: readonly Decision[];
}

interface Entry extends Omit<RunProgress, "decisions"> {
  revision: number;
  /** Number of tasks and items when it was kept. */
  size: number;
}

/** Maximum number of tasks and items in the machines that are kept. */
const KEPT_TASKS = 50_000;

/** Keeps the machines of runs. */
export class ProgressOfRuns {
  readonly #definitions: Definitions;
  /** By run; those used last are at the end. */
  readonly #kept = new Map<string, Entry>();
  #tasks = 0;
  #lastRevision = 0;

  constructor(definitions: Definitions) {
    this.#definitions = definitions;
  }

  /** A revision that a run has never had, not even in a unit of work that was undone. @param present 0 for a run that is new */
  newRevision(present = 0): number {
    this.#lastRevision = Math.max(this.#lastRevision, present) + 1;
    return this.#lastRevision;
  }

  /**
   * The machine of a run, which the caller is about to change, and the run with the revision that it has then. Part of a unit of work.
   * Null when the run's definition cannot be executed.
   */
  async change(tx: OperationalTx, run: RunRecord): Promise<{ run: RunRecord; at: RunProgress } | null> {
    const { workflow_instance_id: id } = run;
    const kept = this.#kept.get(id);
    const isCurrent = kept !== undefined && kept.revision === run.revision;
    const built = isCurrent ? { ...kept, decisions: [] } : await this.#build(tx, run);
    if (built === null) return null;
    const { decisions, definition, plan, progress, items } = built;
    const revision = this.newRevision(run.revision);
    this.forget(id);
    this.#keep(id, { definition, plan, progress, items, revision });
    return {
      run: await tx.reviseRun(run, revision),
      at: { definition, plan, progress, items, decisions },
    };
  }

  /** How far a run has got. Part of a unit of work. Null when the run's definition cannot be executed. */
  async of(tx: OperationalTx, run: RunRecord): Promise<Omit<RunProgress, "decisions"> | null> {
    const kept = this.#kept.get(run.workflow_instance_id);
    if (kept !== undefined && kept.revision === run.revision) return kept;
    const built = await this.#build(tx, run);
    if (built?.decisions.length === 0) {
      this.forget(run.workflow_instance_id);
      this.#keep(run.workflow_instance_id, { ...built, revision: run.revision });
    }
    return built;
  }

  /** The run is over. */
  forget(runId: string): void {
    const kept = this.#kept.get(runId);
    if (kept === undefined) return;
    this.#kept.delete(runId);
    this.#tasks -= kept.size;
  }

  #keep(runId: string, entry: Omit<Entry, "size">): void {
    const { size } = entry.progress;
    this.#kept.set(runId, { ...entry, size });
    this.#tasks += size;
    for (const oldest of this.#kept.keys()) {
      if (this.#tasks <= KEPT_TASKS || oldest === runId) break;
      this.forget(oldest);
    }
  }

  async #build(tx: OperationalTx, run: RunRecord): Promise<RunProgress | null> {
    const definition = await this.#definitions.of(tx, run);
    const plan = await this.#definitions.planOf(tx, run);
    if (definition === null || plan === null) return null;
    const slices = await tx.listSlices(run.workflow_instance_id, "all");
    const bySlice = new Map(slices.map((slice) => [slice.slice, slice]));
    const over = new Map<string, TaskEnd>();
    for (const { task_id, item_key, slice, attempt, status, allowed } of await tx.listTaskEnds(
      run.workflow_instance_id,
    )) {
      const id = nodeId(task_id, item_key);
      if (!isEnding(status) || over.get(id)?.status === "COMPLETED") continue;
      const of = bySlice.get(slice);
      const isOfNewest = slice === 0 || of?.attempt === attempt;
      if (status === "COMPLETED" || (isOfNewest && (of?.state !== "LEASED" || isTold(status))))
        over.set(id, {
          status,
          isAllowed: allowed === 1,
          isUnstarted: slice === 0 && status === "FAILED",
        });
    }
    for (const [id, read] of await this.#read(tx, run, plan)) {
      const end = over.get(id);
      if (end !== undefined) over.set(id, { ...end, ...read });
    }
    const items = new Map<string, readonly ItemValue[]>();
    for (const fanOut of await this.#fanOuts(tx, run, plan)) {
      const { task_id } = fanOut;
      if (over.get(task_id)?.status === "COMPLETED") continue;
      // How it ended follows from its items.
      over.delete(task_id);
      items.set(task_id, JSON.parse(fanOut.items));
    }
    const progress = new Progress(plan, { over, facts: () => factsOf(run, definition) });
    for (const [task, values] of items)
      progress.expanded(
        task,
        values.map(({ key }) => ({ key })),
      );
    for (const { state, tasks } of slices) {
      if (state === "ASLEEP") for (const task of tasks) progress.waits(task);
      else if (state !== "OVER") progress.assigned(tasks);
    }
    if (plan.nodes.some(({ waits }) => waits !== undefined)) {
      for (const { task } of await tx.listWaits(run.workflow_instance_id)) progress.waits(task);
    }
    if (run.hooks_stopped) progress.stopHooks();
    const decisions =
      run.cancel_requested_at_ms !== null
        ? progress.stop("cancelled")
        : run.timed_out_at_ms !== null
          ? progress.stop("timed out", timeoutText(definition))
          : progress.begin();
    return { definition, plan, progress, items, decisions };
  }

  async #fanOuts(tx: OperationalTx, run: RunRecord, plan: Plan): Promise<FanOutRecord[]> {
    if (plan.nodes.every(({ fanOut }) => fanOut?.isShared !== true)) return [];
    return tx.fanOutsOf(run.workflow_instance_id);
  }

  /** What conditions are decided by: the errors and the outputs of the tasks that they read. */
  async #read(
    tx: OperationalTx,
    { workflow_instance_id: id }: RunRecord,
    { decidedBy }: Plan,
  ): Promise<ReadonlyMap<string, Pick<TaskEnd, "error" | "outputs">>> {
    const read = new Map<string, Pick<TaskEnd, "error" | "outputs">>();
    if (decidedBy.size === 0) return read;
    const totals = new Map<string, number>();
    for (const { task_id, error, items_total } of await tx.listTasks(id)) {
      if (!decidedBy.has(task_id)) continue;
      read.set(task_id, { error });
      if (items_total !== null) totals.set(task_id, items_total);
    }
    for (const [task, outputs] of await tx.outputsOf(id, [...decidedBy]))
      read.set(task, { outputs: JSON.parse(outputs) });
    const items =
      totals.size === 0 ? [] : await tx.itemOutputs(id, [...totals.keys()], Number.POSITIVE_INFINITY);
    for (const [task, of] of Map.groupBy(items, ({ task_id }) => task_id)) {
      const published = of.map((item) => ({ ...item, outputs: JSON.parse(item.outputs) }));
      for (const { item_key, outputs } of published) read.set(nodeId(task, item_key), { outputs });
      const all = published.map(({ item_index: index, outputs }) => ({ index, outputs }));
      read.set(task, { ...read.get(task), outputs: aggregate(totals.get(task) ?? 0, all) });
    }
    return read;
  }
}

/** Whether a task with this status has ended by itself: the machine is told at once, not only when its slice is over. */
export function isTold(status: RunStatus): status is "COMPLETED" | "FAILED" | "SKIPPED" {
  return status === "COMPLETED" || status === "FAILED" || status === "SKIPPED";
}
