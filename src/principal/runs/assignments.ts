/** Builds assignments: what an agent is sent together with a run or a slice. */
import type { Blob, ItemResult, RunAssignment } from "../../contract/messages.ts";
import { MAX_OUTPUTS_TOGETHER_BYTES, type Outputs } from "../../contract/outputs.ts";
import { CdktrError } from "../../errors.ts";
import type {
  AttemptRecord,
  Claim,
  ItemOutputs,
  OperationalTx,
  RunRecord,
  SliceRecord,
} from "../../storage/operational/store.ts";
import { withoutItems } from "../../workflow/fan-out.ts";
import { allTasks } from "../../workflow/hooks.ts";
import { nodeId } from "../../workflow/item-id.ts";
import type { TaskDefinition, WorkflowDefinition } from "../../workflow/model.ts";
import { knownOutside, neededByAll, type Plan, type PlanNode } from "../../workflow/plan.ts";
import type { Progress } from "../../workflow/progress.ts";
import { storedSecretsOf } from "../../workflow/secrets.ts";
import { isPoll } from "../../workflow/slices.ts";
import type { Ending } from "../../workflow/task-state.ts";
import type { SecretStore } from "../secrets/secret-store.ts";
import type { Tracing } from "../telemetry/tracing.ts";
import type { Definitions } from "./definitions.ts";
import type { ProgressOfRuns, RunProgress } from "./progress-of-runs.ts";
import { stopOf } from "./stopped.ts";

/** The tasks can be given to no agent, now or later. */
export class UnassignableError extends CdktrError {}

type Part = Pick<
  RunAssignment,
  | "workflow"
  | "completed_tasks"
  | "tasks"
  | "results"
  | "items"
  | "item_results"
  | "run"
  | "continues"
  | "run_attempt"
>;
type ItemResults = NonNullable<RunAssignment["item_results"]>;
type Results = NonNullable<RunAssignment["results"]>;

/** Makes assignments. */
export class Assignments {
  readonly #definitions: Definitions;
  readonly #progress: ProgressOfRuns;
  readonly #secretVariables: () => readonly string[];
  readonly #secrets: Pick<SecretStore, "given"> | undefined;
  readonly #tracing: Pick<Tracing, "forTasks"> | undefined;
  readonly #tasks = new WeakMap<WorkflowDefinition, ReadonlyMap<string, TaskDefinition>>();

  constructor(options: {
    definitions: Definitions;
    progress: ProgressOfRuns;
    /** Names of environment variables that hold secrets. */
    secretVariables: () => readonly string[];
    /** The store of secrets for the tasks. */
    secrets?: Pick<SecretStore, "given"> | undefined;
    /** The traces of runs; by default there are none. */
    tracing?: Pick<Tracing, "forTasks"> | undefined;
  }) {
    this.#definitions = options.definitions;
    this.#progress = options.progress;
    this.#secretVariables = options.secretVariables;
    this.#secrets = options.secrets;
    this.#tracing = options.tracing;
  }

