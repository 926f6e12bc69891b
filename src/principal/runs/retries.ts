/** What a retry of a run consists of: which tasks it has to run again, and what it takes over from the run. */
import { InvalidInputError, NotFoundError } from "../../errors.ts";
import type { OperationalTx, RunRecord, TaskRunRecord } from "../../storage/operational/store.ts";
import { didYouMean } from "../../terminal/did-you-mean.ts";
import { quote } from "../../terminal/foreign-text.ts";
import { allTasks } from "../../workflow/hooks.ts";
import { nodeId } from "../../workflow/item-id.ts";
import type { TaskDefinition, WorkflowDefinition } from "../../workflow/model.ts";
import { paramVariable } from "../../workflow/own-variables.ts";
import { resolveParams } from "../../workflow/params.ts";
import type { Plan } from "../../workflow/plan.ts";
import type { RunStatus } from "../../workflow/status.ts";
import { undisturbedTasks } from "../../workflow/undisturbed.ts";
import { stillNeeded } from "./assignments.ts";
import type { Definitions } from "./definitions.ts";
import type { NewRun } from "./new-run.ts";
import { newestOf } from "./run-details.ts";
import type { StoredDefinition } from "./workflow-source.ts";

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
  /** Whether every task runs again. */
  readonly from_start: boolean;
  /** The tasks and items, by the ids of their nodes, that run again, with all that depends on them; by default those that did not complete. */
  readonly tasks?: readonly string[] | undefined;
  /** Parameters instead of those of the run. */
  readonly params?: Readonly<Record<string, string>> | undefined;
  /** The definition, and the files that travel with the run, instead of those of the run. */
  readonly current?: (StoredDefinition & Pick<NewRun, "bundle">) | undefined;
}

/** A retry, and what whoever asked for it should know. */
export interface PlannedRetry {
  readonly run: NewRun;
  /** Sentences. */
  readonly notes: readonly string[];
}

/** How tasks of a run ended. */
type Ends = ReadonlyMap<string, TaskRunRecord>;

/** What is taken over. */
interface Kept {
  /** Tasks that have ended: COMPLETED, or as a failure that was allowed. */
  readonly tasks: readonly TaskRunRecord[];
  /** Tasks that do not run, and how they end. */
  readonly skipped: readonly { readonly task: string; readonly reason: string }[];
  /** Items that COMPLETED. */
  readonly items: readonly TaskRunRecord[];
  /** Those of the same fan-outs that run again all the same, by their nodes. */
  readonly not_items?: readonly string[];
}

/** Why a task does not run in a retry of others. */
const NOT_CHOSEN = "not among the tasks that were retried";

/** The most items that an error names. */
const MOST_NAMED = 10;

/**
 * A run that retries another one, which is over. Part of a unit of work.
 * @param id of the new run
 * @param now ms since the epoch
 * @param restored outputs from the history, by task instance
 * @returns null when the definition is not known any more
 * @throws OutputsMovedError when more outputs are needed
 * @throws NotFoundError, InvalidInputError when tasks or parameters do not fit
 */
