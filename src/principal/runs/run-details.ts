/** What clients are told of a run and of its tasks. */
import type {
  ItemCounts,
  RunAttempt,
  RunDetails,
  RunSummary,
  TaskRunSummary,
} from "../../contract/messages.ts";
import { MAX_OUTPUTS_TOGETHER_BYTES } from "../../contract/outputs.ts";
import { tookMs } from "../../contract/took.ts";
import { UnprocessableError } from "../../errors.ts";
import { groupName } from "../../storage/operational/records.ts";
import type {
  AttemptRecord,
  ListedRun,
  MovedOutputs,
  OperationalTx,
  RunRecord,
  SliceRecord,
  TaskRunState,
} from "../../storage/operational/store.ts";
import { aggregate } from "../../workflow/fan-out.ts";
import { allTasks, isHook } from "../../workflow/hooks.ts";
import { nodeId } from "../../workflow/item-id.ts";
import { factsOf } from "../../workflow/kinds/index.ts";
import { DEFAULT_PRIORITY } from "../../workflow/limits.ts";
import type { RetryPolicy, WorkflowDefinition } from "../../workflow/model.ts";
import { retryDelayMs } from "../../workflow/retry.ts";
import { RUN_TRANSITIONS, toldStatus } from "../../workflow/run-state.ts";
import { isTerminal, type RunStatus } from "../../workflow/status.ts";
import { expectationsOfRun } from "../alerts/expectation-views.ts";
import { nameOf } from "./attempt-name.ts";
import type { Definitions } from "./definitions.ts";
import { approvalsOf } from "./questions.ts";
import type { OldRuns } from "./run-finder.ts";
import { isBeforeStart, isForAgent, isForPool, isHold, named, type Waits } from "./waits.ts";

/** All that is known of a run, without what its tasks published. Part of a unit of work. */
export async function detailsOf(
  tx: OperationalTx,
  run: RunRecord,
  { definitions, waits: found }: { readonly definitions: Definitions; readonly waits: Waits },
): Promise<RunDetails> {
  const attempts = await tx.listAttempts(run.workflow_instance_id);
  const leases = new Map(attempts.map((attempt) => [nameOf(attempt), attempt]));
  const slices = run.revision === 0 ? [] : await tx.listSlices(run.workflow_instance_id, "all");
  const tasks = await tx.listTasks(run.workflow_instance_id);
  const items = await itemsOf(tx, tasks);
  const definition = await definitions.of(tx, run);
  const all = await found.of(tx, run);
  const [waits, poolWaits] = [all.filter(isForAgent), all.filter(isForPool)];
  const holds = all
    .filter(isHold)
    .map(({ kind, reason, hint, since_ms }) => ({ kind, reason, hint, since_ms }));
  const summaryOfTask = summarizer(leases, definition, items);
  const childOf = await childrenOf(tx, run.workflow_instance_id, definition, tasks);
  const expectations = definition?.expect === undefined ? [] : await expectationsOfRun(tx, run);
  const approvals = asksPeople(run, definition) ? await approvalsOf(tx, run) : [];
  return {
    ...summaryOf(run),
    workflow_name: run.workflow_name,
    scheduled_time_ms: run.scheduled_time_ms,
    params: { ...run.params },
    error: run.error,
    retry_of: run.retry_of,
    ...(run.actor === null ? {} : { actor: run.actor }),
    ...(run.outputs === null ? {} : { outputs: JSON.parse(run.outputs) }),
    attempts: attemptsOf(run, attempts),
    tasks: tasksOf(run, slices, tasks).map((task) => ({ ...summaryOfTask(task), ...childOf(task) })),
    ...(waits.length === 0
      ? {}
      : {
          waits: named(waits).map(({ noted: _, ...wait }) => ({ ...wait, tasks: [...wait.tasks] })),
          waiting_slices: waits.length,
        }),
    ...(poolWaits.length === 0
      ? {}
      : {
          pool_waits: named(poolWaits).map(({ noted: _, ...wait }) => ({ ...wait, tasks: [...wait.tasks] })),
          pool_waiting_slices: poolWaits.length,
        }),
    ...(holds.length === 0 ? {} : { holds }),
    ...(expectations.length === 0 ? {} : { expectations }),
    ...(approvals.length === 0 ? {} : { approvals }),
    definition,
  };
}

/** Whether a task of a run may wait for a person. */
function asksPeople({ status }: RunRecord, definition: WorkflowDefinition | null): boolean {
  if (isTerminal(RUN_TRANSITIONS, status)) return false;
  return definition?.tasks.some(({ config }) => factsOf(config).waitsFor === "person") === true;
}

/** How long a run or a task run took; null until it has ended. */
function durationOf(ended: Parameters<typeof tookMs>[0]): number | null {
  return ended.finished_at_ms === null ? null : tookMs(ended, ended.finished_at_ms);
}

