/** Where tasks may run: the labels that an agent must have, and whether ready tasks spread over agents. */
import { errorMessage } from "../errors.ts";
import type { Compiled, ScopeValues, WorkflowWithExpressions } from "./expressions.ts";
import { expressionsOf, hasExpressions } from "./expressions.ts";
import { isHook } from "./hooks.ts";
import type { TaskDefinition, WorkflowDefinition } from "./model.ts";

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

/** The placement of a task: its own `runs_on`, or that of its workflow. */
export function placementOf(
  workflow: Pick<WorkflowDefinition, "runs_on" | "placement">,
  task: Pick<TaskDefinition, "runs_on">,
): Placement {
  const runsOn = task.runs_on ?? workflow.runs_on;
  const spread = workflow.placement === "spread";
  if (runsOn === undefined) return spread ? ANYWHERE.spread : ANYWHERE.together;
  return placement(runsOn, spread);
}

type Placed = Pick<WorkflowDefinition, "runs_on" | "placement" | "hooks" | "language"> &
  WorkflowWithExpressions;

/** The labels of a task that have expressions, its own or those of its workflow; undefined if there are none. */
function labelsToCompute(
  workflow: Pick<Placed, "runs_on" | "language">,
  task: Pick<TaskDefinition, "runs_on">,
): Labels | undefined {
  const runsOn = task.runs_on ?? workflow.runs_on ?? NO_LABELS;
  return workflow.language !== undefined && Object.values(runsOn).some(hasExpressions) ? runsOn : undefined;
}

/** The expressions in the labels of a task; undefined if there are none. */
export function expressionsInPlacement(
  workflow: Placed,
  task: Pick<TaskDefinition, "id" | "runs_on">,
): readonly Compiled[] | undefined {
  const runsOn = labelsToCompute(workflow, task);
  if (runsOn === undefined) return undefined;
  const own = task.runs_on === undefined ? null : task.id;
  return expressionsOf(workflow).compileRunsOn(runsOn, own, isHook(workflow, task.id) ? "hook" : "start");
}

/** The placement of a task, or of an item of it, with the values of its expressions; or why one has no value. */
export function computePlacement(
  workflow: Placed,
  task: Pick<TaskDefinition, "id" | "runs_on">,
  values: ScopeValues,
): Placement | { readonly fail: string } {
  const runsOn = labelsToCompute(workflow, task);
  if (runsOn === undefined) return placementOf(workflow, task);
  const own = task.runs_on === undefined ? null : task.id;
  const start = isHook(workflow, task.id) ? "hook" : "start";
  try {
    const computed = expressionsOf(workflow).resolveRunsOn(runsOn, own, values, start);
    return placement(computed, workflow.placement === "spread");
  } catch (error) {
    return { fail: errorMessage(error) };
  }
}

/** The placement of a key. */
export function readPlacement(key: string): Placement {
  const { runs_on = NO_LABELS, spread = false } = JSON.parse(key) as Partial<Placement>;
  return { key, runs_on, spread };
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

/** The placement of an item whose labels have been computed; undefined if it is that of its fan-out. */
export function placementOfItem(
  workflow: Pick<WorkflowDefinition, "placement">,
  { runs_on }: { readonly runs_on?: Labels },
): Placement | undefined {
  return runs_on === undefined ? undefined : placement(runs_on, workflow.placement === "spread");
}

function placement(runsOn: Labels, spread: boolean): Placement {
  const entries = Object.entries(runsOn).sort(([a], [b]) => (a < b ? -1 : 1));
  const runs_on: Labels = Object.fromEntries(entries);
  const key = JSON.stringify({
    ...(entries.length > 0 ? { runs_on } : {}),
    ...(spread ? { spread } : {}),
  });
  return { key, runs_on, spread };
}
