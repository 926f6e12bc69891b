import { describe, expect, test } from "bun:test";
import { InvalidInputError } from "../../src/errors.ts";
import { buildDag, findCycles } from "../../src/workflow/dag.ts";
import { randomDag, randomNumbers, tasksOf } from "./support.ts";

describe("buildDag", () => {
  const dag = buildDag(tasksOf("a; b < a; c < a; d < b c; e"));

  test("orders dependencies before dependents", () => {
    expect(dag.order).toEqual(["a", "e", "b", "c", "d"]);
  });

  test("knows neighbours and depths", () => {
    expect(dag.dependencies("d")).toEqual(["b", "c"]);
    expect(dag.dependents("a")).toEqual(["b", "c"]);
    expect(["a", "b", "d", "e"].map((id) => dag.depth(id))).toEqual([0, 1, 2, 0]);
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
    expect(message("a; a")).toContain('duplicate task "a"');
    expect(message("a < b")).toContain('depends on "b", which does not exist');
    expect(message("a < b; b < a")).toContain("a → b → a");
    expect(message("a < a")).toContain("a → a");
    expect(() => dag.dependents("zz")).toThrow('there is no task "zz"');
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
  });

  test("the order and the depths of any graph agree with its dependencies", () => {
    for (let seed = 1; seed <= 50; seed++) {
      const tasks = randomDag(randomNumbers(seed), 30, 3);
      const graph = buildDag(tasks);
      expect([...graph.order].sort()).toEqual(tasks.map(({ id }) => id).sort());
      const place = new Map(graph.order.map((id, at) => [id, at]));
      for (const { id, depends } of tasks) {
        for (const needed of depends) expect(place.get(needed)).toBeLessThan(place.get(id) ?? -1);
        const depths = depends.map((needed) => graph.depth(needed) + 1);
        expect(graph.depth(id)).toBe(Math.max(0, ...depths));
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
      const start = tasks.find((task) => dag.dependents(task.id).length > 0);
      if (start === undefined) continue;
      let end = start.id;
      for (let next: string | undefined = end; next !== undefined; next = dag.dependents(end).at(-1))
        end = next;
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