/** What a list of runs says of one. */
export function summaryOf(run: ListedRun): RunSummary {
  return {
    workflow_id: run.workflow_id,
    workflow_instance_id: run.workflow_instance_id,
    status: toldStatus(run),
    trigger: run.trigger,
    agent_id: run.agent_id,
    ...(run.revision === 0 ? {} : { agents: run.agents }),
    attempt: run.attempt,
    created_at_ms: run.created_at_ms,
    ...(isBeforeStart(run) ? { start_at_ms: run.start_at_ms } : {}),
    started_at_ms: run.started_at_ms,
    finished_at_ms: run.finished_at_ms,
    duration_ms: durationOf(run),
    tasks_total: run.tasks_total,
    tasks_done: run.tasks_done,
    ...(run.allowed_failures === 0 ? {} : { allowed_failures: run.allowed_failures }),
    ...parentOf(run),
    ...limitsOf(run),
  };
}

function limitsOf({
  priority,
  hold,
  group_key,
  backfill_id,
  finished_at_ms,
}: ListedRun): Partial<RunSummary> {
  return {
    ...(priority === DEFAULT_PRIORITY ? {} : { priority }),
    // One that an older cdktr has cancelled looks as if it were still held.
    ...(hold === null || finished_at_ms !== null ? {} : { hold }),
    ...(group_key === null ? {} : { group: groupName(group_key) }),
    ...(backfill_id === null ? {} : { backfill_id }),
  };
}

function parentOf({ parent_run, parent_task }: ListedRun): Pick<RunSummary, "parent"> {
  if (parent_run === null || parent_task === null) return {};
  return { parent: { workflow_instance_id: parent_run, task_id: parent_task } };
}

/** The newest runs that tasks of a run, or items, have started, as their summaries have them. Part of a unit of work. */
export async function childrenOf(
  tx: OperationalTx,
  runId: string,
  definition: WorkflowDefinition | null,
  tasks: readonly TaskRunState[],
): Promise<(task: TaskRunState) => Pick<TaskRunSummary, "child">> {
  const calls = new Set(
    definition?.tasks.flatMap(({ id, config }) => (config.type === "Workflow" ? [id] : [])),
  );
  const nodeOf = ({ task_id, item_key }: TaskRunState) => nodeId(task_id, item_key);
  const nodes = tasks.filter(({ task_id }) => calls.has(task_id)).map(nodeOf);
  if (nodes.length === 0) return () => ({});
  const children = new Map<string, ListedRun>();
  for (const child of await tx.childRuns(runId, nodes)) {
    const node = child.parent_task ?? "";
    if (!children.has(node)) children.set(node, child);
  }
  return (task) => {
    const child = children.get(nodeOf(task));
    if (child === undefined) return {};
    const { workflow_id, workflow_instance_id, status, tasks_total, tasks_done } = child;
    return { child: { workflow_id, workflow_instance_id, status, tasks_total, tasks_done } };
  };
}

/** The attempts that were assigned; for a whole run also the newest one if it is waiting or was never assigned. */
function attemptsOf(run: RunRecord, attempts: readonly AttemptRecord[]): RunAttempt[] {
  const told: RunAttempt[] = attempts.map((attempt) => ({
    slice: attempt.slice,
    attempt: attempt.attempt,
    agent_id: attempt.agent_id,
    status: attempt.status,
    started_at_ms: attempt.started_at_ms,
    finished_at_ms: attempt.finished_at_ms,
    error: attempt.error,
  }));
  if (run.revision === 0 && told.at(-1)?.attempt !== run.attempt) {
    told.push({
      slice: 0,
      attempt: run.attempt,
      agent_id: null,
      status: run.status,
      started_at_ms: null,
      finished_at_ms: run.finished_at_ms,
      error: null,
    });
  }
  return told;
}

/** The tasks of the newest attempt, preceded by those that completed in an earlier one. */
function tasksOf(
  run: RunRecord,
  slices: readonly SliceRecord[],
  tasks: readonly TaskRunState[],
): TaskRunState[] {
  const newest = new Map(slices.map(({ slice, attempt }) => [slice, attempt]));
  const isPresent = ({ slice, attempt }: TaskRunState) =>
    run.revision === 0 ? attempt === run.attempt : slice === 0 ? attempt > 0 : attempt === newest.get(slice);
  const present = tasks.filter(isPresent);
  const named = new Set(present.map((task) => task.task_id));
  const carried = tasks.filter(
    (task) =>
      !isPresent(task) && (task.status === "COMPLETED" || task.attempt === 0) && !named.has(task.task_id),
  );
  return [...newestOf(carried), ...present];
}

