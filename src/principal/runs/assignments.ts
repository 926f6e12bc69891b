/** Builds assignments: what an agent is sent together with a run or a slice. */
import type { RunAssignment } from "../../contract/messages.ts";
import { MAX_OUTPUTS_TOGETHER_BYTES } from "../../contract/outputs.ts";
import { CdktrError } from "../../errors.ts";
import type { Claim, OperationalTx, RunRecord, SliceRecord } from "../../storage/operational/store.ts";
import type { TaskDefinition, WorkflowDefinition } from "../../workflow/model.ts";
import { neededBy, type PlanNode } from "../../workflow/plan.ts";
import { storedSecretsOf } from "../../workflow/secrets.ts";
import type { Ending } from "../../workflow/task-state.ts";
import type { SecretStore } from "../secrets/secret-store.ts";
import type { Definitions } from "./definitions.ts";
import type { ProgressOfRuns } from "./progress-of-runs.ts";

/** The tasks can be given to no agent, now or later. */
export class UnassignableError extends CdktrError {}

type Part = Pick<RunAssignment, "workflow" | "completed_tasks" | "tasks" | "results">;
type Results = NonNullable<RunAssignment["results"]>;

/** Makes assignments. */
export class Assignments {
  readonly #definitions: Definitions;
  readonly #progress: ProgressOfRuns;
  readonly #secretVariables: () => readonly string[];
  readonly #secrets: Pick<SecretStore, "given"> | undefined;
  readonly #tasks = new WeakMap<WorkflowDefinition, ReadonlyMap<string, TaskDefinition>>();

  constructor(options: {
    definitions: Definitions;
    progress: ProgressOfRuns;
    /** Names of environment variables that hold secrets. */
    secretVariables: () => readonly string[];
    /** The store of secrets for the tasks. */
    secrets?: Pick<SecretStore, "given"> | undefined;
  }) {
    this.#definitions = options.definitions;
    this.#progress = options.progress;
    this.#secretVariables = options.secretVariables;
    this.#secrets = options.secrets;
  }

  /**
   * Part of a unit of work. Null for a run whose definition is damaged: the offer expires, and the run ends.
   * @throws UnassignableError when the results of earlier tasks are too large
   */
  async of(tx: OperationalTx, { run, slice, attempt }: Claim): Promise<RunAssignment | null> {
    const part = slice === null ? await this.#whole(tx, run) : await this.#slice(tx, run, slice);
    if (part === null) return null;
    const secret_variables = this.#secretVariables();
    const stored = storedSecretsOf(part.workflow, tasksOf(part));
    // An agent that has to confirm it is told with the confirmation to stop, before it starts anything.
    const isStopped = run.cancel_requested_at_ms !== null || run.timed_out_at_ms !== null;
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
      ...(left === null ? {} : { time_left_ms: Math.max(0, Math.round(left)) }),
      ...(attempt.lease === "HELD" && !isStopped ? { is_confirmed: true } : {}),
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
    const completed_tasks = run.tasks_done === 0 ? [] : await tx.completedTasks(run.workflow_instance_id);
    const plan = completed_tasks.length === 0 ? null : await this.#definitions.planOf(tx, run);
    const results = await completed(tx, run, stillNeeded(plan?.nodes ?? [], completed_tasks));
    return { workflow, completed_tasks, ...(Object.keys(results).length === 0 ? {} : { results }) };
  }

  /**
   * The definition is cut down to the tasks of the slice and those on which they depend: the assignments of a run with thousands of slices
   * would otherwise repeat all of it thousands of times.
   */
  async #slice(tx: OperationalTx, run: RunRecord, slice: SliceRecord): Promise<Part | null> {
    const at = await this.#progress.of(tx, run);
    if (at === null) return null;
    const all = this.#tasksOf(at.definition);
    const own = new Set(slice.tasks);
    const tasks: TaskDefinition[] = [];
    const nodes: PlanNode[] = [];
    const outside = new Map<string, TaskDefinition>();
    for (const id of slice.tasks) {
      const task = all.get(id);
      const node = at.plan.node(id);
      if (task === undefined || node === undefined) continue;
      tasks.push(task);
      nodes.push(node);
      for (const needed of neededBy(node)) {
        const definition = own.has(needed) ? undefined : all.get(needed);
        if (definition !== undefined) outside.set(needed, { ...definition, depends: [] });
      }
    }
    const ends = at.progress.results([...outside.keys(), ...slice.tasks]);
    const completed_tasks = [
      ...new Set(Object.keys(ends).filter((id) => ends[id]?.status === "COMPLETED")).union(
        await completedBefore(tx, slice),
      ),
    ];
    const results: Results = await completed(tx, run, stillNeeded(nodes, completed_tasks));
    const others = [...outside.keys()].flatMap((id) => {
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
    return {
      workflow: { ...at.definition, tasks: [...outside.values(), ...tasks] },
      completed_tasks,
      tasks: [...slice.tasks],
      results,
    };
  }

  #tasksOf(definition: WorkflowDefinition): ReadonlyMap<string, TaskDefinition> {
    const known = this.#tasks.get(definition);
    if (known !== undefined) return known;
    const tasks = new Map(definition.tasks.map((task) => [task.id, task]));
    this.#tasks.set(definition, tasks);
    return tasks;
  }
}

/** The tasks that are to be executed. */
function tasksOf({ workflow, tasks }: Part): readonly TaskDefinition[] {
  if (tasks === undefined || workflow.secrets === undefined) return workflow.tasks;
  return workflow.tasks.filter(({ id }) => tasks.includes(id));
}

/** The tasks of a slice that COMPLETED in an earlier attempt. The machine of the run need not know of those on which nothing depends. */
async function completedBefore(tx: OperationalTx, slice: SliceRecord): Promise<Set<string>> {
  if (slice.attempt === 1) return new Set();
  const tasks = await tx.listTaskEnds(slice.workflow_instance_id, slice.slice);
  return new Set(tasks.filter(({ status }) => status === "COMPLETED").map(({ task_id }) => task_id));
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
  const needed = new Set(nodes.flatMap((node) => (completed.has(node.id) ? [] : [...neededBy(node)])));
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
  const states = await tx.listTaskStates(run.workflow_instance_id);
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
      throw new UnassignableError(
        `the outputs of the tasks on which it depends are larger than ${MAX_OUTPUTS_TOGETHER_BYTES / 1024 / 1024} MiB together; pass large data on as files`,
      );
    }
    results[id] = { status: "COMPLETED", outputs: JSON.parse(outputs) };
  }
  return results;
}
