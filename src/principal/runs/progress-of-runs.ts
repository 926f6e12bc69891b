/**
 * How far split runs have got: the machine of workflow/progress.ts for each of them, kept in memory. A machine carries the `revision` of
 * the run that it was last changed with. After a unit of work that was undone or repeated, the stored run has another revision; the machine
 * is then built again from the stored slices and task runs.
 *
 * The end of a task counts at once: what depends on it starts or is skipped although its slice goes on. If the slice is lost then, and
 * another agent gets it as its next attempt, only tasks that COMPLETED stay over ({@link Progress.released}).
 */
import { MAX_OUTPUTS_TOGETHER_BYTES } from "../../contract/outputs.ts";
import type { FanOutRecord, OperationalTx, RunRecord } from "../../storage/operational/store.ts";
import { type Decision, type Item, type TaskEnd, timeoutText } from "../../workflow/decisions.ts";
import { aggregate, type ItemValue } from "../../workflow/fan-out.ts";
import { nodeId } from "../../workflow/item-id.ts";
import type { WorkflowDefinition } from "../../workflow/model.ts";
import { type Placement, placementOfItem } from "../../workflow/placement.ts";
import type { Plan } from "../../workflow/plan.ts";
import { Progress } from "../../workflow/progress.ts";
import { type AgentFacts, factsOf, type RunFacts } from "../../workflow/run-facts.ts";
import type { RunStatus } from "../../workflow/status.ts";
import { isEnding } from "../../workflow/task-state.ts";
import type { Definitions } from "./definitions.ts";
import { faultOfResult } from "./run-outputs.ts";
import { stopOf } from "./stopped.ts";

/** How far a run has got. */
export interface RunProgress {
  readonly definition: WorkflowDefinition;
  readonly plan: Plan;
  readonly progress: Progress;
  /** The items of fan-outs that the principal has computed. */
  readonly items: Map<string, readonly ItemValue[]>;
  /** Where ready tasks may run whose labels have expressions. */
  readonly placements: Map<string, Placement>;
  /** The agents that are up, if something is decided by them; as of the unit of work. */
  readonly agents: { up?: readonly AgentFacts[] };
  /** What tasks that decisions read have published. */
  readonly published: { bytes: number };
  /** What the machine decided when it was built, and nobody has carried out. */
  readonly decisions: readonly Decision[];
}

interface Entry extends Omit<RunProgress, "decisions"> {
  revision: number;
  /** Number of tasks and items when it was kept. */
  size: number;
  /** Size of the outputs in it when it was kept, bytes as JSON. */
  bytes: number;
}

/** Maximum number of tasks and items in the machines that are kept. */
const KEPT_TASKS = 50_000;
/** The most outputs in the machines that are kept, bytes as JSON. */
const KEPT_BYTES = 8 * MAX_OUTPUTS_TOGETHER_BYTES;

const LEFT_OUT = `the outputs that conditions and lists of this run may read have more than ${MAX_OUTPUTS_TOGETHER_BYTES / 1024 / 1024} MiB together; pass large data on as files`;

/** Keeps the machines of runs. */
export class ProgressOfRuns {
  readonly #definitions: Definitions;
  /** By run; those used last are at the end. */
  readonly #kept = new Map<string, Entry>();
  #tasks = 0;
  #bytes = 0;
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
   * Null when the run's definition cannot be executed, or what is stored of the run is damaged.
   */
  async change(tx: OperationalTx, run: RunRecord): Promise<{ run: RunRecord; at: RunProgress } | null> {
    const { workflow_instance_id: id } = run;
    if (run.damage !== undefined) return null;
    const kept = this.#kept.get(id);
    const isCurrent = kept !== undefined && kept.revision === run.revision;
    const built = isCurrent ? { ...kept, decisions: [] } : await this.#build(tx, run);
    if (built === null) return null;
    const { decisions, definition, plan, progress, items, placements, agents, published } = built;
    if (plan.readsAgents) agents.up = await agentsUp(tx);
    const revision = this.newRevision(run.revision);
    this.forget(id);
    this.#keep(id, { definition, plan, progress, items, placements, agents, published, revision });
    return {
      run: await tx.reviseRun(run, revision),
      at: { definition, plan, progress, items, placements, agents, published, decisions },
    };
  }