/** The run with what its tasks published, or marked as having published too much for a reply. */
export async function withOutputs(tx: OperationalTx, run: RunDetails): Promise<RunDetails> {
  const tasks: TaskRunSummary[] = [];
  let bytes = 0;
  for (const task of run.tasks) {
    const found =
      task.status === "COMPLETED" ? await tx.outputsOf(run.workflow_instance_id, [task.task_id]) : undefined;
    const items =
      task.items === undefined
        ? []
        : await tx.itemOutputs(run.workflow_instance_id, [task.task_id], MAX_OUTPUTS_TOGETHER_BYTES);
    const json = found?.get(task.task_id);
    bytes += [json ?? "", ...items.map((item) => item.outputs)].reduce(
      (sum, text) => sum + Buffer.byteLength(text),
      0,
    );
    if (bytes > MAX_OUTPUTS_TOGETHER_BYTES) return { ...run, outputs_left_out: true };
    const outputs =
      task.items === undefined
        ? json && JSON.parse(json)
        : aggregate(
            task.items.total,
            items.map((item) => ({ index: item.item_index, outputs: JSON.parse(item.outputs) })),
          );
    tasks.push(outputs == null ? task : { ...task, outputs });
  }
  return { ...run, tasks };
}

/** The run with what its tasks published that only the history has. */
export async function withMovedOutputs(
  run: RunDetails,
  moved: readonly MovedOutputs[],
  old: OldRuns,
): Promise<RunDetails> {
  if (moved.length === 0 || run.outputs_left_out === true) return run;
  const leftOut = {
    ...run,
    tasks: run.tasks.map(({ outputs: _, ...task }) => task),
    outputs_left_out: true,
  };
  let found: ReadonlyMap<string, string> | null;
  try {
    found = await old.findOutputs(moved.map((task) => task.task_instance_id));
  } catch (error) {
    if (error instanceof UnprocessableError) return leftOut;
    throw error;
  }
  if (found === null) return leftOut;
  let bytes = 0;
  const tasks = run.tasks.map((task) => {
    const json = found.get(task.task_instance_id);
    bytes += Buffer.byteLength(json ?? JSON.stringify(task.outputs ?? ""));
    return json === undefined ? task : { ...task, outputs: JSON.parse(json) };
  });
  return bytes > MAX_OUTPUTS_TOGETHER_BYTES ? leftOut : { ...run, tasks };
}

/** The items of the fan-outs among these tasks. */
async function itemsOf(
  tx: OperationalTx,
  tasks: readonly TaskRunState[],
): Promise<ReadonlyMap<string, ItemCounts>> {
  const counts = new Map<string, { total: number; by_status: Partial<Record<RunStatus, number>> }>();
  for (const { task_id, items_total } of tasks)
    if (items_total !== null) counts.set(task_id, { total: items_total, by_status: {} });
  const [first] = tasks;
  if (first === undefined || counts.size === 0) return counts;
  for (const { task_id, status, items } of await tx.countItems(first.workflow_instance_id)) {
    const of = counts.get(task_id);
    if (of !== undefined) of.by_status[status] = items;
  }
  return counts;
}

/** The newest task run of each task. */
export function newestOf<T extends TaskRunState>(tasks: readonly T[]): T[] {
  return [...new Map(tasks.map((task) => [task.task_id, task])).values()];
}

/** Makes summaries of task runs, each with the agent that has its attempt and, between two tries, with the time of the next one. */
export function summarizer(
  leases: ReadonlyMap<string, AttemptRecord>,
  definition: WorkflowDefinition | null,
  items: ReadonlyMap<string, ItemCounts> = new Map(),
): (task: TaskRunState) => TaskRunSummary {
  const known = definition === null ? [] : allTasks(definition);
  const policies = new Map(known.map(({ id, retry }) => [id, retry]));
  return (record) => {
    const {
      workflow_instance_id: _run,
      task_name: _name,
      status_at_ms: _at,
      due_ms,
      allowed,
      item_key: _key,
      item_index: _index,
      items_total: _total,
      ...task
    } = record;
    const counts = record.item_key === null ? items.get(task.task_id) : undefined;
    const due = task.status === "WAITING" ? (due_ms ?? dueBy(policies.get(task.task_id), record)) : null;
    return {
      ...task,
      duration_ms: durationOf(task),
      agent_id: leases.get(nameOf(record))?.agent_id ?? null,
      ...(due === null ? {} : { next_attempt_ms: due }),
      ...(allowed === 0 ? {} : { is_allowed: true }),
      ...(counts === undefined ? {} : { items: counts }),
      ...(definition !== null && isHook(definition, task.task_id) ? { hook: true } : {}),
    };
  };
}

/** When the next try begins, of a task whose agent does not say so. */
function dueBy(policy: RetryPolicy | undefined, { task_attempt, status_at_ms }: TaskRunState): number | null {
  // One that has not been tried yet waits for something else.
  const delay = policy === undefined || task_attempt === 0 ? null : retryDelayMs(policy, task_attempt);
  return delay === null ? null : status_at_ms + delay;
}
