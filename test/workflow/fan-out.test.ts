import { describe, expect, test } from "bun:test";
import { aggregate, expandItems } from "../../src/workflow/fan-out.ts";
import { itemFileName, nodeId } from "../../src/workflow/item-id.ts";
import { planOf } from "../../src/workflow/plan.ts";
import type { RunFacts } from "../../src/workflow/run-facts.ts";
import { definitionOf } from "./support.ts";

const facts = (params: Record<string, string> = {}): RunFacts => ({
  params,
  run: { id: "r", workflow_id: "w", attempt: 1, trigger: "api", scheduled_time_ms: null, created_at_ms: 0 },
  event: {},
  env: {},
});

const file = (lines: string): string =>
  `name: w\nparams: {list: {type: json, default: []}, word: x}\ntasks:\n  before:\n    name: b\n    config: !Subprocess {cmd: ls}\n  a:\n    name: a\n    depends: [before]\n    config: !Subprocess {cmd: ls}\n${lines}`;

/** The items of task `a` in a file with these lines. */
function itemsOf(lines: string, params: Record<string, string> = {}, outputs: Record<string, unknown> = {}) {
  const definition = definitionOf(file(lines));
  const task = definition.tasks[1];
  if (task === undefined) throw new Error("no task");
  const result = { status: "COMPLETED", error: null, outputs, isAllowed: false } as const;
  return expandItems(definition, task, (id) => (id === "before" ? result : undefined), facts(params));
}

/** Keys and texts of items, or why there are none. */
function told(...args: Parameters<typeof itemsOf>): string {
  const expansion = itemsOf(...args);
  if ("fail" in expansion) return expansion.fail;
  return expansion.items.map(({ key, value }) => `${key}: ${JSON.stringify(value)}`).join(" · ");
}

describe("foreach", () => {
  test("literals are as written; the key is the place", () => {
    expect(told("    foreach: [a, 1.10, '', {b: [1, yes]}, [x]]\n")).toBe(
      '0: "a" · 1: "1.10" · 2: "" · 3: {"b":["1","yes"]} · 4: ["x"]',
    );
    expect(told("    foreach: []\n")).toBe("");
  });

  test("lists come from parameters and outputs", () => {
    const params = { list: '[1, "a", null, {"b": true}]', nested: '{"x": {"y": ["z"]}}', word: "eu" };
    expect(told("    foreach: ${{ params.list }}\n", params)).toBe('0: 1 · 1: "a" · 2: null · 3: {"b":true}');
    expect(told("    foreach: ${{ json(params.word) }}\n", { ...params, word: '["eu"]' })).toBe('0: "eu"');
    const outputs = { list: ["x", "y"], deep: { "a b": [["z"]] }, n: 17, t: true, m: {} };
    const of = (path: string) => told(`    foreach: '\${{ ${path} }}'\n`, {}, outputs);
    expect(of("tasks.before.outputs.list")).toBe('0: "x" · 1: "y"');
    expect(of('tasks["before"].outputs["deep"]["a b"][0]')).toBe('0: "z"');
    expect(of("tasks.before.outputs.n")).toBe("foreach: it is a number, not a list");
    expect(of("tasks.before.outputs.t")).toBe("foreach: it is a bool, not a list");
    expect(of("tasks.before.outputs.m")).toBe("foreach: it is a mapping, not a list");
    expect(of("tasks.before.outputs.none")).toBe(
      'foreach: tasks.before.outputs.none has no value: "before" published no "none"',
    );
    expect(of("tasks.before.outputs.deep.x")).toBe(
      'foreach: tasks.before.outputs.deep.x has no value: tasks.before.outputs.deep has no "x"',
    );
  });

  test("keys name items, and are unique, not empty, of one line, and not too long", () => {
    const keyed = (key: string, items: unknown[]) =>
      told(`    foreach: '\${{ tasks.before.outputs.list }}'\n    key: '${key}'\n`, {}, { list: items });
    expect(keyed("${{ item.id }}", [{ id: "a" }, { id: 7 }])).toBe('a: {"id":"a"} · 7: {"id":7}');
    expect(keyed("t-${{ item.id }}-${{ index }}", [{ id: "a" }, { id: "a" }])).toBe(
      't-a-0: {"id":"a"} · t-a-1: {"id":"a"}',
    );
    expect(keyed("${{ item }}", ["a", "b", "a"])).toBe(
      'foreach: two items have the key "a"; key names each item, such as key: ${{ item.id }}',
    );
    expect(keyed("${{ item }}", ["a", " "])).toBe("key: it is empty for item 1 (the first is 0)");
    expect(keyed("${{ item }}", ["a\nb"])).toBe(
      "key of item 0: it contains a control character or a line break",
    );
    expect(keyed("${{ item }}", ["é".repeat(101)])).toBe("key of item 0: it has more than 200 bytes");
    expect(keyed("${{ item.id }}", [{}])).toBe('key of item 0: item.id has no value: item has no "id"');
    expect(keyed("${{ item.constructor }}", [{}])).toContain("has no value");
  });

  test("items are bounded in number and size", () => {
    const of = (list: unknown[]) => told("    foreach: ${{ tasks.before.outputs.list }}\n", {}, { list });
    expect(of(new Array(50_001).fill(0))).toBe("foreach: 50001 items; at most 50000");
    expect(of(["x".repeat(122_881)])).toBe(
      "item 0 has 122881 bytes; an item has at most 122880: pass large data on as files",
    );
    expect(of(new Array(100).fill("x".repeat(100_000)))).toBe(
      "the items have more than 8 MiB together: pass large data on as files",
    );
    expect(of(["a\0b"])).toBe("item 0 contains a NUL character");
  });
});

