/**
 * Tasks that run another workflow as a run of its own (`!Workflow`). What is known of it is in the wait of the task, whose time says when
 * something is to be done:
 *
 *   the task begins                 due at once     the run is created, with the definition as it is then
 *   the run is under way            due at the end  of the task's timeout, if it has one
 *   the run has to be stopped       due at once     it is cancelled; from then on the wait has no time
 *
 * Each step is a unit of work of its own that {@link DueWatch} repeats until it is committed, so that a process that dies in between forgets
 * nothing, and a run is created once. The end of the run is told to the task in the commit that ends it.
 */
import type { Clock } from "../../clock.ts";
import { endOfCaller } from "../../contract/child-runs.ts";
import { errorMessage, InvalidInputError, UnprocessableError } from "../../errors.ts";
import type { ListedRun, OperationalTx, RunRecord, WaitRecord } from "../../storage/operational/store.ts";
import { formatDuration } from "../../workflow/duration.ts";
import { eventFor } from "../../workflow/expressions.ts";
import { allTasks } from "../../workflow/hooks.ts";
import type { ChildWorkflowConfig } from "../../workflow/kinds/workflow.ts";
import { DEFAULT_PRIORITY, MAX_RUN_DEPTH } from "../../workflow/limits.ts";
import type { TaskDefinition } from "../../workflow/model.ts";
import { resolveParams } from "../../workflow/params.ts";
import { RUN_TRANSITIONS } from "../../workflow/run-state.ts";
import { isTerminal } from "../../workflow/status.ts";
import { type Bundles, bundleFor, FilesChangedError, type Packed } from "../blobs/bundles.ts";
import type { PrincipalEvents } from "../principal-events.ts";
import type { Tracing } from "../telemetry/tracing.ts";
import { thereIsNoWorkflow } from "../unknown-name.ts";
import type { Definitions } from "./definitions.ts";
import type { NewRun } from "./new-run.ts";
import { OutputsMovedError, retryOf } from "./retries.ts";
import type { StoredDefinition, WorkflowSource } from "./workflow-source.ts";

/** How a task that has waited ends. */
export interface WaitEnd {
  readonly status: "COMPLETED" | "FAILED" | "CANCELLED";
  readonly error: string | null;
  /** JSON object. */
  readonly outputs?: string | null;
}

/** What the wait of such a task says, as JSON. */
interface ChildWait extends Pick<ChildWorkflowConfig, "workflow" | "params" | "wait" | "failover"> {
  readonly timeout_ms: number | null;
  /** The outputs that the task declares. */
  readonly outputs?: readonly string[] | undefined;
  /** The run, once it is created. */
  readonly child?: string;
  /** The run is to be stopped: the task ends so, unless the run ends otherwise. */
  readonly stop?: { readonly status: "FAILED" | "CANCELLED"; readonly error: string };
}

/** The wait of a task that begins. */
export function beginChildRun(
  { workflow, params, wait, failover }: ChildWorkflowConfig,
  { timeout_ms, outputs }: Pick<TaskDefinition, "timeout_ms" | "outputs">,
): string {
  return JSON.stringify({ workflow, params, wait, failover, timeout_ms, outputs } satisfies ChildWait);
}

/** How long to wait before it is looked again whether the file of a workflow is there, ms. */
const AWAITED_MS = 1000;

/** What {@link ChildRuns} needs. */
export interface ChildRunsOptions {
  readonly clock: Clock;
  readonly events: PrincipalEvents;
  readonly definitions: Definitions;
  readonly workflows: Pick<WorkflowSource, "load" | "get" | "ids" | "isAwaited" | "invalidFiles">;
  readonly bundles?: Pick<Bundles, "pack"> | undefined;
  readonly create: (tx: OperationalTx, run: NewRun) => Promise<RunRecord>;
  readonly cancel: (tx: OperationalTx, run: RunRecord) => Promise<void>;
  /** The traces of runs; by default there are none. */
  readonly tracing?: Pick<Tracing, "ofChild"> | undefined;
  /** Ends a task that waits. */
  readonly end: (tx: OperationalTx, parent: RunRecord, task: string, end: WaitEnd) => Promise<void>;
}

/** Creates runs for tasks, stops them, and tells the tasks of their ends. Its methods are parts of a unit of work, but for {@link prepare}. */
export class ChildRuns {
  readonly #o: ChildRunsOptions;
  /** The files for runs that are about to be created, by their waits. */
  readonly #packed = new Map<string, Packed>();

  constructor(options: ChildRunsOptions) {
    this.#o = options;
  }

