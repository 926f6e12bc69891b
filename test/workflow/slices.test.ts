import { describe, expect, test } from "bun:test";
import { computePlacement, lacking, placementOf, readPlacement } from "../../src/workflow/placement.ts";
import { type Plan, planOf } from "../../src/workflow/plan.ts";
import { Progress } from "../../src/workflow/progress.ts";
import { expectedSlices, nextSlices } from "../../src/workflow/slices.ts";
import { planned } from "./progress-support.ts";
import { definitionOf } from "./support.ts";

const factsWith = (params: Record<string, string>) => ({
  params,
  run: { id: "r", workflow_id: "w", attempt: 1, trigger: "cli", scheduled_time_ms: null, created_at_ms: 0 },
  event: {},
  env: {},
});

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

describe("labels with expressions", () => {
  const at = (site: string, task = ""): string =>
    `runs_on: {site: "\${{ params.site }}"}\nparams: {site: x}\ntasks:\n  a: {run: a}\n  b: {depends: [a], runs_on: {site: "${site}"}, ${task}run: b}\n  c: {depends: [a], run: c}\n`;
  const sites = (plan: Plan): string[][] => expectedSlices(plan).map(({ tasks }) => tasks);

  test("that are the same throughout the run keep tasks together, but the run is not whole", () => {
    const plan = planOf(definitionOf(at("${{ params.site }}")));
    expect(plan).toMatchObject({ isWhole: false, readsAgents: false });
    expect(plan.node("b")).toMatchObject({ isPlaced: true });
    expect(plan.node("b")).not.toHaveProperty("isLate");
    expect(sites(plan)).toEqual([["a", "b", "c"]]);
  });

  test("that read a task are computed when the task is ready", () => {
    const plan = planOf(definitionOf(at("${{ tasks.a.outputs.site }}")));
    expect(plan.node("b")).toMatchObject({ isPlaced: true, isLate: true, decidedBy: new Set(["a"]) });
    expect(sites(plan)).toEqual([["a", "c"], ["b"]]);
    const progress = new Progress(plan);
    progress.begin();
    nextSlices(plan, progress);
    progress.assigned(["a", "c"]);
    progress.ended("a", { status: "COMPLETED", outputs: { site: "y" } });
    const y = placementOf({ runs_on: { site: "y" } }, {});
    expect(nextSlices(plan, progress, 1, () => y)).toMatchObject([{ tasks: ["b"], placement: y }]);
  });

  test("items of one go where their labels say, and nobody else expands them", () => {
    const plan = planOf(definitionOf(at("${{ item }}", "foreach: [x, y], ")));
    expect(plan.node("b")).toMatchObject({ isLate: true, fanOut: { isShared: true } });
  });

  test("conditions and lists about agents are decided by the principal", () => {
    for (const task of ["when: '${{ size(agents()) > 1 }}', ", "foreach: '${{ agents() }}', "]) {
      const plan = planOf(definitionOf(at("x", task)));
      expect(plan).toMatchObject({ isWhole: false, readsAgents: true });
      expect(plan.node("b")).toMatchObject({ isLate: true });
      expect(plan.node("c")).not.toHaveProperty("isLate");
    }
  });

  test("are values: a text is one label, whatever it contains, and one that no label can have fails", () => {
    const definition = definitionOf(at("${{ params.site }}"));
    const [, b] = definition.tasks;
    const values = (site: string) => ({ facts: factsWith({ site }) });
    if (b === undefined) throw new Error("there is a task");
    expect(computePlacement(definition, b, values('a",b=c'))).toMatchObject({ runs_on: { site: 'a",b=c' } });
    expect(computePlacement(definition, b, values("${{ run.id }}"))).toMatchObject({
      runs_on: { site: "${{ run.id }}" },
    });
    expect(computePlacement(definition, b, values(" "))).toEqual({
      fail: "runs_on.site: the value is empty",
    });
    expect(computePlacement(definition, b, values("a\nb"))).toEqual({
      fail: "runs_on.site: the value contains a control character or a line break",
    });
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
