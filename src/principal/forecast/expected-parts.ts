/** The parts of a run that agents have one by one, and how long each of them takes. Pure. */

import type { WorkflowDefinition } from "../../workflow/model.ts";
import { type Plan, planOf } from "../../workflow/plan.ts";
import { expectedSlices } from "../../workflow/slices.ts";
import { needsOfSlice, needsOfWhole } from "../limits/needs.ts";
import type { Part } from "./simulation-input.ts";

/** A part without its duration. */
interface Outline {
  /** Those that others need before them. */
  readonly tasks: readonly string[];
  /** Within it: what each task depends on. */
  readonly depends: ReadonlyMap<string, readonly string[]>;
  /** The tasks of other parts that it needs, by part; null: all of the part. */
  readonly after: ReadonlyMap<number, readonly string[] | null>;
  readonly needs: string | null;
}

/** The parts of a workflow's runs; a text if an agent has all of a run at once: what it needs. */
export type RunOutline = string | readonly Outline[];

/** @throws InvalidInputError when its tasks do not form a DAG */
export function outlineOf(definition: WorkflowDefinition, priority: number): RunOutline {
  const plan = planOf(definition);
  if (plan.isWhole) return needsOfWhole(plan, priority);
  const slices = expectedSlices(plan).map(({ tasks, placement, protocol, usesStore }) => ({
    tasks,
    needs: needsOfSlice(placement, protocol, usesStore, priority),
  }));
  const inSlices = new Set(slices.flatMap(({ tasks }) => tasks));
  // Tasks that no agent executes are parts, too: others wait for them.
  const others = plan.nodes
    .filter(({ id }) => !inSlices.has(id))
    .map(({ id }) => ({ tasks: [id], needs: null }));
  return connected(plan, [...slices, ...others]);
}

function connected(
  plan: Plan,
  parts: readonly { readonly tasks: readonly string[]; readonly needs: string | null }[],
): Outline[] {
  const partOf = new Map(parts.flatMap(({ tasks }, n) => tasks.map((task) => [task, n] as const)));
  const needed = (task: string) => plan.node(task)?.needs.map((need) => need.task) ?? [];
  const isHook = (task: string) => plan.node(task)?.hook !== undefined;
  const beforeHooks = parts.flatMap(({ tasks }, n) => (tasks.some(isHook) ? [] : [n]));
  const place = new Map(plan.order.map((id, n) => [id, n]));
  return parts.map(({ tasks: unordered, needs }, own) => {
    const tasks = unordered.toSorted((a, b) => (place.get(a) ?? 0) - (place.get(b) ?? 0));
    const after = new Map<number, readonly string[] | null>();
    if (tasks.some(isHook)) for (const n of beforeHooks) after.set(n, null);
    for (const task of tasks.flatMap(needed)) {
      const part = partOf.get(task);
      if (part !== undefined && part !== own) after.set(part, [...(after.get(part) ?? []), task]);
    }
    return {
      tasks,
      needs,
      depends: new Map(
        tasks.map((task) => [task, needed(task).filter((other) => partOf.get(other) === own)]),
      ),
      after,
    };
  });
}

/**
 * The parts with their durations.
 * @param whole the median of the workflow, ms; null if it is not known
 * @param ofTask the median of a task, ms; undefined if it is not known
 */
export function partsOf(
  outline: RunOutline,
  whole: number | null,
  ofTask: (task: string) => number | undefined,
): readonly Part[] {
  if (typeof outline === "string")
    return [{ after: [], duration_ms: whole ?? 0, needs: outline, isWhole: true }];
  const ends = outline.map(({ tasks, depends }) => endsOf(tasks, depends, ofTask));
  const last = (n: number) => latest(ends[n]?.values() ?? []);
  const parts = outline.map(
    ({ after, needs }, n): Part => ({
      needs,
      duration_ms: last(n),
      after: [...after].map(([part, tasks]) => ({
        part,
        ms: tasks === null ? last(part) : latest(tasks.map((task) => ends[part]?.get(task) ?? 0)),
      })),
    }),
  );
  // Nothing is known of its tasks: the first part stands for all.
  if (whole === null || parts.some(({ duration_ms }) => duration_ms > 0)) return parts;
  return parts.map((part, n) => ({
    ...part,
    duration_ms: n === 0 ? whole : 0,
    after: part.after.map((before) => ({ ...before, ms: before.part === 0 ? whole : 0 })),
  }));
}

/** When the tasks of a part end after its beginning, ms. @param tasks those that others need before them */
function endsOf(
  tasks: readonly string[],
  depends: ReadonlyMap<string, readonly string[]>,
  ofTask: (task: string) => number | undefined,
): ReadonlyMap<string, number> {
  const ends = new Map<string, number>();
  for (const task of tasks) {
    const begins = (depends.get(task) ?? []).reduce(
      (latest, other) => Math.max(latest, ends.get(other) ?? 0),
      0,
    );
    ends.set(task, begins + (ofTask(task) ?? 0));
  }
  return ends;
}

/** The latest of these times; 0 for none. There may be too many for the arguments of one call. */
function latest(times: Iterable<number>): number {
  let last = 0;
  for (const time of times) last = Math.max(last, time);
  return last;
}
