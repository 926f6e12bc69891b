/** What the machine of progress.ts needs to know of a workflow: its tasks, what each of them waits for, and where it may run. */
import { acceptedBy } from "./conditions.ts";
import { buildDag } from "./dag.ts";
import { type Compiled, expressionsOf, type WorkflowExpressions } from "./expressions.ts";
import { inItemsOf, withoutItems } from "./fan-out.ts";
import { type HookOn, hookTasks } from "./hooks.ts";
import { factsOf as kindOf } from "./kinds/index.ts";
import type { TaskDefinition, WorkflowDefinition } from "./model.ts";
import { expressionsInPlacement, type Placement, placementOf, takesSlots } from "./placement.ts";
import { PROTOCOL_OF_HOOKS, protocolOf } from "./protocol-of.ts";
import type { RunFacts } from "./run-facts.ts";
import { storedSecretsOf } from "./secrets.ts";
import type { RunStatus } from "./status.ts";
import type { Ending } from "./task-state.ts";
import { conditionOf } from "./when.ts";

/** What a task waits for: the end of another one with one of these statuses. */
interface Need {
  readonly task: string;
  readonly accepts: ReadonlySet<RunStatus>;
}

/** What a task published. Plain JSON. */
export type Outputs = Readonly<Record<string, unknown>>;

/** What is known of a task that is over. */
export interface Result {
  readonly status: Ending;
  readonly error: string | null;
  readonly outputs: Outputs | null;
  /** It FAILED, and was allowed to. */
  readonly isAllowed: boolean;
  /** Why what it has published was not kept. */
  readonly leftOut?: string | undefined;
}

/** The result of a task by its id; undefined while it is not over. */
type Results = (id: string) => Result | undefined;

/** What a condition says: null if the task runs; why it is skipped; or why the condition cannot be computed, so that the task fails. */
export type Verdict = { readonly skip: string } | { readonly fail: string } | null;

/** A task that depends on another one, and which statuses of that one it accepts. */
type Dependent = Need;

/** One item of a fan-out for each of its keys. */
interface FanOut {
  /** Maximum number of items under way at once; null for no limit. */
  readonly maxParallel: number | null;
  /** The first item that fails cancels the others. */
  readonly failFast: boolean;
  /** Its items may go to different agents: it is in no slice, the principal computes its items, and slices are made of those. */
  readonly isShared?: boolean;
}

/** Which item of which fan-out. */
interface ItemOf {
  readonly task: string;
  readonly key: string;
  /** From 0. */
  readonly index: number;
}

/** What a task without an agent waits for: a time, a person, or a child run. */
type WaitsFor = "time" | "person" | "run";

/** A task of a plan, or an item of a fan-out. */
export interface PlanNode {
  readonly id: string;
  readonly name: string;
  /** Its place in the file, from 0. */
  readonly index: number;
  readonly needs: readonly Need[];
  /** Set by {@link planFrom}: tasks on which it depends through others that no agent executes; those are among them, too. */
  readonly through?: ReadonlySet<string>;
  /** With the texts of expressions, if {@link isPlaced}. */
  readonly placement: Placement;
  /** Labels of its placement are computed when it, or an item of it, is ready to start: only the principal knows them, and only then. */
  readonly isPlaced?: boolean;
  /** It takes slots of pools while it runs: it is a slice by itself, and so is each item of it. */
  readonly takesSlots?: boolean;
  /** What is decided about it follows from what only the principal knows, and only when it is ready: no slice has it before. */
  readonly isLate?: boolean;
  /** The protocol version that an agent needs to execute it; by default the first. */
  readonly protocol?: number;
  /** It gets secrets of the principal's store. */
  readonly usesStore?: boolean;
  /** Whether any failure of it is allowed, also one that the machine decides. */
  readonly allowsFailure?: boolean;
  /** Its condition, asked when every need is met. */
  readonly when?: (results: Results, facts: RunFacts) => Verdict;
  /** The tasks whose results {@link when}, and the items of a fan-out, are computed from. */
  readonly decidedBy?: ReadonlySet<string>;
  /** The tasks whose results its expressions read, including those of {@link decidedBy}: they are over before it begins. */
  readonly reads?: ReadonlySet<string>;
  readonly fanOut?: FanOut;
  /** Whether its condition, or its items, are computed from the agents that are up. */
  readonly readsAgents?: boolean;
  /** Set by the machine: the item that this is. */
  readonly item?: ItemOf;
  /** What it waits for: no agent executes it. */
  readonly waits?: WaitsFor;
  /** An agent executes one try at a time, and between two tries it waits without an agent: it is a slice by itself. */
  readonly polls?: boolean;
  /** It runs after all other tasks, and does not change the status of the run. Nothing depends on it. */
  readonly hook?: HookOn;
}