  /** Before something is done about a wait: reads the file of its workflow, if that has not been done since the start, and packs its files. */
  async prepare(wait: WaitRecord): Promise<void> {
    const { workflow, child } = readable(wait) ?? {};
    // One that is damaged ends its run when it is due.
    if (workflow === undefined || child !== undefined) return;
    await this.#o.workflows.load(workflow);
    const packed = (await this.#o.bundles?.pack(workflow)) ?? null;
    if (packed !== null) this.#packed.set(keyOf(wait), packed);
  }

  /** Something is to be done about the run of a task. */
  async due(tx: OperationalTx, parent: RunRecord, wait: WaitRecord): Promise<void> {
    const told = JSON.parse(wait.data) as ChildWait;
    const { child: id, stop, timeout_ms } = told;
    if (id === undefined) {
      return stop === undefined
        ? this.#begin(tx, parent, wait, told)
        : this.#o.end(tx, parent, wait.task, stop);
    }
    const child = await tx.getRun(id);
    if (child === null) {
      const lost = { status: "FAILED", error: `nothing is known of its run ${id} any more` } as const;
      return this.#o.end(tx, parent, wait.task, stop ?? lost);
    }
    if (isTerminal(RUN_TRANSITIONS, child.status))
      return this.#o.end(tx, parent, wait.task, await endOf(tx, child, told));
    if (wait.due_ms === null || wait.due_ms > this.#o.clock.now()) return;
    const late = { status: "FAILED", error: `timed out after ${formatDuration(timeout_ms ?? 0)}` } as const;
    await this.#change(tx, wait, { ...told, stop: stop ?? late }, null);
    await this.#o.cancel(tx, child);
  }

  /** A run is over: the task that has started it is, too, if it waits for that. */
  async ended(tx: OperationalTx, child: RunRecord): Promise<void> {
    if (child.parent_run === null || child.parent_task === null) return;
    const wait = await tx.getWait(child.parent_run, child.parent_task);
    if (wait?.kind !== "run") return;
    const told = readable(wait);
    if (told === null) return makeDue(tx, wait, this.#o.clock.now(), this.#o.events);
    if (told.child !== child.workflow_instance_id) return;
    const parent = await tx.getRun(child.parent_run);
    if (parent === null || isTerminal(RUN_TRANSITIONS, parent.status)) return;
    await this.#o.end(tx, parent, wait.task, await endOf(tx, child, told));
  }

  async #begin(tx: OperationalTx, parent: RunRecord, wait: WaitRecord, told: ChildWait): Promise<void> {
    const { workflows } = this.#o;
    const { workflow: id, timeout_ms } = told;
    const at = this.#o.clock.now();
    const fail = (error: string) => this.#o.end(tx, parent, wait.task, { status: "FAILED", error });
    if (parent.depth >= MAX_RUN_DEPTH)
      return fail(
        `${MAX_RUN_DEPTH} runs are nested already, the most that are allowed: do workflows run each other in a circle?`,
      );
    const stored = workflows.get(id);
    if (stored === undefined) {
      if (workflows.isAwaited(id)) return this.#change(tx, wait, told, at + AWAITED_MS);
      return fail(thereIsNoWorkflow(id, workflows.ids(), workflows.invalidFiles));
    }
    const child = crypto.randomUUID();
    let fresh: NewRun;
    try {
      const packed = this.#packed.get(keyOf(wait)) ?? null;
      tx.afterCommit(() => this.#packed.delete(keyOf(wait)));
      const bundle = bundleFor(stored.definition, packed);
      // A retry has the files of the run that it repeats.
      fresh = { bundle, ...(await this.#newRun(tx, parent, wait, told, stored, child)) };
    } catch (error) {
      if (error instanceof FilesChangedError) return this.#change(tx, wait, told, at);
      const isOfFiles = error instanceof UnprocessableError && error === this.#packed.get(keyOf(wait))?.error;
      if (!(error instanceof InvalidInputError || isOfFiles)) throw error;
      return fail(errorMessage(error));
    }
    // First: it may be over as soon as it is created.
    if (told.wait)
      await this.#change(tx, wait, { ...told, child }, timeout_ms === null ? null : at + timeout_ms);
    try {
      await this.#o.create(tx, fresh);
    } catch (error) {
      // Its concurrency group has no name: nothing was written.
      if (!(error instanceof InvalidInputError)) throw error;
      return fail(errorMessage(error));
    }
    if (told.wait) return;
    const outputs = JSON.stringify({ workflow_instance_id: child });
    await this.#o.end(tx, parent, wait.task, { status: "COMPLETED", error: null, outputs });
  }

  /** The run to create: the retry of the one that the retried parent had for this task, if that is the same workflow with the same parameters. */
  async #newRun(
    tx: OperationalTx,
    parent: RunRecord,
    { task, task_instance_id }: WaitRecord,
    told: ChildWait,
    stored: StoredDefinition,
    id: string,
  ): Promise<NewRun> {
    const { definition, hash, json } = withFailover(stored, told.failover);
    const of = {
      parent_run: parent.workflow_instance_id,
      parent_task: task,
      depth: parent.depth + 1,
      traceparent: this.#o.tracing?.ofChild(parent, task_instance_id) ?? null,
      // Whoever has triggered the parent has triggered this.
      actor: parent.actor,
      trigger: "workflow",
      trigger_depth: parent.trigger_depth,
      // The parent waits for it.
      priority: Math.max(parent.priority, definition.priority ?? DEFAULT_PRIORITY),
    };
    const now = this.#o.clock.now();
    const params = resolveParams(definition, told.params, {
      workflow_instance_id: id,
      workflow_id: definition.id,
      attempt: 1,
      trigger: of.trigger,
      scheduled_time_ms: parent.scheduled_time_ms,
      created_at_ms: now,
    });
    const [before] = parent.retry_of === null ? [] : await tx.childRuns(parent.workflow_instance_id, [task]);
    const given = Object.fromEntries(Object.keys(told.params).map((name) => [name, params[name]]));
    const again = before === undefined ? null : await this.#retryOf(tx, before, hash, given, id);
    if (again !== null) return { ...again, ...of };
    return {
      ...of,
      workflow_instance_id: id,
      workflow_id: definition.id,
      workflow_name: definition.name,
      definition_hash: hash,
      definition: json,
      params,
      event: eventFor(definition, undefined),
      scheduled_time_ms: parent.scheduled_time_ms,
      retry_of: null,
      tasks_total: allTasks(definition).length,
      carried: [],
    };
  }

  async #retryOf(
    tx: OperationalTx,
    { workflow_instance_id, status, definition_hash }: ListedRun,
    hash: string,
    given: Readonly<Record<string, string | undefined>>,
    id: string,
  ): Promise<NewRun | null> {
    if (!isTerminal(RUN_TRANSITIONS, status) || status === "COMPLETED" || definition_hash !== hash)
      return null;
    const before = await tx.getRun(workflow_instance_id);
    if (
      before === null ||
      before.damage !== undefined ||
      Object.entries(given).some(([name, value]) => before.params[name] !== value)
    )
      return null;
    try {
      const now = this.#o.clock.now();
      const again = await retryOf(tx, this.#o.definitions, before, { from_start: false }, { id, now });
      return again?.run ?? null;
    } catch (error) {
      // What it needs is only in the history: it runs from its beginning.
      if (error instanceof OutputsMovedError || error instanceof UnprocessableError) return null;
      throw error;
    }
  }

  #change(tx: OperationalTx, wait: WaitRecord, to: ChildWait, due_ms: number | null): Promise<void> {
    return changeWait(tx, wait, to, due_ms, this.#o.events);
  }
}

/**
 * The run of a task is to be stopped: not by this unit of work, because its end changes the run of the task.
 * @param at ms since the epoch
 */
export async function stopChildRun(
  tx: OperationalTx,
  { workflow_instance_id }: RunRecord,
  task: string,
  stop: NonNullable<ChildWait["stop"]>,
  at: number,
  events: PrincipalEvents,
): Promise<void> {
  const wait = await tx.getWait(workflow_instance_id, task);
  if (wait?.kind !== "run") return;
  const told = readable(wait);
  if (told === null) await makeDue(tx, wait, at, events);
  else if (told.stop === undefined) await changeWait(tx, wait, { ...told, stop }, at, events);
}

/** What a wait says; null if that is damaged. */
function readable({ data }: WaitRecord): ChildWait | null {
  try {
    return JSON.parse(data) as ChildWait;
  } catch {
    return null;
  }
}

/** A wait is damaged: its run ends when it is due, and not in a unit of work that is about other runs. */
function makeDue(
  tx: OperationalTx,
  { workflow_instance_id, task, data }: WaitRecord,
  due_ms: number,
  events: PrincipalEvents,
): Promise<void> {
  tx.afterCommit(() => events.emit("wait added", due_ms));
  return tx.changeWait({ workflow_instance_id, task, due_ms, data });
}

async function changeWait(
  tx: OperationalTx,
  { workflow_instance_id, task }: WaitRecord,
  to: ChildWait,
  due_ms: number | null,
  events: PrincipalEvents,
): Promise<void> {
  await tx.changeWait({ workflow_instance_id, task, due_ms, data: JSON.stringify(to) });
  if (due_ms !== null) tx.afterCommit(() => events.emit("wait added", due_ms));
}

function keyOf({ workflow_instance_id, task }: WaitRecord): string {
  return `${workflow_instance_id} ${task}`;
}

/** How a task ends whose run is over. */
async function endOf(
  tx: OperationalTx,
  child: RunRecord,
  { stop, outputs: declared }: ChildWait,
): Promise<WaitEnd> {
  const outputs = child.outputs === null ? {} : (JSON.parse(child.outputs) as object);
  const tasks = child.status === "FAILED" ? await tx.listTasks(child.workflow_instance_id) : [];
  const ended = {
    ...child,
    outputs,
    tasks: tasks.map((task) => ({ ...task, is_allowed: task.allowed === 1 })),
  };
  const end = endOfCaller(ended, declared, stop);
  return end.status === "COMPLETED" ? { ...end, outputs: child.outputs } : end;
}

/** A definition with another failover. */
function withFailover(stored: StoredDefinition, failover: ChildWait["failover"]): StoredDefinition {
  if (failover === undefined || failover === stored.definition.failover) return stored;
  const definition = { ...stored.definition, failover };
  const json = JSON.stringify(definition);
  return { definition, json, hash: new Bun.CryptoHasher("sha256").update(json).digest("hex") };
}
