/**
 * Folds the graph of very many tasks: of each row only chosen tasks are kept, the others share one box, and rows without a chosen task
 * share one as well.
 */
import type { GraphTask } from "./graph-task.ts";

/** What is kept of a graph that has too many tasks to be drawn, and how the rest is named. */
export interface FoldOptions {
  /** Ids of tasks that are worth a box of their own, the most important first. */
  readonly keep: readonly string[];
  /** The label of a box that stands for several tasks. @param rows the number of rows that they were in */
  labelOf(ids: readonly string[], rows: number): string;
}

/** Begins the id of a box that stands for several tasks, followed by that of the first one. */
const FOLD = "+\t";

/** The first of the tasks that a box stands for, by the id of its label; null if it stands for itself. */
export function firstFolded(id: string): string | null {
  return id.startsWith(FOLD) ? id.slice(FOLD.length) : null;
}

/**
 * The graph with a box for all tasks that are not kept in a row, or in rows that follow each other. Lines between tasks that are kept are all
 * there; of the others, those that say nothing new are left out.
 */
export function foldTasks(
  tasks: readonly GraphTask[],
  kept: ReadonlySet<string>,
  labelOf: FoldOptions["labelOf"],
): GraphTask[] {
  const rows: GraphTask[][] = [];
  for (const task of tasks) {
    for (let missing = rows.length; missing <= task.depth; missing++) rows.push([]);
    rows[task.depth]?.push(task);
  }
  const nodeOf = new Map<string, string>();
  const nodes: GraphTask[] = [];
  let depth = -1;
  for (let row = 0; row < rows.length; row++) {
    depth++;
    const here = rows[row] ?? [];
    const own = here.filter(({ id }) => kept.has(id));
    const others = here.filter(({ id }) => !kept.has(id));
    let count = 1;
    if (own.length === 0) {
      for (let next = rows[row + 1]; next !== undefined && !next.some(({ id }) => kept.has(id)); count++) {
        others.push(...next);
        row++;
        next = rows[row + 1];
      }
    }
    // A box for one task would be no smaller than its own.
    const alone = others.length === 1 ? others : [];
    for (const task of [...own, ...alone]) {
      nodeOf.set(task.id, task.id);
      nodes.push({ ...task, depth });
    }
    const [first] = others;
    if (first === undefined || alone.length > 0) continue;
    const id = `${FOLD}${first.id}`;
    for (const task of others) nodeOf.set(task.id, id);
    const label = labelOf(
      others.map((task) => task.id),
      count,
    );
    nodes.push({ id, label, depends: [], depth });
  }
  return connect(nodes, edgesOf(tasks, nodeOf));
}

/** The boxes on which each box depends. */
function edgesOf(tasks: readonly GraphTask[], nodeOf: ReadonlyMap<string, string>): Map<string, Set<string>> {
  const edges = new Map<string, Set<string>>();
  for (const task of tasks) {
    const to = nodeOf.get(task.id) ?? task.id;
    const into = edges.get(to) ?? new Set();
    edges.set(to, into);
    for (const needed of task.depends) {
      const from = nodeOf.get(needed) ?? needed;
      if (from !== to) into.add(from);
    }
  }
  return edges;
}

/** Leaves out lines of boxes for several tasks that lead where other lines lead as well. */
function connect(nodes: readonly GraphTask[], edges: ReadonlyMap<string, ReadonlySet<string>>): GraphTask[] {
  const above = new Map<string, Set<string>>();
  // Rows come in order: what is above a box is known before it.
  return nodes.map((node) => {
    const into = [...(edges.get(node.id) ?? [])];
    const all = new Set(into);
    const further = new Set<string>();
    for (const from of into) for (const one of above.get(from) ?? []) further.add(one);
    for (const one of further) all.add(one);
    above.set(node.id, all);
    const isFold = firstFolded(node.id) !== null;
    const depends = into.filter((from) => !further.has(from) || !(isFold || firstFolded(from) !== null));
    return { ...node, depends };
  });
}