/** The tasks of a workflow and their order. */
export interface Plan {
  /** In the order of the file. */
  readonly nodes: readonly PlanNode[];
  /** Needs before those who need them. */
  readonly order: readonly string[];
  /** One agent can execute all of it: it is a single slice. */
  readonly isWhole: boolean;
  /** Tasks of it run when all others are over. */
  readonly hasHooks: boolean;
  /** The protocol version that an agent needs to execute all of it. */
  readonly protocol: number;
  /** The tasks whose results conditions and fan-outs are decided by: whoever runs the machine tells it their outputs. */
  readonly decidedBy: ReadonlySet<string>;
  /** The tasks whose results the outputs of the workflow are computed from. */
  readonly readAtEnd: ReadonlySet<string>;
  /** Whether a task of it is a fan-out. */
  readonly hasFanOuts: boolean;
  /** Whether something is decided by the agents that are up. */
  readonly readsAgents: boolean;
  node(id: string): PlanNode | undefined;
  /** The direct dependents of a task, in the order of the file. */
  dependents(id: string): readonly Dependent[];
}

/**
 * The plan of a workflow.
 * @throws InvalidInputError when its tasks do not form a DAG
 */
export function planOf(
  workflow: Pick<
    WorkflowDefinition,
    "tasks" | "hooks" | "runs_on" | "pool" | "placement" | "language" | "secrets"
  > &
    Partial<Pick<WorkflowDefinition, "params" | "env" | "outputs" | "files">>,
): Plan {
  const expressions = workflow.language === undefined ? undefined : expressionsOf(workflow);
  const readAtEnd = Object.values(workflow.outputs ?? {}).flatMap(
    (text) => expressions?.compile(text, "result", null).tasks ?? [],
  );
  const tasks = workflow.tasks.map((task, index): PlanNode => {
    const placement = placementOf(workflow, task);
    const { waitsFor } = kindOf(task.config);
    const hasSlots = waitsFor === undefined && takesSlots(workflow, task);
    return {
      id: task.id,
      name: task.name,
      index,
      needs: [...new Set(task.depends)].map((needed) => ({
        task: needed,
        accepts: acceptedBy(task, needed),
      })),
      placement,
      protocol: protocolOf(workflow, task),
      ...(task.allow_failure === true ? { allowsFailure: true } : {}),
      ...(storedSecretsOf(workflow, [task]).length === 0 ? {} : { usesStore: true }),
      ...(expressions === undefined ? {} : { reads: new Set(expressions.readsOf(task)) }),
      ...decisionsOf(
        task,
        placement.spread || waitsFor !== undefined || hasSlots,
        expressions,
        waitsFor === undefined ? expressionsInPlacement(workflow, task) : undefined,
      ),
      ...(hasSlots ? { takesSlots: true } : {}),
      ...(waitsFor === undefined ? {} : { waits: waitsFor }),
      ...(task.repeat === undefined ? {} : { polls: true }),
    };
  });
  const hooks = hookTasks(workflow).map(
    (task, index): PlanNode => ({
      id: task.id,
      name: task.name,
      index: tasks.length + index,
      needs: [],
      placement: placementOf(workflow, task),
      protocol: PROTOCOL_OF_HOOKS,
      hook: task.id,
      ...(expressions === undefined ? {} : { reads: new Set(expressions.readsOf(task, "hook")) }),
      ...placedBy(expressionsInPlacement(workflow, task)),
      ...(takesSlots(workflow, task) ? { takesSlots: true } : {}),
      ...(storedSecretsOf(workflow, [task]).length === 0 ? {} : { usesStore: true }),
    }),
  );
  return planFrom(hooks.length === 0 ? tasks : [...tasks, ...hooks], readAtEnd);
}

