/** The graph of very many tasks, of which most share boxes. */
import { expect, test } from "bun:test";
import { drawGraph, type GraphTask } from "../../src/terminal/graph.ts";
import { firstFolded, foldTasks } from "../../src/terminal/graph-fold.ts";
import { buildDag } from "../../src/workflow/dag.ts";

/** The same numbers each time. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fff_ffff;
    return (state >>> 8) % below;
  };
}

function tasksOf(depends: Readonly<Record<string, readonly string[]>>): GraphTask[] {
  const tasks = Object.entries(depends).map(([id, needed]) => ({ id, depends: [...needed] }));
  const { depth } = buildDag(tasks);
  return tasks.map((task) => ({ ...task, depth: depth(task.id) }));
}

const label = (ids: readonly string[], rows: number) => `+${ids.length}${rows > 1 ? ` in ${rows} rows` : ""}`;

/** What is above each box. */
function above(tasks: readonly GraphTask[]): Map<string, Set<string>> {
  const byId = new Map(tasks.map((task) => [task.id, task]));
  const known = new Map<string, Set<string>>();
  const of = (id: string): Set<string> => {
    const all = known.get(id) ?? new Set<string>();
    if (known.has(id)) return all;
    known.set(id, all);
    for (const needed of byId.get(id)?.depends ?? []) {
      all.add(needed);
      for (const one of of(needed)) all.add(one);
    }
    return all;
  };
  for (const { id } of tasks) of(id);
  return known;
}

test("rows without a kept task share a box; a task that would be alone in one keeps its own", () => {
  const chains = ["a", "b", "c"].flatMap((chain) =>
    [1, 2, 3, 4].map((n): [string, string[]] => [`${chain}${n}`, n === 1 ? [] : [`${chain}${n - 1}`]]),
  );
  const tasks = tasksOf({ ...Object.fromEntries(chains), end: ["a4", "b4", "c4"] });
  const folded = foldTasks(tasks, new Set(["b2"]), label);
  expect(folded.map(({ id, label: text = id, depth }) => `${depth} ${text}`)).toEqual([
    "0 +3",
    "1 b2",
    "1 +2",
    "2 +7 in 3 rows",
  ]);
  expect(drawGraph(folded, { width: 60 })).toMatchInlineSnapshot(`
    "     ┌────┐
         │ +3 │
         └──┬─┘
        ╭───┴───╮
     ┌──┴─┐  ┌──┴─┐
     │ b2 │  │ +2 │
     └──┬─┘  └──┬─┘
        ╰───┬───╯
    ┌───────┴──────┐
    │ +7 in 3 rows │
    └──────────────┘"
  `);
  expect(foldTasks(tasks, new Set(["a4", "b4"]), label).map(({ id, label: text = id }) => text)).toEqual([
    "+9 in 3 rows",
    "a4",
    "b4",
    "c4",
    "end",
  ]);
});

test("lines between kept tasks are those of the workflow, and what is above a kept task stays above it", () => {
  for (let seed = 1; seed <= 40; seed++) {
    const next = numbers(seed);
    const depends: Record<string, string[]> = {};
    for (let i = 0; i < 80; i++) {
      const needed = Array.from({ length: i === 0 ? 0 : next(4) }, () => `t${Math.max(0, i - 1 - next(20))}`);
      depends[`t${i}`] = [...new Set(needed)];
    }
    const tasks = tasksOf(depends);
    const kept = new Set(tasks.filter(() => next(6) === 0).map(({ id }) => id));
    const folded = foldTasks(tasks, kept, label);
    const ids = new Set(folded.map(({ id }) => id));
    const own = new Map(folded.map((task) => [task.id, task]));
    const reach = above(folded);
    const before = above(tasks);
    for (const task of folded)
      for (const needed of task.depends) expect(own.get(needed)?.depth ?? 1000).toBeLessThan(task.depth);
    for (const id of kept) {
      const lines = own.get(id)?.depends.filter((needed) => kept.has(needed)) ?? [];
      expect(lines.sort()).toEqual((depends[id] ?? []).filter((needed) => kept.has(needed)).sort());
      for (const other of before.get(id) ?? [])
        if (ids.has(other)) expect(reach.get(id)?.has(other)).toBe(true);
    }
    const counted = folded.reduce((sum, { id, label: text }) => {
      return sum + (firstFolded(id) === null ? 1 : Number.parseInt(text ?? "", 10));
    }, 0);
    expect(counted).toBe(80);
  }
});

test("without options a graph that is too wide stays a list, as the command line prints it", () => {
  const wide = tasksOf({
    start: [],
    ...Object.fromEntries(
      Array.from({ length: 200 }, (_, i) => [`t${i}`, [i === 0 ? "start" : `t${i >> 1}`]]),
    ),
  });
  expect(drawGraph(wide, { width: 60 })).toContain("← start");
  const text = drawGraph(wide, { width: 60, fold: { keep: ["t7"], labelOf: label } });
  expect(text).toContain("│ t7 │");
  expect(text).toContain("in 5 rows");
  expect(text).not.toContain("←");
});