export async function retryOf(
  tx: OperationalTx,
  definitions: Definitions,
  run: RunRecord,
  retry: Retry,
  { id, now, restored = new Map() }: { id: string; now: number; restored?: ReadonlyMap<string, string> },
): Promise<PlannedRetry | null> {
  const { current, from_start } = retry;
  const json = current?.json ?? (await tx.getDefinition(run.definition_hash));
  if (json === null) return null;
  const definition = current?.definition ?? (await definitions.of(tx, run));
  const hash = current?.hash ?? run.definition_hash;
  const plan = definitions.ofText(hash, json)?.plan ?? null;
  const rows = from_start ? [] : await tx.listTaskRuns(run.workflow_instance_id);
  const { params, notes } = paramsOf(run, definition, retry, { id, now });
  const changed = changedParams(run, params);
  const kept =
    retry.tasks === undefined || plan === null
      ? keptOfFailed(plan, rows, changed)
      : keptOfChosen(run, plan, rows, { chosen: retry.tasks, changed, isCurrent: current !== undefined });
  const lacking = await lackingOutputs(tx, plan, run, kept);
  const missing = lacking.filter((task) => !restored.has(task));
  if (missing.length > 0) throw new OutputsMovedError(missing);
  return {
    notes: [
      ...notes,
      ...(current === undefined ? [] : droppedTasks(rows, plan)),
      ...staleTasks(definition, changed, kept),
    ],
    run: {
      workflow_instance_id: id,
      workflow_id: run.workflow_id,
      workflow_name: definition?.name ?? run.workflow_name,
      definition_hash: hash,
      definition: json,
      params,
      event: run.event,
      traceparent: run.traceparent,
      trigger: "retry",
      scheduled_time_ms: run.scheduled_time_ms,
      retry_of: run.workflow_instance_id,
      from_start,
      trigger_depth: run.trigger_depth,
      priority: run.priority,
      tasks_total: definition === null ? run.tasks_total : allTasks(definition).length,
      bundle: current === undefined ? await bundleOf(tx, run, definition) : current.bundle,
      carried: kept.tasks.map((task) => ({
        ...task,
        outputs: task.outputs ?? restored.get(task.task_instance_id) ?? null,
      })),
      skipped: kept.skipped,
      items_of: kept.items.length === 0 ? null : run.workflow_instance_id,
      fan_outs: [...new Set(kept.items.map(({ task_id }) => task_id))],
      not_items: kept.not_items ?? [],
      item_outputs: restored,
    },
  };
}

/** The files of the run: its retry has the same. */
async function bundleOf(
  tx: OperationalTx,
  run: RunRecord,
  definition: WorkflowDefinition | null,
): Promise<NewRun["bundle"]> {
  return definition?.files === undefined ? null : tx.referredBlob(run.workflow_instance_id, "bundle", "");
}

/**
 * What did not complete runs again, and what ended as it did because of that. A failure that was allowed stays one.
 * @param changed names of parameters
 */
function keptOfFailed(plan: Plan | null, rows: readonly TaskRunRecord[], changed: readonly string[]): Kept {
  const ends = endsOf(rows);
  const undisturbed =
    plan === null
      ? null
      : undisturbedTasks(plan, (task) => {
          const end = ends.get(task);
          return end && { status: end.status, isAllowed: end.allowed === 1 };
        });
  const isKept = (row: TaskRunRecord) => (undisturbed?.has(row.task_id) ?? true) && isSameKind(plan, row);
  const kept = [...ends.values()].filter(
    (end) => (end.status === "COMPLETED" || end.allowed === 1) && isKept(end),
  );
  const asked = changed.length === 0 || plan === null ? new Set() : askedAgain(plan, kept);
  return {
    tasks: kept.filter(({ task_id }) => !asked.has(task_id)),
    skipped: [],
    items: rows.filter(
      (row) => row.item_key !== null && row.status === "COMPLETED" && isKept(row) && !asked.has(row.task_id),
    ),
  };
}

/**
 * The approvals among what is kept on which something depends that is not, and what is between them: whoever gave them has not seen the new
 * parameters.
 */
function askedAgain(plan: Plan, kept: readonly TaskRunRecord[]): ReadonlySet<string> {
  const done = new Set(kept.map(({ task_id }) => task_id));
  const leadsOn = (task: string) =>
    followersOf(plan, task).some((each) => !done.has(each) && plan.node(each)?.hook === undefined);
  const approvals = [...done].filter((task) => plan.node(task)?.waits === "person" && leadsOn(task));
  return new Set(
    approvals.flatMap((task) => followersOf(plan, task).filter((each) => done.has(each) && leadsOn(each))),
  );
}

/** A task and all that depend on it. */
function followersOf(plan: Plan, task: string): string[] {
  return [...withFollowers(plan, new Set([task]))];
}