type Decisions = Pick<PlanNode, "when" | "fanOut" | "decidedBy" | "isPlaced" | "isLate" | "readsAgents">;

/**
 * What is decided when a task may begin: whether it runs, and whether for the items of a list.
 * @param isShared whether the principal computes the items in any case
 * @param inPlacement the expressions in its labels
 */
function decisionsOf(
  task: TaskDefinition,
  isShared: boolean,
  expressions: WorkflowExpressions | undefined,
  inPlacement: readonly Compiled[] | undefined,
): Decisions {
  const isFanOut = task.foreach !== undefined || task.matrix !== undefined;
  const condition =
    expressions === undefined || task.when === undefined
      ? undefined
      : expressions.compile(task.when, "decision", task.id);
  const inItems = isFanOut && expressions !== undefined ? inItemsOf(task, expressions) : [];
  const readsAgents = [...inItems, ...(condition === undefined ? [] : [condition])].some(isAboutAgents);
  const placed = placedBy(inPlacement);
  const decidedBy = new Set([
    ...(placed.decidedBy ?? []),
    ...[...inItems, ...(condition === undefined ? [] : [condition])].flatMap(({ tasks }) => tasks),
  ]);
  const decided: Decisions = {
    ...placed,
    ...(condition === undefined ? {} : conditionOf(condition)),
    ...(readsAgents ? { readsAgents, isLate: true } : {}),
    ...(decidedBy.size === 0 ? {} : { decidedBy }),
  };
  if (!isFanOut) return decided;
  const fanOut = {
    maxParallel: task.max_parallel ?? null,
    failFast: task.fail_fast ?? false,
    ...(isShared || readsAgents || placed.isPlaced === true ? { isShared: true } : {}),
  };
  return { ...decided, fanOut };
}

/** What labels with expressions mean for a task. */
function placedBy(inPlacement: readonly Compiled[] | undefined): Decisions {
  if (inPlacement === undefined) return {};
  const reads = inPlacement.flatMap((compiled) => compiled.reads);
  const tasks = inPlacement.flatMap((compiled) => compiled.tasks);
  // Others are the same for all tasks that have them.
  const isLate = reads.some(({ root }) => OF_TASKS.has(root));
  return {
    isPlaced: true,
    ...(isLate ? { isLate } : {}),
    ...(tasks.length === 0 ? {} : { decidedBy: new Set(tasks) }),
  };
}

/** What expressions read that is not the same throughout the run. */
const OF_TASKS: ReadonlySet<string> = new Set(["tasks", "item", "key", "index"]);

function isAboutAgents({ reads }: Compiled): boolean {
  return reads.some(({ root }) => root === "agents");
}

/**
 * A plan of these nodes, which are in the order of the file.
 * @param readAtEnd tasks whose results the outputs of the workflow read
 * @throws InvalidInputError when they do not form a DAG
 */
export function planFrom(given: readonly PlanNode[], readAtEnd: Iterable<string> = []): Plan {
  const dag = buildDag(given.map(({ id, needs }) => ({ id, depends: needs.map((need) => need.task) })));
  const nodes = withThrough(given, dag.order);
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const dependents = new Map(nodes.map(({ id }): [string, Dependent[]] => [id, []]));
  for (const { id, needs } of nodes) {
    for (const { task, accepts } of needs) dependents.get(task)?.push({ task: id, accepts });
  }
  const [first] = nodes;
  return {
    nodes,
    order: dag.order,
    isWhole: nodes.every(
      (node) =>
        !needsPrincipal(node) && !node.placement.spread && node.placement.key === first?.placement.key,
    ),
    hasHooks: nodes.some(({ hook }) => hook !== undefined),
    protocol: protocolOfNodes(nodes),
    decidedBy: decidedBy(nodes),
    readAtEnd: new Set(readAtEnd),
    hasFanOuts: nodes.some(({ fanOut }) => fanOut !== undefined),
    readsAgents: nodes.some((node) => node.readsAgents === true),
    node: (id) => byId.get(id),
    dependents: (id) => dependents.get(id) ?? [],
  };
}

