/** Which tasks of a run can be given to agents next. */

import type { Decision } from "./decisions.ts";
import type { Placement } from "./placement.ts";
import { type Plan, type PlanNode, protocolOfNodes } from "./plan.ts";
import { Progress } from "./progress.ts";

/** Tasks that one agent gets at once. */
export interface NextSlice {
  /** In the order of the file. */
  readonly tasks: string[];
  readonly placement: Placement;
  /** The protocol version that an agent needs for them. */
  readonly protocol: number;
  /** Whether one of them gets secrets of the principal's store. */
  readonly usesStore: boolean;
}

/** Maximum number of items in a slice. */
const MAX_ITEMS = 100;
/** How many slices each free place of an agent gets of the items that are ready, so that agents that are faster get more of them. */
const SLICES_A_PLACE = 4;

/**
 * The slices that can be made now, in the order of their first tasks in the file. Tasks that stay together: for each placement, the
 * largest set of undecided tasks whose needs are in the set, or over and accepted. Tasks that spread, poll, or take slots of pools: each
 * ready one by itself, and each item of those that take slots. Other items of a fan-out: a few of one placement together, fewer if there is more room.
 * The caller tells the machine of the slices that it makes ({@link Progress.assigned}).
 * @param room number of runs that the agents could take now, at least 1
 * @param placementOf where a ready task, or item, may run
 */
export function nextSlices(
  plan: Plan,
  progress: Progress,
  room = 1,
  placementOf: (node: PlanNode) => Placement = ({ placement }) => placement,
): NextSlice[] {
  const slices: { first: number; slice: NextSlice }[] = [];
  const groups = Map.groupBy(progress.ready, (node) => `${node.item?.task ?? ""} ${placementOf(node).key}`);
  for (const [, seeds] of groups) {
    for (const nodes of divided(plan, progress, seeds, room)) {
      const [first] = nodes;
      if (first === undefined) continue;
      slices.push({ first: first.index, slice: sliceOf(nodes, placementOf(first)) });
    }
  }
  return slices.sort((a, b) => a.first - b.first).map(({ slice }) => slice);
}

/**
 * The slices of a run in which every task completes, if tasks that can start at the same time take equally long. A fan-out whose items
 * may go to different agents is shown as a slice; tasks that no agent executes are in none.
 */
export function expectedSlices(plan: Plan): NextSlice[] {
  const progress = new Progress(plan);
  const all: NextSlice[] = [];
  const open: Decision[] = progress.begin();
  const end = (task: string): void => {
    open.push(...progress.ended(task, { status: "COMPLETED" }));
  };
  for (;;) {
    const next = nextSlices(plan, progress);
    for (const decision of open.splice(0)) {
      const node = "task" in decision ? plan.node(decision.task) : undefined;
      if (node?.waits !== undefined) end(node.id);
      else if (node?.fanOut?.isShared === true) next.push(sliceOf([node], node.placement));
    }
    all.push(...next);
    for (const task of next.flatMap(({ tasks }) => tasks)) end(task);
    if (next.length === 0 && open.length === 0) return all;
  }
}

/** Whether a slice is a task that polls, which is a slice by itself. */
export function isPoll(plan: Plan, { tasks }: { readonly tasks: readonly string[] }): boolean {
  return tasks.some((task) => plan.node(task)?.polls === true);
}

function sliceOf(nodes: readonly PlanNode[], placement: Placement): NextSlice {
  return {
    tasks: nodes.map((node) => node.id),
    placement,
    protocol: protocolOfNodes(nodes),
    usesStore: nodes.some((node) => node.usesStore === true),
  };
}

/** Divides ready tasks of one placement, or ready items of one fan-out with one placement, into slices. */
function divided(
  plan: Plan,
  progress: Progress,
  seeds: readonly PlanNode[],
  room: number,
): readonly (readonly PlanNode[])[] {
  const [alone, together] = partition(
    seeds,
    ({ polls = false, takesSlots = false, item, placement }) =>
      polls || takesSlots || (placement.spread && item === undefined),
  );
  const rest = together[0]?.item === undefined ? [grown(plan, progress, together)] : chunked(together, room);
  return [...alone.map((node) => [node]), ...rest];
}

function partition<T>(list: readonly T[], isFirst: (one: T) => boolean): [T[], T[]] {
  return [list.filter(isFirst), list.filter((one) => !isFirst(one))];
}

function chunked(items: readonly PlanNode[], room: number): PlanNode[][] {
  const places = SLICES_A_PLACE * Math.max(1, room);
  const size = Math.max(1, Math.min(MAX_ITEMS, Math.ceil(items.length / places)));
  return Array.from({ length: Math.ceil(items.length / size) }, (_, n) =>
    items.slice(n * size, (n + 1) * size),
  );
}

/** Whether a slice may have it before it is ready, together with what it needs. */
function canFollow({ waits, polls = false, takesSlots = false, fanOut, isLate = false }: PlanNode): boolean {
  return waits === undefined && !polls && !takesSlots && fanOut?.isShared !== true && !isLate;
}

/** The ready tasks of a placement together with all that can follow them on the same agent. */
function grown(plan: Plan, progress: Progress, ready: readonly PlanNode[]): PlanNode[] {
  const nodes = [...ready];
  /** For each dependent of the set, its needs that are neither over nor in the set. */
  const missing = new Map<string, number>();
  // The list grows while it is read.
  for (const { id, placement } of nodes) {
    for (const { task: dependent } of plan.dependents(id)) {
      const node = plan.node(dependent);
      if (node === undefined || !canFollow(node) || node.placement.key !== placement.key) continue;
      const open = missing.get(dependent) ?? progress.openNeeds(dependent);
      if (open === null) continue;
      missing.set(dependent, open - 1);
      if (open === 1) nodes.push(node);
    }
  }
  return nodes.sort((a, b) => a.index - b.index);
}