  /**
   * Part of a unit of work. Null for a run whose definition is damaged: the offer expires, and the run ends.
   * @throws UnassignableError when the results of earlier tasks are too large, or what is stored is damaged
   */
  async of(tx: OperationalTx, { run, slice, attempt }: Claim): Promise<RunAssignment | null> {
    const damage = run.damage ?? slice?.damage;
    if (damage !== undefined) throw new UnassignableError(damage);
    const part = slice === null ? await this.#whole(tx, run) : await this.#slice(tx, run, slice, attempt);
    if (part === null) return null;
    const secret_variables = this.#secretVariables();
    const stored = storedSecretsOf(part.workflow, tasksOf(part));
    // An agent that has to confirm it is told with the confirmation to stop, before it starts anything.
    const isStopped = stopOf(run, slice?.is_hook) !== null;
    const trace = this.#tracing?.forTasks(run);
    const left = slice === null && attempt.attempt > 1 ? await tx.timeLeft(run) : null;
    return {
      workflow_id: run.workflow_id,
      workflow_instance_id: run.workflow_instance_id,
      slice: attempt.slice,
      attempt: attempt.attempt,
      trigger: run.trigger,
      scheduled_time_ms: run.scheduled_time_ms,
      created_at_ms: run.created_at_ms,
      params: { ...run.params },
      ...(run.event === null ? {} : { event: run.event }),
      ...part,
      ...(part.workflow.files === undefined ? {} : { bundle: await bundleOf(tx, run) }),
      ...(left === null ? {} : { time_left_ms: Math.max(0, Math.round(left)) }),
      ...(attempt.lease === "HELD" && !isStopped ? { is_confirmed: true } : {}),
      ...(trace === undefined ? {} : { trace }),
      ...(secret_variables.length === 0 ? {} : { secret_variables: [...secret_variables] }),
      ...(stored.length === 0 || this.#secrets === undefined
        ? {}
        : { stored_secrets: await this.#secrets.given(tx, stored) }),
    };
  }

  async #whole(tx: OperationalTx, run: RunRecord): Promise<Part | null> {
    const workflow = await this.#definitions.of(tx, run);
    if (workflow === null) return null;
    // The usual case: nothing of it has ended yet.
    const plan = await this.#definitions.planOf(tx, run);
    const nodes = plan?.nodes ?? [];
    const isFresh =
      run.tasks_done === 0 && (!plan?.hasFanOuts || (run.attempt === 1 && run.retry_of === null));
    const completed_tasks = isFresh ? [] : await tx.completedTasks(run.workflow_instance_id);
    const needed = stillNeeded(nodes, completed_tasks);
    const results = await completed(tx, run, needed);
    const item_results =
      isFresh || !plan?.hasFanOuts
        ? {}
        : await this.#itemsOf(tx, run, nodes, completed_tasks, needed, results);
    return {
      workflow,
      completed_tasks,
      ...(await artifactsFor(tx, run, needed)),
      ...(Object.keys(results).length === 0 ? {} : { results }),
      ...(Object.keys(item_results).length === 0 ? {} : { item_results }),
    };
  }

  /**
   * The definition is cut down to the tasks of the slice and those on which they depend: the assignments of a run with thousands of slices
   * would otherwise repeat all of it thousands of times. For the agent, hooks are tasks like others.
   */
  async #slice(
    tx: OperationalTx,
    run: RunRecord,
    slice: SliceRecord,
    attempt: AttemptRecord,
  ): Promise<Part | null> {
    const at = await this.#progress.of(tx, run);
    if (at === null) return null;
    const all = this.#tasksOf(at.definition);
    const { ids, items } = partsOf(slice, at);
    const own = new Set(ids);
    const tasks: TaskDefinition[] = [];
    const nodes: PlanNode[] = [];
    for (const id of ids) {
      const task = all.get(id);
      const node = at.plan.node(id);
      if (task === undefined || node === undefined) continue;
      const decided = withoutDecisions(task, node);
      tasks.push(items[id] === undefined ? decided : { ...withoutItems(decided), foreach: [] });
      nodes.push(node);
    }
    const outside = new Set([...neededByAll(nodes)].filter((id) => !own.has(id) && all.has(id)));
    const ends = at.progress.results([...outside, ...ids]);
    const completed_tasks = [
      ...new Set(Object.keys(ends).filter((id) => ends[id]?.status === "COMPLETED")).union(
        await completedBefore(tx, slice),
      ),
    ];
    const needed = stillNeeded(nodes, completed_tasks);
    const results: Results = await completed(tx, run, needed);
    const others = [...outside].flatMap((id) => {
      const end = ends[id];
      return end === undefined || results[id] !== undefined ? [] : [{ id, ...end }];
    });
    const errors = await errorsOf(tx, run, nodes, others);
    for (const { id, status, isAllowed } of others) {
      const error = errors.get(id) ?? null;
      results[id] = {
        status,
        outputs: null,
        ...(error === null ? {} : { error }),
        ...(isAllowed ? { is_allowed: true } : {}),
      };
    }
    const read = [...outside].filter((id) => at.plan.node(id)?.fanOut !== undefined);
    const item_results = at.plan.hasFanOuts
      ? {
          ...(await this.#itemsOf(tx, run, nodes, completed_tasks, [...needed, ...read], results)),
          ...(await itemsBefore(tx, slice, items)),
        }
      : {};
    const { hooks: _, ...workflow } = at.definition;
    return {
      workflow: { ...workflow, tasks: [...knownOutside(at.plan, outside, (id) => all.get(id)), ...tasks] },
      completed_tasks,
      tasks: [...ids],
      results,
      ...(await artifactsFor(tx, run, [...needed, ...read])),
      ...(Object.keys(items).length === 0 ? {} : { items }),
      ...(Object.keys(item_results).length === 0 ? {} : { item_results }),
      ...(slice.is_hook ? outcomeOf(at.progress) : {}),
      ...(slice.attempt > 1 ? await this.#continued(tx, at.plan, run, slice, attempt) : {}),
    };
  }

  /** What has happened so far of a task that polls, and that goes on with its next try. */
  async #continued(
    tx: OperationalTx,
    plan: Plan,
    run: RunRecord,
    slice: SliceRecord,
    { assigned_at_ms: now }: AttemptRecord,
  ): Promise<Pick<Part, "continues" | "run_attempt">> {
    if (!isPoll(plan, slice)) return {};
    const run_attempt = run.attempt;
    const tasks = await tx.listOpenTasks(slice.workflow_instance_id, slice.slice);
    const going = tasks.filter(({ status, attempt }) => status === "WAITING" && attempt === slice.attempt);
    if (going.length === 0) return { run_attempt };
    return {
      run_attempt,
      continues: Object.fromEntries(
        going.map(({ task_id, task_instance_id, task_attempt, started_at_ms }) => [
          task_id,
          { task_instance_id, task_attempt, elapsed_ms: Math.max(0, now - (started_at_ms ?? now)) },
        ]),
      ),
    };
  }

  /**
   * What is known of items: of the fan-outs whose results are needed what they published, and of those that an agent has to finish the items
   * that COMPLETED. Tells in the results of the former how many items they have.
   * @throws UnassignableError when that is too large
   */
  async #itemsOf(
    tx: OperationalTx,
    run: RunRecord,
    nodes: readonly PlanNode[],
    completedTasks: readonly string[],
    needed: readonly string[],
    results: Results,
  ): Promise<ItemResults> {
    const { workflow_instance_id: id } = run;
    const rows = (await tx.listTasks(id)).filter(({ items_total }) => items_total !== null);
    const totals = new Map(rows.map(({ task_id, items_total }) => [task_id, items_total ?? 0]));
    const readOf = needed.filter((task) => totals.has(task));
    for (const task of readOf) {
      const known = results[task] ?? { status: "COMPLETED", outputs: null };
      results[task] = { ...known, items_total: totals.get(task) ?? 0 };
    }
    const over = new Set(completedTasks);
    const begun = nodes
      .filter((node) => node.fanOut !== undefined && node.fanOut.isShared !== true && !over.has(node.id))
      .map((node) => node.id)
      // Of the run that a retry repeats it has the items only.
      .filter((task) => totals.has(task) || run.retry_of !== null);
    const found = new Map([...readOf, ...begun].map((task) => [task, new Map<number, ItemResult>()]));
    for (const item of begun.length === 0 ? [] : await tx.completedItems(id)) {
      if (begun.includes(item.task_id)) found.get(item.task_id)?.set(item.item_index, resultOf(item, null));
    }
    let bytes = 0;
    const published = await tx.itemOutputs(id, [...found.keys()], MAX_OUTPUTS_TOGETHER_BYTES);
    for (const { outputs, ...item } of published) {
      bytes += Buffer.byteLength(outputs);
      if (bytes > MAX_OUTPUTS_TOGETHER_BYTES) throw tooLarge();
      found.get(item.task_id)?.set(item.item_index, resultOf(item, JSON.parse(outputs)));
    }
    return Object.fromEntries(
      [...found].flatMap(([task, items]) => (items.size === 0 ? [] : [[task, [...items.values()]]])),
    );
  }

