/** The dependency graph of a workflow's tasks. Pure; safe for graphs of any depth (nothing here recurses). */
import { InvalidInputError } from "../errors.ts";

/** The properties of a task that the graph needs. */
export interface DagTask {
  readonly id: string;
  /** Ids of the tasks that must have COMPLETED first. */
  readonly depends: readonly string[];
}

/** The dependency graph of a set of tasks. Lists of ids are in the order in which the tasks were given. */
export interface Dag {
  /** Every id, dependencies before dependents; roots first, in the given order. */
  readonly order: readonly string[];
  /** Longest path to each task: 0 for roots. */
  depth(id: string): number;
  /** The direct dependencies of `id`. */
  dependencies(id: string): readonly string[];
  /** The direct dependents of `id`. */
  dependents(id: string): readonly string[];
}

/**
 * Builds the graph.
 * @throws InvalidInputError when an id is duplicated, a dependency does not exist, or there is a cycle.
 */
export function buildDag(tasks: readonly DagTask[]): Dag {
  const dependencies = new Map<string, readonly string[]>();
  const dependents = new Map<string, string[]>();
  for (const task of tasks) {
    if (dependencies.has(task.id)) throw new InvalidInputError(`duplicate task "${task.id}"`);
    dependencies.set(task.id, [...new Set(task.depends)]);
    dependents.set(task.id, []);
  }
  for (const [id, needed] of dependencies) {
    for (const dependency of needed) {
      const followers = dependents.get(dependency);
      if (followers === undefined) {
        throw new InvalidInputError(`task "${id}" depends on "${dependency}", which does not exist`);
      }
      followers.push(id);
    }
  }

  const cycle = findCycles(tasks)[0];
  if (cycle !== undefined) throw new InvalidInputError(`the dependencies form a cycle: ${cycle.join(" → ")}`);

  const depths = new Map<string, number>();
  const order = topologicalOrder(tasks, dependencies, dependents, depths);

  const neighbours = (of: ReadonlyMap<string, readonly string[]>, id: string): readonly string[] => {
    const list = of.get(id);
    if (list === undefined) throw new InvalidInputError(`there is no task "${id}"`);
    return list;
  };
  return {
    order,
    depth: (id) => {
      neighbours(dependencies, id);
      return depths.get(id) ?? 0;
    },
    dependencies: (id) => neighbours(dependencies, id),
    dependents: (id) => neighbours(dependents, id),
  };
}

/** Kahn's algorithm; also computes the depth of each task. */
function topologicalOrder(
  tasks: readonly DagTask[],
  dependencies: ReadonlyMap<string, readonly string[]>,
  dependents: ReadonlyMap<string, readonly string[]>,
  depths: Map<string, number>,
): string[] {
  const waiting = new Map<string, number>();
  const order: string[] = [];
  for (const task of tasks) {
    const count = dependencies.get(task.id)?.length ?? 0;
    waiting.set(task.id, count);
    if (count === 0) {
      depths.set(task.id, 0);
      order.push(task.id);
    }
  }
  for (let index = 0; index < order.length; index++) {
    const id = order[index] ?? "";
    for (const follower of dependents.get(id) ?? []) {
      depths.set(follower, Math.max(depths.get(follower) ?? 0, (depths.get(id) ?? 0) + 1));
      const left = (waiting.get(follower) ?? 0) - 1;
      waiting.set(follower, left);
      if (left === 0) order.push(follower);
    }
  }
  return order;
}

/**
 * The cycles of the graph: for each set of mutually dependent tasks, a shortest cycle through its first task, as a path that ends with
 * its first id (`a`, `b`, `a`: a depends on b, b depends on a). Ignores dependencies that do not exist. Empty for an acyclic graph.
 */
export function findCycles(tasks: readonly DagTask[]): string[][] {
  const depends = new Map(tasks.map((task) => [task.id, task.depends]));
  const cycles: string[][] = [];
  const component = components(depends);
  const seen = new Set<number>();
  for (const task of tasks) {
    const own = component.get(task.id);
    if (own === undefined || seen.has(own)) continue;
    const cycle = shortestCycle(task.id, (id) =>
      (depends.get(id) ?? []).filter((next) => component.get(next) === own),
    );
    if (cycle === undefined) continue;
    seen.add(own);
    cycles.push(cycle);
  }
  return cycles;
}

/** A shortest path from `start` back to itself, by breadth-first search. */
function shortestCycle(start: string, next: (id: string) => readonly string[]): string[] | undefined {
  const cameFrom = new Map<string, string>();
  const queue = [start];
  for (let index = 0; index < queue.length; index++) {
    const id = queue[index] ?? "";
    for (const follower of next(id)) {
      if (follower === start) {
        const path = [start];
        for (
          let step: string | undefined = id;
          step !== undefined && step !== start;
          step = cameFrom.get(step)
        ) {
          path.push(step);
        }
        path.push(start);
        return path.reverse();
      }
      if (cameFrom.has(follower)) continue;
      cameFrom.set(follower, id);
      queue.push(follower);
    }
  }
  return undefined;
}

/** The strongly connected component of each id (Tarjan's algorithm with an explicit stack). */
function components(graph: ReadonlyMap<string, readonly string[]>): Map<string, number> {
  const index = new Map<string, number>();
  const low = new Map<string, number>();
  const component = new Map<string, number>();
  const stack: string[] = [];
  let counter = 0;
  let componentCount = 0;

  for (const root of graph.keys()) {
    if (index.has(root)) continue;
    const frames = [{ id: root, edge: 0 }];
    for (let frame = frames.at(-1); frame !== undefined; frame = frames.at(-1)) {
      const { id } = frame;
      if (frame.edge === 0) {
        index.set(id, counter);
        low.set(id, counter);
        counter += 1;
        stack.push(id);
      }
      const edges = graph.get(id) ?? [];
      const next = edges[frame.edge];
      if (next !== undefined) {
        frame.edge += 1;
        if (!graph.has(next)) continue;
        if (!index.has(next)) frames.push({ id: next, edge: 0 });
        else if (!component.has(next)) low.set(id, Math.min(low.get(id) ?? 0, index.get(next) ?? 0));
        continue;
      }
      frames.pop();
      const parent = frames.at(-1);
      if (parent !== undefined) {
        low.set(parent.id, Math.min(low.get(parent.id) ?? 0, low.get(id) ?? 0));
      }
      if (low.get(id) === index.get(id)) {
        for (let member = stack.pop(); member !== undefined; member = stack.pop()) {
          component.set(member, componentCount);
          if (member === id) break;
        }
        componentCount += 1;
      }
    }
  }
  return component;
}
