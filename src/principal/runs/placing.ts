/** Computes where tasks may run whose labels have expressions. Pure. */
import type { ScopeValues } from "../../workflow/expressions.ts";
import type { Expansion, ItemValue } from "../../workflow/fan-out.ts";
import type { TaskDefinition, WorkflowDefinition } from "../../workflow/model.ts";
import { computePlacement, type Placement } from "../../workflow/placement.ts";
import { factsOf, type RunWithFacts } from "../../workflow/run-facts.ts";
import type { RunProgress } from "./progress-of-runs.ts";

/** Where a ready task or hook may run; or why that cannot be computed. */
export function placed(
  run: RunWithFacts,
  { definition, progress, agents }: Pick<RunProgress, "definition" | "progress" | "agents">,
  task: TaskDefinition,
): Placement | { readonly fail: string } {
  const facts = factsOf(run, definition, agents.up);
  const { outcome } = progress;
  const end =
    outcome === null ? {} : { status: outcome.status, error: outcome.error, failed_tasks: outcome.failed };
  return computePlacement(definition, task, {
    facts: { ...facts, run: { ...facts.run, ...end } },
    results: (id) => progress.results([id])[id],
  });
}

/** The items of a fan-out with the labels that an agent must have for each of them. */
export function placedItems(
  definition: WorkflowDefinition,
  task: TaskDefinition,
  items: readonly ItemValue[],
  values: ScopeValues,
): Expansion {
  const all: ItemValue[] = [];
  for (const [index, item] of items.entries()) {
    const placement = computePlacement(definition, task, { ...values, item: { ...item, index } });
    if ("fail" in placement) return { fail: `${placement.fail} (item "${item.key}")` };
    const { runs_on, pool } = placement;
    all.push({ ...item, runs_on, ...(pool === undefined ? {} : { pool }) });
  }
  return { items: all };
}