describe("matrix", () => {
  test("is the product in the order of the file, the last axis varying fastest", () => {
    expect(told("    matrix: {os: [a, b], py: ['3.1', 3.10]}\n")).toBe(
      '0: {"os":"a","py":"3.1"} · 1: {"os":"a","py":"3.10"} · 2: {"os":"b","py":"3.1"} · 3: {"os":"b","py":"3.10"}',
    );
    expect(told("    matrix: {os: [a, b], py: [1]}\n    key: '${{ item.os }}-${{ item.py }}'\n")).toBe(
      'a-1: {"os":"a","py":"1"} · b-1: {"os":"b","py":"1"}',
    );
  });

  test("without those of exclude", () => {
    expect(told("    matrix: {os: [a, b], py: [1, 2], exclude: [{os: a, py: 2}]}\n")).toBe(
      '0: {"os":"a","py":"1"} · 1: {"os":"b","py":"1"} · 2: {"os":"b","py":"2"}',
    );
    expect(told("    matrix: {os: [a, b], py: [1, 2], exclude: [{os: a}]}\n")).toBe(
      '0: {"os":"b","py":"1"} · 1: {"os":"b","py":"2"}',
    );
  });

  test("include adds to combinations that it fits, or a further one", () => {
    expect(
      told("    matrix: {os: [a, b], include: [{os: a, arch: arm}, {fast: yes}, {os: c, arch: x86}]}\n"),
    ).toBe(
      '0: {"os":"a","arch":"arm","fast":"yes"} · 1: {"os":"b","fast":"yes"} · 2: {"os":"c","arch":"x86"}',
    );
    expect(told("    matrix: {include: [{os: a}, {os: b}]}\n")).toBe('0: {"os":"a"} · 1: {"os":"b"}');
  });

  test("axes come from outputs, too", () => {
    const outputs = { versions: [1, 2] };
    expect(
      told(
        "    matrix: {os: [a], v: '${{ tasks.before.outputs.versions }}', exclude: [{v: 2}]}\n",
        {},
        outputs,
      ),
    ).toBe('0: {"os":"a","v":1}');
    expect(told("    matrix: {v: '${{ tasks.before.outputs.word }}'}\n", {}, { word: "x" })).toBe(
      "matrix.v: it is a string, not a list",
    );
    const many = { versions: new Array(300).fill(0) };
    const both =
      "    matrix: {a: '${{ tasks.before.outputs.versions }}', b: '${{ tasks.before.outputs.versions }}'}\n";
    expect(told(both, {}, many)).toBe("matrix: 90000 combinations; at most 50000");
  });
});

describe("a plan", () => {
  const nodeOf = (lines: string, head = "") => planOf(definitionOf(head + file(lines))).node("a");

  test("has fan-outs, what their items are computed from, and whether agents share them", () => {
    expect(nodeOf("")?.fanOut).toBeUndefined();
    expect(nodeOf("    foreach: [x]\n")).toMatchObject({ fanOut: { maxParallel: null, failFast: false } });
    expect(nodeOf("    matrix: {x: [1]}\n    max_parallel: 3\n    fail_fast: true\n")?.fanOut).toEqual({
      maxParallel: 3,
      failFast: true,
    });
    expect(nodeOf("    foreach: [x]\n", "placement: spread\n")?.fanOut?.isShared).toBe(true);
    const read = nodeOf("    foreach: ${{ tasks.before.outputs.x }}\n");
    expect([...(read?.decidedBy ?? [])]).toEqual(["before"]);
    expect([...(read?.reads ?? [])]).toEqual(["before"]);
  });

  test("with a fan-out of one placement is whole, and needs agents that know it", () => {
    const plan = planOf(definitionOf(file("    foreach: [x]\n")));
    expect(plan).toMatchObject({ isWhole: true, protocol: 3 });
    expect(planOf(definitionOf(file("")))).toMatchObject({ isWhole: true, protocol: 1 });
    expect(planOf(definitionOf(`placement: spread\n${file("    foreach: [x]\n")}`)).isWhole).toBe(false);
  });
});

test("outputs of items are lists in their order, with null where an item has published nothing", () => {
  expect(aggregate(3, [])).toBeNull();
  expect(
    aggregate(3, [
      { index: 2, outputs: { a: 1 } },
      { index: 0, outputs: { a: 0, b: "x" } },
      { index: 1, outputs: null },
    ]),
  ).toEqual({ a: [0, null, 1], b: ["x", null, null] });
});

test("items have ids, and names of files that any key fits into", () => {
  expect(nodeId("load", "orders")).toBe("load[orders]");
  expect(nodeId("load", null)).toBe("load");
  expect(itemFileName("orders-1_x.y")).toBe("orders-1_x.y");
  expect(itemFileName("..")).toBe("%2E.");
  expect(itemFileName("a/b c%é")).toBe("a%2Fb%20c%25%C3%A9");
  const [one, other] = [itemFileName("/".repeat(200)), itemFileName(`${"/".repeat(199)}!`)];
  for (const name of [one, other]) expect(name.length).toBeLessThanOrEqual(230);
  expect(one).not.toBe(other);
});