/** The chosen ones run again, and what depends on them. Of the others, what COMPLETED is kept, and nothing else runs. */
function keptOfChosen(
  { workflow_instance_id }: RunRecord,
  plan: Plan,
  rows: readonly TaskRunRecord[],
  {
    chosen,
    changed,
    isCurrent,
  }: { readonly chosen: readonly string[]; readonly changed: readonly string[]; readonly isCurrent: boolean },
): Kept {
  const items = rows.filter(({ item_key }) => item_key !== null);
  const byNode = new Map(items.map((item) => [nodeId(item.task_id, item.item_key), item]));
  const tasks = new Set<string>();
  /** Fan-outs of which some items are chosen, by their nodes. */
  const partly = new Map<string, Set<string>>();
  for (const one of chosen) {
    const node = plan.node(one);
    const item = byNode.get(one);
    if (node?.hook !== undefined) {
      const hint = "Hooks run by themselves when the tasks of the new run are over.";
      throw new InvalidInputError(`${quote(one)} is a hook, which cannot be retried.`, { hint });
    }
    if (node !== undefined) tasks.add(one);
    else if (item !== undefined && plan.node(item.task_id)?.fanOut !== undefined)
      partly.set(item.task_id, (partly.get(item.task_id) ?? new Set<string>()).add(one));
    else throw noTask(workflow_instance_id, one, plan, byNode.keys(), isCurrent);
  }
  const again = withFollowers(plan, tasks);
  const all = withFollowers(plan, new Set([...tasks, ...partly.keys()]));
  const ends = endsOf(rows);
  const isEnd = (task: string): TaskRunRecord | undefined => {
    const end = ends.get(task);
    const isGood = end?.status === "COMPLETED" || end?.status === "SKIPPED" || end?.allowed === 1;
    return end !== undefined && isGood && !all.has(task) && isSameKind(plan, end) ? end : undefined;
  };
  for (const task of [...tasks, ...partly.keys()]) {
    for (const { task: needed, accepts } of plan.node(task)?.needs ?? []) {
      if (all.has(needed)) continue;
      const end = isEnd(needed);
      if (end !== undefined && (accepts.has(end.status) || (end.allowed === 1 && accepts.has("COMPLETED"))))
        continue;
      const how = howEnded(ends.get(needed)?.status);
      throw new InvalidInputError(
        `${quote(task)} cannot be retried alone: ${quote(needed)}, on which it depends, ${how}; add --task ${needed}`,
      );
    }
  }
  const approval = changed.length === 0 ? undefined : approvalBefore(plan, all, ends);
  if (approval !== undefined)
    throw new InvalidInputError(
      `${namesOf(chosen)} cannot be retried alone with another value of ${namesOf(changed)}: it is not what was approved in ${quote(approval)}; add --task ${approval}`,
    );
  const others = plan.nodes.filter(({ id, hook }) => hook === undefined && !all.has(id));
  return {
    tasks: others.flatMap(({ id }) => {
      const end = isEnd(id);
      return end === undefined || end.status === "SKIPPED" ? [] : [end];
    }),
    skipped: others.flatMap(({ id }) => {
      const end = isEnd(id);
      if (end !== undefined && end.status !== "SKIPPED") return [];
      return [{ task: id, reason: end?.error ?? NOT_CHOSEN }];
    }),
    items: items.filter(({ task_id, item_key, status }) => {
      if (status !== "COMPLETED" || again.has(task_id)) return false;
      if (plan.node(task_id)?.fanOut === undefined) return false;
      const some = partly.get(task_id);
      return some === undefined ? !all.has(task_id) : !some.has(nodeId(task_id, item_key));
    }),
    not_items: [...partly.values()].flatMap((nodes) => [...nodes]),
  };
}