/** The nodes, and which tasks they depend on through others that no agent executes. @param order needs before those who need them */
function withThrough(nodes: readonly PlanNode[], order: readonly string[]): readonly PlanNode[] {
  if (nodes.every(({ waits }) => waits === undefined)) return nodes;
  const byId = new Map(nodes.map((node) => [node.id, node]));
  /** What is behind a task that no agent executes. Thousands may depend on it: they share the set. */
  const behind = new Map<string, ReadonlySet<string>>();
  for (const id of order) {
    const node = byId.get(id);
    if (node === undefined) continue;
    const sets = node.needs.flatMap(({ task }) => behind.get(task) ?? []);
    const [only = NOTHING] = sets;
    const through = sets.length < 2 ? only : new Set(sets.flatMap((set) => [...set]));
    if (through.size > 0) byId.set(id, { ...node, through });
    if (node.waits !== undefined)
      behind.set(id, new Set([...through, ...node.needs.map(({ task }) => task)]));
  }
  return nodes.map((node) => byId.get(node.id) ?? node);
}

/** The tasks whose results a task needs: those that it depends on, and those that its expressions read. Without {@link PlanNode.through}. */
export function neededBy({ needs, reads }: PlanNode): ReadonlySet<string> {
  return new Set([...needs.map(({ task }) => task), ...(reads ?? [])]);
}

/** The tasks whose results some tasks need, also {@link PlanNode.through} others. */
export function neededByAll(nodes: readonly PlanNode[]): ReadonlySet<string> {
  const shared = new Set(nodes.flatMap(({ through }) => through ?? []));
  return new Set([...nodes, ...shared].flatMap((each) => [...("id" in each ? neededBy(each) : each)]));
}

/**
 * Tasks that are over as those who need their results must know them. What those find in CDKTR_INPUTS follows from it.
 * @param ids all of them
 */
export function knownOutside(
  plan: Plan,
  ids: ReadonlySet<string>,
  definitionOf: (id: string) => TaskDefinition | undefined,
): TaskDefinition[] {
  return [...ids].flatMap((id): TaskDefinition[] => {
    const [definition, node] = [definitionOf(id), plan.node(id)];
    if (definition === undefined) return [];
    const depends = node?.waits === undefined ? [] : definition.depends.filter((needed) => ids.has(needed));
    const known = { ...withoutItems(definition), depends };
    return [node?.fanOut === undefined ? known : { ...known, foreach: [] }];
  });
}

/** The protocol version that an agent needs to execute all of these. */
export function protocolOfNodes(nodes: readonly PlanNode[]): number {
  return nodes.reduce((highest, { protocol = 1 }) => Math.max(highest, protocol), 1);
}

/** Whether the principal has a part in executing it. */
function needsPrincipal({ waits, polls, hook, fanOut, isPlaced, isLate, takesSlots }: PlanNode): boolean {
  return (
    waits !== undefined ||
    polls === true ||
    hook !== undefined ||
    fanOut?.isShared === true ||
    isPlaced === true ||
    isLate === true ||
    takesSlots === true
  );
}

const NOTHING: ReadonlySet<string> = new Set();

function decidedBy(nodes: readonly PlanNode[]): ReadonlySet<string> {
  const some = nodes.filter((node) => node.decidedBy !== undefined);
  return some.length === 0 ? NOTHING : new Set(some.flatMap((node) => [...(node.decidedBy ?? [])]));
}
