import { describe, expect, test } from "bun:test";
import { InvalidInputError } from "../../src/errors.ts";
import { buildDag, findCycles } from "../../src/workflow/dag.ts";
import { randomDag, randomNumbers, tasksOf } from "./support.ts";

describe("buildDag", () => {
  const dag = buildDag(tasksOf("a; b < a; c < a; d < b c; e"));

  test("orders dependencies before dependents", () => {
    expect(dag.order).toEqual(["a", "e", "b", "c", "d"]);
  });

  test("knows neighbours, ends and depths", () => {
    expect(dag.dependencies("d")).toEqual(["b", "c"]);
    expect(dag.dependents("a")).toEqual(["b", "c"]);
    expect(dag.roots).toEqual(["a", "e"]);
    expect(dag.leaves).toEqual(["d", "e"]);
    expect(["a", "b", "d", "e"].map((id) => dag.depth(id))).toEqual([0, 1, 2, 0]);
  });

  test("knows what is skipped when a task fails", () => {
    expect(dag.descendants("a")).toEqual(["b", "c", "d"]);
    expect(dag.descendants("b")).toEqual(["d"]);
    expect(dag.descendants("e")).toEqual([]);
    expect(dag.ancestors("d")).toEqual(["a", "b", "c"]);
  });

  test("knows what can start", () => {
    expect(dag.ready(new Set())).toEqual(["a", "e"]);
    expect(dag.ready(new Set(["a"]))).toEqual(["b", "c", "e"]);
    expect(dag.ready(new Set(["a", "b", "e"]))).toEqual(["c"]);
    expect(dag.ready(new Set(["a", "b", "c", "e"]))).toEqual(["d"]);
  });

  test("refuses what is no graph", () => {
    const message = (text: string): string => {
      try {
        buildDag(tasksOf(text));
      } catch (error) {
        expect(error).toBeInstanceOf(InvalidInputError);
        return String(error);
      }
      return "";
    };
    expect(message("a; a")).toContain('task "a" is there twice');
    expect(message("a < b")).toContain('depends on "b", which does not exist');
    expect(message("a < b; b < a")).toContain("a → b → a");
    expect(message("a < a")).toContain("a → a");
    expect(() => dag.descendants("zz")).toThrow('there is no task "zz"');
  });

  test("a dependency named twice counts once", () => {
    const twice = buildDag([
      { id: "a", depends: [] },
      { id: "b", depends: ["a", "a"] },
    ]);
    expect(twice.dependencies("b")).toEqual(["a"]);
    expect(twice.order).toEqual(["a", "b"]);
  });

  test("goes as deep as one likes", () => {
    const chain = Array.from({ length: 100_000 }, (_, i) => ({
      id: `t${i}`,
      depends: i === 0 ? [] : [`t${i - 1}`],
    }));
    const long = buildDag(chain);
    expect(long.depth("t99999")).toBe(99_999);
    expect(long.descendants("t0")).toHaveLength(99_999);
  });

  test("running what is ready, in any order, runs each task once and after its dependencies", () => {
    for (let seed = 1; seed <= 50; seed++) {
      const random = randomNumbers(seed);
      const tasks = randomDag(random, 30, 3);
      const graph = buildDag(tasks);
      const done = new Set<string>();
      while (done.size < tasks.length) {
        const ready = graph.ready(done);
        const next = ready[Math.floor(random() * ready.length)];
        if (next === undefined) throw new Error(`seed ${seed}: nothing is ready`);
        expect(graph.dependencies(next).every((id) => done.has(id))).toBe(true);
        done.add(next);
      }
      const place = new Map(graph.order.map((id, at) => [id, at]));
      for (const task of tasks) {
        for (const id of task.depends) expect(place.get(id)).toBeLessThan(place.get(task.id) ?? -1);
        const waiting = new Set(graph.descendants(task.id));
        for (const other of tasks) {
          expect(waiting.has(other.id)).toBe(graph.ancestors(other.id).includes(task.id));
        }
      }
    }
  });
});

describe("findCycles", () => {
  test("gives a shortest cycle for each knot", () => {
    expect(findCycles(tasksOf("s; a < s d; b < a; c < b; d < c b; x < y; y < x; z < x"))).toEqual([
      ["a", "d", "b", "a"],
      ["x", "y", "x"],
    ]);
  });

  test("is empty without cycles, and passes over what does not exist", () => {
    expect(findCycles(tasksOf("a; b < a zz; c < b a"))).toEqual([]);
  });

  test("finds a cycle exactly when one was put in", () => {
    for (let seed = 1; seed <= 100; seed++) {
      const random = randomNumbers(seed);
      const tasks = randomDag(random, 20, 2).map((task) => ({ id: task.id, depends: [...task.depends] }));
      expect(findCycles(tasks)).toEqual([]);
      const dag = buildDag(tasks);
      const start = tasks.find((task) => dag.descendants(task.id).length > 0);
      if (start === undefined) continue;
      const end = dag.descendants(start.id).at(-1) ?? "";
      start.depends.push(end);
      const [cycle = []] = findCycles(tasks);
      expect(cycle.length).toBeGreaterThan(1);
      expect(cycle[0]).toBe(cycle.at(-1) ?? "");
      for (const [at, id] of cycle.slice(0, -1).entries()) {
        expect(tasks.find((task) => task.id === id)?.depends).toContain(cycle[at + 1] ?? "");
      }
    }
  });
});