/** An approval that was given, and is not given again, although something depends on it that runs again. */
function approvalBefore(plan: Plan, again: ReadonlySet<string>, ends: Ends): string | undefined {
  const isAgain = (task: string) => again.has(task) && plan.node(task)?.hook === undefined;
  return plan.nodes.find(
    ({ id, waits }) =>
      waits === "person" &&
      !again.has(id) &&
      ends.get(id)?.status === "COMPLETED" &&
      followersOf(plan, id).some(isAgain),
  )?.id;
}

function howEnded(status: RunStatus | undefined): string {
  return status === undefined ? "has not run" : status === "COMPLETED" ? "has to end otherwise" : status;
}

/** These tasks and all that depend on them, directly or not. */
function withFollowers(plan: Plan, tasks: ReadonlySet<string>): ReadonlySet<string> {
  const all = new Set(tasks);
  // The set grows while it is read.
  for (const task of all) for (const { task: next } of plan.dependents(task)) all.add(next);
  return all;
}

function noTask(
  runId: string,
  name: string,
  plan: Plan,
  items: Iterable<string>,
  isCurrent: boolean,
): NotFoundError {
  const known = [...items];
  const near = didYouMean(name, [...plan.nodes.map(({ id }) => id), ...known]);
  const help = near === undefined ? "" : ` (${near.replace(/\?$/, "")}?)`;
  return new NotFoundError(
    isCurrent
      ? `The current definition has no task ${quote(name)}${help}.`
      : `Run ${runId} has no task ${quote(name)}${help}.`,
    near === undefined ? { hint: whatThereIs(name, plan, known) } : {},
  );
}

/** The items of the fan-out that was named, or else the tasks. */
function whatThereIs(name: string, plan: Plan, items: readonly string[]): string {
  const fanOut = plan.nodes.find(({ id, fanOut }) => fanOut !== undefined && name.startsWith(`${id}[`));
  const ofIt =
    fanOut === undefined
      ? []
      : items
          .filter((item) => item.startsWith(`${fanOut.id}[`))
          .sort((one, other) => one.localeCompare(other, "en", { numeric: true }));
  if (ofIt.length === 0) return `Its tasks are ${namesOf(plan.nodes.map(({ id }) => id))}.`;
  const more = ofIt.length - MOST_NAMED;
  return `Its items are ${namesOf(ofIt.slice(0, MOST_NAMED))}${more > 0 ? ` and ${more} more` : ""}.`;
}

/** Whether a task is still what it was: a fan-out, or not. */
function isSameKind(plan: Plan | null, { task_id, item_key, items_total }: TaskRunRecord): boolean {
  if (plan === null) return true;
  const node = plan.node(task_id);
  return node !== undefined && (node.fanOut !== undefined) === (item_key !== null || items_total !== null);
}

/** The parameters of the retry, in the spelling of their types. */
function paramsOf(
  run: RunRecord,
  definition: WorkflowDefinition | null,
  { params = {}, current }: Retry,
  { id, now }: { readonly id: string; readonly now: number },
): { readonly params: Readonly<Record<string, string>>; readonly notes: readonly string[] } {
  if (definition === null || (current === undefined && Object.keys(params).length === 0))
    return { params: run.params, notes: [] };
  const isDeclared = (name: string) => Object.hasOwn(definition.params, name);
  const dropped = Object.keys(run.params).filter((name) => !isDeclared(name));
  const before = Object.fromEntries(Object.entries(run.params).filter(([name]) => isDeclared(name)));
  const resolved = resolveParams(
    definition,
    { ...before, ...params },
    {
      workflow_instance_id: id,
      workflow_id: run.workflow_id,
      attempt: 1,
      trigger: "retry",
      scheduled_time_ms: run.scheduled_time_ms,
      created_at_ms: now,
      event: run.event ?? undefined,
    },
  );
  const notes =
    dropped.length === 0 ? [] : [`The current definition has no parameter ${namesOf(dropped)} any more.`];
  return { params: resolved, notes };
}