  /** How far a run has got. Part of a unit of work. Null when the run's definition cannot be executed. */
  async of(tx: OperationalTx, run: RunRecord): Promise<Omit<RunProgress, "decisions"> | null> {
    if (run.damage !== undefined) return null;
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
    this.#bytes -= kept.bytes;
  }

  #keep(runId: string, entry: Omit<Entry, "size" | "bytes">): void {
    const { size } = entry.progress;
    const bytes = isWithin(entry.published) ? entry.published.bytes : 0;
    this.#kept.set(runId, { ...entry, size, bytes });
    this.#tasks += size;
    this.#bytes += bytes;
    for (const oldest of this.#kept.keys()) {
      if ((this.#tasks <= KEPT_TASKS && this.#bytes <= KEPT_BYTES) || oldest === runId) break;
      this.forget(oldest);
    }
  }

  async #build(tx: OperationalTx, run: RunRecord): Promise<RunProgress | null> {
    try {
      return await this.#fromStore(tx, run);
    } catch (error) {
      // JSON that is none, which affects only this run.
      if (error instanceof SyntaxError) return null;
      throw error;
    }
  }

  async #fromStore(tx: OperationalTx, run: RunRecord): Promise<RunProgress | null> {
    const definition = await this.#definitions.of(tx, run);
    const plan = await this.#definitions.planOf(tx, run);
    if (definition === null || plan === null) return null;
    const slices = await tx.listSlices(run.workflow_instance_id, "all");
    if (slices.some(({ damage }) => damage !== undefined)) return null;
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
    const { read, bytes } = await this.#read(tx, run, plan);
    const published = { bytes };
    for (const [id, known] of read) {
      const end = over.get(id);
      if (end !== undefined) over.set(id, { ...end, ...known });
    }
    const items = new Map<string, readonly ItemValue[]>();
    for (const fanOut of await this.#fanOuts(tx, run, plan)) {
      const { task_id } = fanOut;
      if (over.get(task_id)?.status === "COMPLETED") continue;
      // How it ended follows from its items.
      over.delete(task_id);
      items.set(task_id, JSON.parse(fanOut.items));
    }
    const agents: RunProgress["agents"] = plan.readsAgents ? { up: await agentsUp(tx) } : {};
    const facts = (): RunFacts => ({
      ...factsOf(run, definition),
      // Conditions are asked while the run goes on.
      get agents() {
        return agents.up;
      },
    });
    const progress = new Progress(plan, { over, facts, concludes: concludes(plan, definition) });
    if (!isWithin(published)) progress.leaveOutOutputs(LEFT_OUT);
    for (const [task, values] of items) progress.expanded(task, machineItems(definition, values));
    for (const { state, tasks } of slices) {
      if (state === "ASLEEP") for (const task of tasks) progress.waits(task);
      else if (state !== "OVER") progress.assigned(tasks);
    }
    if (plan.nodes.some(({ waits }) => waits !== undefined)) {
      for (const { task } of await tx.listWaits(run.workflow_instance_id)) progress.waits(task);
    }
    if (run.hooks_stopped) progress.stopHooks();
    const stop = stopOf(run);
    const first =
      stop === null
        ? progress.begin()
        : progress.stop(stop, stop === "timed out" ? timeoutText(definition) : null);
    const isConcluded = first.some(({ kind }) => kind === "conclude");
    const decisions = isConcluded
      ? [
          ...first.filter(({ kind }) => kind !== "conclude"),
          ...progress.concluded(await faultOfResult(tx, run, definition)),
        ]
      : first;
    return { definition, plan, progress, items, placements: new Map(), agents, published, decisions };
  }

  async #fanOuts(tx: OperationalTx, run: RunRecord, plan: Plan): Promise<FanOutRecord[]> {
    if (plan.nodes.every(({ fanOut }) => fanOut?.isShared !== true)) return [];
    return tx.fanOutsOf(run.workflow_instance_id);
  }

  /** What conditions are decided by: the errors and the outputs of the tasks that they read, and the size of the outputs. */
  async #read(
    tx: OperationalTx,
    { workflow_instance_id: id }: RunRecord,
    { decidedBy }: Plan,
  ): Promise<{ readonly read: ReadonlyMap<string, Read>; readonly bytes: number }> {
    const read = new Map<string, Read>();
    if (decidedBy.size === 0) return { read, bytes: 0 };
    const totals = new Map<string, number>();
    for (const { task_id, error, items_total } of await tx.listTasks(id)) {
      if (!decidedBy.has(task_id)) continue;
      read.set(task_id, { error });
      if (items_total !== null) totals.set(task_id, items_total);
    }
    const published = { bytes: 0 };
    for (const task of decidedBy) {
      const outputs = (await tx.outputsOf(id, [task])).get(task);
      if (outputs === undefined) continue;
      published.bytes += Buffer.byteLength(outputs);
      read.set(task, isWithin(published) ? { outputs: JSON.parse(outputs) } : { leftOut: LEFT_OUT });
    }
    for (const [task, total] of totals) {
      const most = Math.max(0, MAX_OUTPUTS_TOGETHER_BYTES - published.bytes);
      const items = await tx.itemOutputs(id, [task], most);
      for (const { outputs } of items) published.bytes += Buffer.byteLength(outputs);
      if (items.length === 0) continue;
      if (isWithin(published)) {
        const parsed = items.map((item) => ({ ...item, outputs: JSON.parse(item.outputs) }));
        for (const { item_key, outputs } of parsed) read.set(nodeId(task, item_key), { outputs });
        const all = parsed.map(({ item_index: index, outputs }) => ({ index, outputs }));
        read.set(task, { ...read.get(task), outputs: aggregate(total, all) });
        continue;
      }
      // Some of them have published something: what all have is left out.
      read.set(task, { ...read.get(task), leftOut: LEFT_OUT });
      for (const { item_key } of items) read.set(nodeId(task, item_key), { leftOut: LEFT_OUT });
    }
    return { read, bytes: published.bytes };
  }
}

