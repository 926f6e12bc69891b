/** Which tasks of a run can be given to agents next. */
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
}

/**
 * The slices that can be made now, in the order of their first tasks in the file. Tasks that stay together: for each placement, the
 * largest set of undecided tasks whose needs are in the set, or over and accepted. Tasks that spread: each ready one by itself.
 * The caller tells the machine of the slices that it makes ({@link Progress.assigned}).
 */
export function nextSlices(plan: Plan, progress: Progress): NextSlice[] {
  const slices: { first: number; slice: NextSlice }[] = [];
  for (const [, seeds] of Map.groupBy(progress.ready, (node) => node.placement.key)) {
    for (const nodes of seeds[0]?.placement.spread === true
      ? seeds.map((seed) => [seed])
      : [grown(plan, progress, seeds)]) {
      const [first] = nodes;
      if (first === undefined) continue;
      const slice = {
        tasks: nodes.map((node) => node.id),
        placement: first.placement,
        protocol: protocolOfNodes(nodes),
      };
      slices.push({ first: first.index, slice });
    }
  }
  return slices.sort((a, b) => a.first - b.first).map(({ slice }) => slice);
}

/** The slices of a run in which every task completes, if tasks that can start at the same time take equally long. */
export function expectedSlices(plan: Plan): NextSlice[] {
  const progress = new Progress(plan);
  const all: NextSlice[] = [];
  progress.begin();
  for (let next = nextSlices(plan, progress); next.length > 0; next = nextSlices(plan, progress)) {
    all.push(...next);
    for (const task of next.flatMap(({ tasks }) => tasks)) progress.ended(task, { status: "COMPLETED" });
  }
  return all;
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
      if (node === undefined || node.waits === true || node.placement.key !== placement.key) continue;
      const open = missing.get(dependent) ?? progress.openNeeds(dependent);
      if (open === null) continue;
      missing.set(dependent, open - 1);
      if (open === 1) nodes.push(node);
    }
  }
  return nodes.sort((a, b) => a.index - b.index);
}