/** Tasks that COMPLETED, and that the definition does not have any more. */
function droppedTasks(rows: readonly TaskRunRecord[], plan: Plan | null): string[] {
  const dropped = [...endsOf(rows).values()].filter(
    ({ task_id, status }) => status === "COMPLETED" && plan?.node(task_id) === undefined,
  );
  if (dropped.length === 0) return [];
  return [`The current definition has no task ${namesOf(dropped.map(({ task_id }) => task_id))} any more.`];
}

/** Names of the parameters that have other values than in the run. */
function changedParams(run: RunRecord, params: Readonly<Record<string, string>>): string[] {
  return Object.keys(params).filter(
    (name) => Object.hasOwn(run.params, name) && run.params[name] !== params[name],
  );
}

/** Tasks that are kept although they have read a parameter that has another value now. */
function staleTasks(
  definition: WorkflowDefinition | null,
  changed: readonly string[],
  { tasks }: Kept,
): string[] {
  if (changed.length === 0 || definition === null) return [];
  const kept = new Set(tasks.map(({ task_id }) => task_id));
  const env = JSON.stringify(definition.env);
  return changed.flatMap((name) => {
    const readers = definition.tasks.filter((task) => kept.has(task.id) && reads(task, name, env));
    if (readers.length === 0) return [];
    const ids = readers.map(({ id }) => id);
    const [are, have] = ids.length === 1 ? ["Task", "has"] : ["Tasks", "have"];
    return [
      `${are} ${namesOf(ids)} ${have} read the former value of ${quote(name)} and ${ids.length === 1 ? "is" : "are"} kept; to run ${ids.length === 1 ? "it" : "them"} again: ${ids.map((id) => `--task ${id}`).join(" ")}`,
    ];
  });
}

/** Whether something in a task mentions a parameter. @param env JSON of the variables of the workflow */
function reads(task: TaskDefinition, param: string, env: string): boolean {
  const text = JSON.stringify(task) + env;
  const words = [`params.${param}`, `params[\\"${param}\\"]`, paramVariable(param)];
  return words.some((word) => {
    for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + 1))
      if (!/\w/.test(text[at + word.length] ?? "")) return true;
    return false;
  });
}

/** The task instances among those taken over whose outputs a retry needs, but only the history has. */
async function lackingOutputs(
  tx: OperationalTx,
  plan: Plan | null,
  run: RunRecord,
  { tasks, items }: Kept,
): Promise<string[]> {
  if (tasks.length + items.length === 0) return [];
  const moved = new Set(
    (await tx.movedOutputs(run.workflow_instance_id)).map((task) => task.task_instance_id),
  );
  if (moved.size === 0) return [];
  const done = tasks.map(({ task_id }) => task_id);
  const nodes = plan?.nodes ?? [];
  // Items of a fan-out that did not complete as a whole are read together with those that run again.
  const open = nodes.filter(({ id, fanOut }) => fanOut !== undefined && !done.includes(id));
  const still = plan === null ? [] : stillNeeded(nodes, done, plan.readAtEnd);
  const needed = new Set([...still, ...open.map(({ id }) => id)]);
  return [...tasks, ...items].flatMap(({ task_id, task_instance_id }) =>
    needed.has(task_id) && moved.has(task_instance_id) ? [task_instance_id] : [],
  );
}

/** How tasks ended: in the attempt in which they COMPLETED, or else in the newest. */
function endsOf(rows: readonly TaskRunRecord[]): Ends {
  const whole = rows.filter(({ item_key }) => item_key === null);
  const ends = newestOf([...whole, ...whole.filter(({ status }) => status === "COMPLETED")]);
  return new Map(ends.map((end) => [end.task_id, end]));
}

/** Names that are given before the number of the others. */
const NAMED = 8;

function namesOf(names: readonly string[]): string {
  const more = names.length - NAMED;
  return `${names.slice(0, NAMED).map(quote).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}