/** The agents that get work, in the order of their ids. */
async function agentsUp(tx: OperationalTx): Promise<AgentFacts[]> {
  const agents = (await tx.listAgents()).filter(({ status }) => status === "UP");
  const facts = agents.map(({ agent_id: id, host, labels }) => ({ id, host, labels }));
  return facts.sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** The items of a fan-out for the machine. */
export function machineItems(definition: WorkflowDefinition, items: readonly ItemValue[]): Item[] {
  return items.map((item) => {
    const placement = placementOfItem(definition, item);
    return placement === undefined ? { key: item.key } : { key: item.key, placement };
  });
}

/** What decisions read of the end of a task. */
type Read = Pick<TaskEnd, "error" | "outputs" | "leftOut">;

function isWithin({ bytes }: RunProgress["published"]): boolean {
  return bytes <= MAX_OUTPUTS_TOGETHER_BYTES;
}

/** Whether hooks have to know first whether the outputs of the workflow can be computed. */
function concludes(plan: Plan, { outputs }: WorkflowDefinition): boolean {
  return plan.hasHooks && outputs !== undefined;
}

/** Counts outputs that the machine of a run is about to be told. If all are too large, it keeps none of them. @param bytes as JSON */
export function keepWithin({ published, progress }: RunProgress, bytes: number): void {
  const wasWithin = isWithin(published);
  published.bytes += bytes;
  if (wasWithin && !isWithin(published)) progress.leaveOutOutputs(LEFT_OUT);
}

/** What the items of a fan-out have published, all of them over; as far as it may be kept. Part of a unit of work. */
export async function publishedByItems(
  tx: OperationalTx,
  { workflow_instance_id: id }: RunRecord,
  task: string,
): Promise<TaskEnd["outputs"]> {
  const row = (await tx.listTasks(id)).findLast(({ task_id }) => task_id === task);
  const items = await tx.itemOutputs(id, [task], MAX_OUTPUTS_TOGETHER_BYTES);
  try {
    const parsed = items.map(({ item_index: index, outputs }) => ({ index, outputs: JSON.parse(outputs) }));
    return aggregate(row?.items_total ?? 0, parsed);
  } catch {
    // Damaged: who reads it is told that there is nothing.
    return null;
  }
}

/** Whether a task with this status has ended by itself: the machine is told at once, not only when its slice is over. */
export function isTold(status: RunStatus): status is "COMPLETED" | "FAILED" | "SKIPPED" {
  return status === "COMPLETED" || status === "FAILED" || status === "SKIPPED";
}