  #tasksOf(definition: WorkflowDefinition): ReadonlyMap<string, TaskDefinition> {
    const known = this.#tasks.get(definition);
    if (known !== undefined) return known;
    const tasks = new Map(allTasks(definition).map((task) => [task.id, task]));
    this.#tasks.set(definition, tasks);
    return tasks;
  }
}

/** A task without what the principal has decided about it, from what the agent does not know. */
function withoutDecisions(task: TaskDefinition, { isPlaced, readsAgents }: PlanNode): TaskDefinition {
  if (isPlaced !== true && readsAgents !== true) return task;
  const { runs_on: _, when, ...rest } = task;
  return readsAgents === true || when === undefined ? rest : { ...rest, when };
}

/** What these tasks of a run have left as files, and their items. */
async function artifactsFor(
  tx: OperationalTx,
  { workflow_instance_id }: RunRecord,
  tasks: readonly string[],
): Promise<Pick<RunAssignment, "artifacts">> {
  if (tasks.length === 0) return {};
  const artifacts = await tx.archivesOf(workflow_instance_id, tasks);
  return artifacts.length === 0 ? {} : { artifacts };
}

/** The files of the workflow of a run. @throws UnassignableError */
async function bundleOf(tx: OperationalTx, { workflow_instance_id }: RunRecord): Promise<Blob> {
  const bundle = await tx.referredBlob(workflow_instance_id, "bundle", "");
  if (bundle === null) throw new UnassignableError("the files of its workflow are not kept (any more)");
  return bundle;
}

/** The tasks that are to be executed. */
function tasksOf({ workflow, tasks }: Part): readonly TaskDefinition[] {
  if (tasks === undefined || workflow.secrets === undefined) return workflow.tasks;
  return workflow.tasks.filter(({ id }) => tasks.includes(id));
}

/** How the tasks of a run have ended, for its hooks. */
function outcomeOf({ outcome }: Progress): Pick<Part, "run"> {
  if (outcome === null) return {};
  const { status, error, failed } = outcome;
  return { run: { status, error, failed_tasks: [...failed] } };
}

