/** Where tasks may run: the labels that an agent must have, whether ready tasks spread over agents, and what they take of pools. */
import { errorMessage } from "../errors.ts";
import type { Compiled, ScopeValues, WorkflowWithExpressions } from "./expressions.ts";
import { expressionsOf, hasExpressions } from "./expressions.ts";
import { isHook } from "./hooks.ts";
import type { TaskDefinition, WorkflowDefinition } from "./model.ts";
import { type Pool, type Slots, slotsOf, templatesInPool } from "./pool.ts";

/** Labels, or the labels that a task demands. */
type Labels = Readonly<Record<string, string>>;

/** Where a task may run. Tasks with equal keys can be given to an agent together. */
export interface Placement {
  /** Canonical JSON of the other fields: equal placements have equal keys. {@link readPlacement} reads it. */
  readonly key: string;
  /** The labels that an agent must have; none: any agent. */
  readonly runs_on: Labels;
  /** Each ready task goes to the agent with most room, instead of tasks staying together. */
  readonly spread: boolean;
  /** The slots that a task takes while it runs, at least one; undefined for none. */
  readonly pool?: Slots;
}

/** A label that an agent lacks. */
interface Lack {
  readonly label: string;
  /** The value that is demanded. */
  readonly value: string;
  /** The agent's value of this label; null if it does not have the label. */
  readonly has: string | null;
}

const NO_LABELS: Labels = {};
const ANYWHERE = { together: placement(NO_LABELS, false), spread: placement(NO_LABELS, true) };

/** What a task says of its placement. */
type OfTask = Pick<TaskDefinition, "runs_on"> & { readonly pool?: Pool | undefined };

/** The placement of a task: its own `runs_on` and `pool`, or those of its workflow. */
export function placementOf(
  workflow: Pick<WorkflowDefinition, "placement"> & OfTask,
  task: OfTask,
): Placement {
  const runsOn = task.runs_on ?? workflow.runs_on;
  const slots = slotsOf(task.pool ?? workflow.pool);
  const spread = workflow.placement === "spread";
  if (runsOn === undefined && slots === undefined) return spread ? ANYWHERE.spread : ANYWHERE.together;
  return placement(runsOn ?? NO_LABELS, spread, slots);
}

/** Whether a task takes slots of pools, also if expressions say which. */
export function takesSlots(workflow: OfTask, task: OfTask): boolean {
  const own = task.pool ?? workflow.pool;
  return own !== undefined && Object.keys(own).length > 0;
}

type Placed = Pick<WorkflowDefinition, "placement" | "hooks" | "language"> & OfTask & WorkflowWithExpressions;

/** The labels of a task that have expressions, its own or those of its workflow; undefined if there are none. */
function labelsToCompute(workflow: OfTask & Pick<Placed, "language">, task: OfTask): Labels | undefined {
  const runsOn = task.runs_on ?? workflow.runs_on ?? NO_LABELS;
  return workflow.language !== undefined && Object.values(runsOn).some(hasExpressions) ? runsOn : undefined;
}

/** What a task takes of pools, if that has expressions, its own or that of its workflow; undefined otherwise. */
function poolToCompute(workflow: OfTask & Pick<Placed, "language">, task: OfTask): Pool | undefined {
  const own = task.pool ?? workflow.pool ?? {};
  return workflow.language !== undefined && templatesInPool(own).length > 0 ? own : undefined;
}

/** The expressions in the labels and pools of a task; undefined if there are none. */
export function expressionsInPlacement(
  workflow: Placed,
  task: OfTask & Pick<TaskDefinition, "id">,
): readonly Compiled[] | undefined {
  const [runsOn, own] = [labelsToCompute(workflow, task), poolToCompute(workflow, task)];
  if (runsOn === undefined && own === undefined) return undefined;
  const start = isHook(workflow, task.id) ? "hook" : "start";
  const compile = (texts: readonly string[], isOwn: boolean): Compiled[] =>
    expressionsOf(workflow).compilePlacement(texts, isOwn ? task.id : null, start);
  return [
    ...compile(Object.values(runsOn ?? {}), task.runs_on !== undefined),
    ...compile(templatesInPool(own ?? {}), task.pool !== undefined),
  ];
}

/** The placement of a task, or of an item of it, with the values of its expressions; or why one has no value. */
export function computePlacement(
  workflow: Placed,
  task: OfTask & Pick<TaskDefinition, "id">,
  values: ScopeValues,
): Placement | { readonly fail: string } {
  const [runsOn, own] = [labelsToCompute(workflow, task), poolToCompute(workflow, task)];
  if (runsOn === undefined && own === undefined) return placementOf(workflow, task);
  const start = isHook(workflow, task.id) ? "hook" : "start";
  const of = (isOwn: boolean): string | null => (isOwn ? task.id : null);
  try {
    const expressions = expressionsOf(workflow);
    const labels =
      runsOn === undefined
        ? (task.runs_on ?? workflow.runs_on ?? NO_LABELS)
        : expressions.resolveRunsOn(runsOn, of(task.runs_on !== undefined), values, start);
    const slots =
      own === undefined
        ? slotsOf(task.pool ?? workflow.pool)
        : expressions.resolvePool(own, of(task.pool !== undefined), values, start);
    return placement(labels, workflow.placement === "spread", slots);
  } catch (error) {
    return { fail: errorMessage(error) };
  }
}

/** The placement of a key. */
export function readPlacement(key: string): Placement {
  const { runs_on = NO_LABELS, spread = false, pool } = JSON.parse(key) as Partial<Placement>;
  return { key, runs_on, spread, ...(pool === undefined ? {} : { pool }) };
}

/** The labels that are missing on an agent, in the order of their names; none if it fits. */
export function lacking(labels: Labels, runsOn: Labels): Lack[] {
  const lacks: Lack[] = [];
  for (const [label, value] of Object.entries(runsOn)) {
    const has = Object.hasOwn(labels, label) ? (labels[label] ?? null) : null;
    if (has !== value) lacks.push({ label, value, has });
  }
  return lacks;
}

/** The placement of an item whose labels and pools have been computed; undefined if it is that of its fan-out. */
export function placementOfItem(
  workflow: Pick<WorkflowDefinition, "placement">,
  { runs_on, pool }: { readonly runs_on?: Labels; readonly pool?: Slots },
): Placement | undefined {
  return runs_on === undefined ? undefined : placement(runs_on, workflow.placement === "spread", pool);
}

function placement(runsOn: Labels, spread: boolean, slots: Slots = {}): Placement {
  const runs_on: Labels = sorted(runsOn);
  const pool: Slots = sorted(slots);
  const takesAny = Object.keys(pool).length > 0;
  const key = JSON.stringify({
    ...(Object.keys(runs_on).length > 0 ? { runs_on } : {}),
    ...(spread ? { spread } : {}),
    ...(takesAny ? { pool } : {}),
  });
  return { key, runs_on, spread, ...(takesAny ? { pool } : {}) };
}

function sorted<T>(values: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(values).sort(([a], [b]) => (a < b ? -1 : 1)));
}
