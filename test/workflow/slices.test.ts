import { describe, expect, test } from "bun:test";
import { lacking, placementOf, readPlacement } from "../../src/workflow/placement.ts";
import { type Plan, planOf } from "../../src/workflow/plan.ts";
import { Progress } from "../../src/workflow/progress.ts";
import { expectedSlices, nextSlices } from "../../src/workflow/slices.ts";
import { planned } from "./progress-support.ts";
import { definitionOf } from "./support.ts";

const EU = '{"runs_on":{"zone":"eu"}}';
const SPREAD = '{"spread":true}';

describe("placementOf", () => {
  test("a task's labels replace those of its workflow; {} is anywhere", () => {
    const workflow = { runs_on: { zone: "eu", gpu: "true" } };
    expect(placementOf(workflow, {}).runs_on).toEqual({ gpu: "true", zone: "eu" });
    expect(placementOf(workflow, { runs_on: { zone: "us" } }).runs_on).toEqual({ zone: "us" });
    expect(placementOf(workflow, { runs_on: {} })).toEqual(placementOf({}, {}));
  });

  test("equal placements have equal keys, which can be read back", () => {
    const one = placementOf({ placement: "spread" }, { runs_on: { b: "2", a: "1" } });
    const other = placementOf({ placement: "spread", runs_on: { a: "1", b: "2" } }, {});
    expect(one.key).toBe('{"runs_on":{"a":"1","b":"2"},"spread":true}');
    expect(other.key).toBe(one.key);
    for (const placement of [one, placementOf({}, {}), placementOf({}, { runs_on: { zone: "eu" } })]) {
      expect(readPlacement(placement.key)).toEqual(placement);
    }
    expect(placementOf({ placement: "together" }, {}).key).toBe("{}");
  });

  test("lacking labels: which, and what the agent has instead", () => {
    expect(lacking({ zone: "eu", gpu: "false" }, { gpu: "true", zone: "eu", rack: "7" })).toEqual([
      { label: "gpu", value: "true", has: "false" },
      { label: "rack", value: "7", has: null },
    ]);
    expect(lacking({}, { constructor: "x" })).toEqual([{ label: "constructor", value: "x", has: null }]);
    expect(lacking({ zone: "eu" }, {})).toEqual([]);
  });
});

describe("planOf", () => {
  const text = (head: string, task = ""): string =>
    `name: w\n${head}tasks:\n  a: {name: A, config: !Subprocess {cmd: ls}}\n  b: {name: B, depends: [a, a], ${task}config: !Subprocess {cmd: ls}}\n`;

  test("a run is whole if all its tasks have one placement and stay together", () => {
    expect(planOf(definitionOf(text(""))).isWhole).toBe(true);
    expect(planOf(definitionOf(text("runs_on: {zone: eu}\n"))).isWhole).toBe(true);
    expect(planOf(definitionOf(text("placement: spread\n"))).isWhole).toBe(false);
    expect(planOf(definitionOf(text("", "runs_on: {zone: eu}, "))).isWhole).toBe(false);
    expect(planOf(definitionOf(text("runs_on: {zone: eu}\n", "runs_on: {zone: eu}, "))).isWhole).toBe(true);
  });

  test("has each need once", () => {
    const plan = planOf(definitionOf(text("")));
    expect(plan.node("b")?.needs.map(({ task }) => task)).toEqual(["a"]);
    expect(plan.dependents("a").map(({ task }) => task)).toEqual(["b"]);
  });
});

