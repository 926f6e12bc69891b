/** What tasks take of pools: in files, in plans, and in slices. */
import { describe, expect, test } from "bun:test";
import type { TaskDefinition, WorkflowDefinition } from "../../src/workflow/model.ts";
import { parseWorkflow } from "../../src/workflow/parse.ts";
import { computePlacement, placementOf } from "../../src/workflow/placement.ts";
import { planOf } from "../../src/workflow/plan.ts";
import { Progress } from "../../src/workflow/progress.ts";
import { expectedSlices, nextSlices } from "../../src/workflow/slices.ts";

function read(text: string): WorkflowDefinition {
  const result = parseWorkflow(text, { path: "w.yml", id: "w" });
  if (!result.ok) throw new Error(result.diagnostics.map(({ message }) => message).join("\n"));
  return result.definition;
}

const slicesOf = (text: string) => expectedSlices(planOf(read(text))).map(({ tasks }) => tasks.join(" "));

describe("pool", () => {
  test.each([
    ["pool: warehouse", { warehouse: 1 }],
    ["pool: {warehouse: 2, api: 1}", { api: 1, warehouse: 2 }],
    ['pool: "${{ params.db }}"', { eu: 1 }],
    ['pool: {"${{ params.db }}": "${{ params.n }}"}', { eu: 3 }],
    ['pool: {"db-${{ params.db }}": 2, eu: "${{ params.n + 1 }}"}', { "db-eu": 2, eu: 4 }],
    ['pool: {"${{ params.db }}": 1, eu: 2}', { eu: 3 }],
    [`pool: {"\${{ 'constructor' }}": 2}`, { constructor: 2 }],
    [`pool: "\${{ '__proto__' }}"`, JSON.parse('{"__proto__": 1}')],
    ["pool: {}", undefined],
  ])("%s takes %p", (pool, slots) => {
    const definition = read(`params: {db: eu, n: {type: int, default: 3}}\ntasks: {a: {run: ls, ${pool}}}\n`);
    const values = {
      facts: { params: { db: "eu", n: 3 }, env: {}, run: {}, trigger: {} },
      results: () => undefined,
    };
    const placement = computePlacement(
      definition,
      definition.tasks[0] as TaskDefinition,
      values as unknown as Parameters<typeof computePlacement>[2],
    );
    expect(placement).toMatchObject(slots === undefined ? { key: "{}" } : { pool: slots });
  });

  test.each([
    ['pool: "${{ params.db }}"', { db: "a b" }, 'pool: "a b" is not a valid name for a pool'],
    [
      'pool: {x: "${{ params.db }}"}',
      { db: "0" },
      "pool.x: the value must be a whole number of slots from 1, not 0",
    ],
    ['pool: {x: "${{ trigger.n }}"}', {}, /^pool: /],
  ])("%s with %p: the task fails", (pool, params, fail) => {
    const definition = read(`params: {db: eu}\ntasks: {a: {run: ls, ${pool}}}\n`);
    const values = { facts: { params, env: {}, run: {}, trigger: {} }, results: () => undefined };
    const found = computePlacement(
      definition,
      definition.tasks[0] as TaskDefinition,
      values as unknown as Parameters<typeof computePlacement>[2],
    );
    expect(found).toEqual({ fail: typeof fail === "string" ? fail : expect.stringMatching(fail) });
  });

  test("of a workflow is the default of its tasks", () => {
    const workflow = { pool: { a: 1 } };
    expect(placementOf(workflow, {}).pool).toEqual({ a: 1 });
    expect(placementOf(workflow, { pool: { b: 2 } }).pool).toEqual({ b: 2 });
    expect(placementOf(workflow, { pool: {} })).toEqual(placementOf({}, {}));
  });

  test("has no effect on tasks of the principal, and says so", () => {
    const wait = parseWorkflow(
      "pool: a\ntasks:\n  w:\n    pool: b\n    config: !Wait\n      for: 1s\n  t: {run: ls}\n",
      { path: "w.yml", id: "w" },
    );
    expect(wait.ok && wait.warnings.map(({ code, message }) => [code, message])).toEqual([
      ["W002", '"pool" has no effect on !Wait'],
    ]);
    expect(wait.ok && planOf(wait.definition).node("w")?.takesSlots).toBeUndefined();
  });

  test("makes a task a slice by itself", () => {
    const chain = (second: string) =>
      `tasks:\n  a: {run: ls}\n  b: {run: ls, depends: [a]${second}}\n  c: {run: ls, depends: [b]}\n`;
    expect(slicesOf(chain(""))).toEqual(["a b c"]);
    expect(slicesOf(chain(", pool: x"))).toEqual(["a", "b", "c"]);
    expect(slicesOf(chain(', pool: "${{ run.id }}"'))).toEqual(["a", "b", "c"]);
    expect(slicesOf(chain(", pool: {}"))).toEqual(["a b c"]);
    expect(slicesOf("pool: x\ntasks: {a: {run: ls}, b: {run: ls}}\n")).toEqual(["a", "b"]);
    expect(slicesOf("pool: x\ntasks: {a: {run: ls}}\n")).toEqual(["a"]);
  });

  test("makes each item of a fan-out a slice by itself", () => {
    const plan = planOf(read("tasks: {a: {run: ls, pool: {x: 2}, foreach: [1, 2, 3]}}\n"));
    expect(plan.isWhole).toBe(false);
    const progress = new Progress(plan);
    progress.begin();
    progress.expanded("a", [{ key: "0" }, { key: "1" }, { key: "2" }]);
    expect(nextSlices(plan, progress).map(({ tasks, placement }) => [tasks, placement.pool])).toEqual([
      [["a[0]"], { x: 2 }],
      [["a[1]"], { x: 2 }],
      [["a[2]"], { x: 2 }],
    ]);
  });

  test("may be of a hook", () => {
    const plan = planOf(read("tasks: {a: {run: ls}}\nhooks: {on_exit: {run: ls, pool: x}}\n"));
    expect(plan.node("on_exit")).toMatchObject({ takesSlots: true, placement: { pool: { x: 1 } } });
  });

  test("changes nothing about a workflow that has none", () => {
    const plan = planOf(read("tasks: {a: {run: ls}}\n"));
    expect(plan.isWhole).toBe(true);
    expect(JSON.stringify(plan)).not.toContain("pool");
  });
});