/** The tasks of a slice that COMPLETED in an earlier attempt. The machine of the run need not know of those on which nothing depends. */
async function completedBefore(tx: OperationalTx, slice: SliceRecord): Promise<Set<string>> {
  if (slice.attempt === 1) return new Set();
  const tasks = await tx.listTaskEnds(slice.workflow_instance_id, slice.slice);
  return new Set(
    tasks
      .filter(({ status, item_key }) => status === "COMPLETED" && item_key === null)
      .map(({ task_id }) => task_id),
  );
}

function tooLarge(): UnassignableError {
  return new UnassignableError(
    `the outputs of the tasks on which it depends are larger than ${MAX_OUTPUTS_TOGETHER_BYTES / 1024 / 1024} MiB together; pass large data on as files`,
  );
}

type Items = NonNullable<RunAssignment["items"]>;

/** The tasks of a slice, and the items of fan-outs of which it has some. */
function partsOf(
  { tasks }: SliceRecord,
  { progress, items: values }: Pick<RunProgress, "progress" | "items">,
): { readonly ids: ReadonlySet<string>; readonly items: Items } {
  const ids = new Set<string>();
  const items: Items = {};
  for (const id of tasks) {
    const item = progress.node(id)?.item;
    ids.add(item?.task ?? id);
    // What has ended meanwhile, because another item has failed, is not executed.
    if (item === undefined || (progress.status(id) !== "assigned" && progress.status(id) !== "COMPLETED"))
      continue;
    items[item.task] ??= [];
    items[item.task]?.push({
      key: item.key,
      index: item.index,
      value: values.get(item.task)?.[item.index]?.value,
    });
  }
  return { ids, items };
}

/** The items of a slice that COMPLETED in an earlier attempt; nothing in the slice reads their results. */
async function itemsBefore(tx: OperationalTx, slice: SliceRecord, items: Items): Promise<ItemResults> {
  const found: ItemResults = {};
  if (slice.attempt === 1) return found;
  const ends = await tx.listTaskEnds(slice.workflow_instance_id, slice.slice);
  const completed = new Set(
    ends.flatMap(({ task_id, item_key, status }) =>
      status === "COMPLETED" ? [nodeId(task_id, item_key)] : [],
    ),
  );
  for (const [task, own] of Object.entries(items)) {
    const over = own.filter(({ key }) => completed.has(nodeId(task, key)));
    if (over.length > 0)
      found[task] = over.map(({ key, index }) => ({ key, index, status: "COMPLETED", outputs: null }));
  }
  return found;
}

function resultOf(
  { item_key: key, item_index: index }: Pick<ItemOutputs, "item_key" | "item_index">,
  outputs: Outputs | null,
): ItemResult {
  return { key, index, status: "COMPLETED", outputs };
}

/**
 * The completed tasks whose results one of these needs that has yet to run.
 * @param also tasks whose results are needed in any case
 */
export function stillNeeded(
  nodes: readonly PlanNode[],
  completedTasks: readonly string[],
  also: ReadonlySet<string> = new Set(),
): string[] {
  if (completedTasks.length === 0) return [];
  const completed = new Set(completedTasks);
  const needed = neededByAll(nodes.filter(({ id }) => !completed.has(id)));
  return completedTasks.filter((id) => needed.has(id) || also.has(id));
}

/** Why those of these tasks did not complete that expressions of these nodes read. */
async function errorsOf(
  tx: OperationalTx,
  run: RunRecord,
  nodes: readonly PlanNode[],
  tasks: readonly { readonly id: string; readonly status: Ending }[],
): Promise<ReadonlyMap<string, string | null>> {
  const read = new Set(nodes.flatMap(({ reads = [] }) => [...reads]));
  const wanted = new Set(
    tasks.filter(({ id, status }) => status !== "COMPLETED" && read.has(id)).map(({ id }) => id),
  );
  if (wanted.size === 0) return new Map();
  const states = await tx.listTasks(run.workflow_instance_id);
  return new Map(
    states.filter(({ task_id }) => wanted.has(task_id)).map(({ task_id, error }) => [task_id, error]),
  );
}

/** The results of tasks that COMPLETED and published something. */
async function completed(tx: OperationalTx, run: RunRecord, tasks: readonly string[]): Promise<Results> {
  const results: Results = {};
  let bytes = 0;
  for (const [id, outputs] of await tx.outputsOf(run.workflow_instance_id, tasks)) {
    bytes += Buffer.byteLength(outputs);
    if (bytes > MAX_OUTPUTS_TOGETHER_BYTES) {
      throw tooLarge();
    }
    results[id] = { status: "COMPLETED", outputs: JSON.parse(outputs) };
  }
  return results;
}