describe("nextSlices", () => {
  /** The slices that can be made now; they are made. */
  const made = (plan: Plan, progress: Progress): string[] =>
    nextSlices(plan, progress).map(({ tasks, placement }) => {
      progress.assigned(tasks);
      return `${tasks.join(" ")} @ ${placement.key}`;
    });

  test("together: the largest set of tasks of one placement that needs nothing from outside", () => {
    const plan = planned("a; b < a; c < b; d < a; e < c d", { b: { at: EU } });
    const progress = new Progress(plan);
    expect(made(plan, progress)).toEqual([]);
    progress.begin();
    expect(made(plan, progress)).toEqual(["a d @ {}"]);
    expect(made(plan, progress)).toEqual([]);
    progress.ended("a", { status: "COMPLETED" });
    expect(made(plan, progress)).toEqual([`b @ ${EU}`]);
    progress.ended("b", { status: "COMPLETED" });
    expect(made(plan, progress)).toEqual(["c @ {}"]);
    progress.ended("c", { status: "COMPLETED" });
    expect(made(plan, progress)).toEqual([]);
    progress.ended("d", { status: "COMPLETED" });
    expect(made(plan, progress)).toEqual(["e @ {}"]);
  });

  test("a workflow of one placement is one slice", () => {
    const plan = planned("a; b < a; c; d < b c");
    const progress = new Progress(plan);
    progress.begin();
    expect(made(plan, progress)).toEqual(["a b c d @ {}"]);
  });

  test("a slice has what is over and accepted behind it, also after its loss", () => {
    const plan = planned("x; a < x; b < a; c < b", { x: { at: EU } });
    const progress = new Progress(plan);
    progress.begin();
    made(plan, progress);
    progress.ended("x", { status: "COMPLETED" });
    expect(made(plan, progress)).toEqual(["a b c @ {}"]);
    progress.ended("a", { status: "COMPLETED" });
    progress.released(["a", "b", "c"]);
    expect(made(plan, progress)).toEqual(["b c @ {}"]);
  });

  test("spread: each ready task by itself, as soon as it is ready", () => {
    const plan = planned("a; b; c < a", { a: { at: SPREAD }, b: { at: SPREAD }, c: { at: SPREAD } });
    const progress = new Progress(plan);
    progress.begin();
    expect(made(plan, progress)).toEqual([`a @ ${SPREAD}`, `b @ ${SPREAD}`]);
    progress.ended("a", { status: "COMPLETED" });
    expect(made(plan, progress)).toEqual([`c @ ${SPREAD}`]);
  });

  test("what waits for a person is in no slice, and neither is what comes after it", () => {
    const plan = planned("a; ask < a; b < ask; c < a", { ask: { waits: "person" } });
    const progress = new Progress(plan);
    progress.begin();
    expect(made(plan, progress)).toEqual(["a c @ {}"]);
    progress.ended("a", { status: "COMPLETED" });
    progress.ended("ask", { status: "COMPLETED" });
    expect(made(plan, progress)).toEqual(["b @ {}"]);
  });
});

describe("slices of items", () => {
  const plan = planned("load; after < load", {
    load: { fanOut: { maxParallel: null, failFast: false, isShared: true } },
  });
  const expanded = (count: number, at: (index: number) => string = () => "{}"): Progress => {
    const progress = new Progress(plan);
    progress.begin();
    expect(nextSlices(plan, progress)).toEqual([]);
    progress.expanded(
      "load",
      Array.from({ length: count }, (_, n) => ({ key: `${n}`, placement: readPlacement(at(n)) })),
    );
    return progress;
  };
  const sizes = (progress: Progress, room?: number): number[] =>
    nextSlices(plan, progress, room).map(({ tasks }) => tasks.length);

  test("have few items if there is much room, and never more than 100", () => {
    expect(sizes(expanded(10))).toEqual([3, 3, 3, 1]);
    expect(sizes(expanded(10), 100)).toEqual(Array.from({ length: 10 }, () => 1));
    expect(sizes(expanded(1000), 2)).toEqual(Array.from({ length: 10 }, () => 100));
    expect(sizes(expanded(10_000), 100)).toEqual(Array.from({ length: 400 }, () => 25));
  });

  test("have items of one placement", () => {
    const slices = nextSlices(
      plan,
      expanded(3, (n) => (n === 1 ? EU : "{}")),
    );
    expect(slices.map(({ tasks, placement }) => `${tasks.join(" ")} @ ${placement.key}`)).toEqual([
      "load[0] @ {}",
      "load[2] @ {}",
      `load[1] @ ${EU}`,
    ]);
  });

  test("what polls is a slice by itself, and nothing is grown behind it; what follows all items is none of theirs", () => {
    const polls = planned("a; poll; b < poll; c < a", { poll: { polls: true } });
    const progress = new Progress(polls);
    progress.begin();
    expect(nextSlices(polls, progress).map(({ tasks }) => tasks)).toEqual([["a", "c"], ["poll"]]);
    expect(polls.isWhole).toBe(false);
    expect(plan.isWhole).toBe(false);
    expect(expectedSlices(plan).map(({ tasks }) => tasks)).toEqual([["load"], ["after"]]);
  });
});

test("the slices to expect if every task completes", () => {
  const plan = planned("a; b < a; c < b; d < a; e < c d", { b: { at: EU } });
  expect(expectedSlices(plan).map(({ tasks }) => tasks.join(" "))).toEqual(["a d", "b", "c e"]);
});
