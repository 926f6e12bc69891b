import { expect, test } from "bun:test";
import { planOf } from "../../src/workflow/plan.ts";
import { expectedSlices } from "../../src/workflow/slices.ts";
import { definitionOf, diagnosticsOf } from "./support.ts";

const TEXT = `tasks:
  a: {config: !Subprocess {cmd: ls}}
  pause: {depends: [a], config: !Wait {for: 1h30m}}
  b: {depends: [pause], config: !Subprocess {cmd: ls}}
`;

test("a wait is in no slice, and what is before and after it is for agents that know slices", () => {
  const workflow = definitionOf(TEXT);
  expect(workflow.tasks[1]?.config).toEqual({ type: "Wait", for_ms: 5_400_000 });
  const plan = planOf(workflow);
  expect([plan.isWhole, plan.node("pause")?.waits, plan.node("a")?.waits]).toEqual([
    false,
    "time",
    undefined,
  ]);
  expect(expectedSlices(plan).map(({ tasks, protocol }) => [tasks, protocol])).toEqual([
    [["a"], 1],
    [["b"], 1],
  ]);
});

test("until is a time", () => {
  const text = "tasks: {a: {config: !Wait {until: 2030-01-20T02:00:00+00:00}}}\n";
  expect(definitionOf(text).tasks[0]?.config).toEqual({ type: "Wait", until_ms: Date.UTC(2030, 0, 20, 2) });
});

test("keys about execution have no effect", () => {
  const found = diagnosticsOf(
    "tasks: {a: {timeout: 5m, retry: {max_attempts: 2}, runs_on: {a: b}, config: !Wait {for: 1s}}}\n",
  );
  expect(found.map(({ code, message, help }) => [code, message, help])).toEqual(
    ["timeout", "retry", "runs_on"].map((key) => ["W002", `"${key}" has no effect on !Wait`, "remove it"]),
  );
});

test("an approval is in no slice; its form is stored as params are, its defaults as they are written", () => {
  const workflow = definitionOf(`tasks:
  a: {config: !Subprocess {cmd: ls}}
  go:
    depends: [a]
    config: !Approval
      message: Go on?
      form: {n: {type: int, default: "\${{ tasks.a.outputs.n }}"}, why: , list: {type: json, default: [1, x]}}
`);
  expect(workflow.tasks[1]?.config).toEqual({
    type: "Approval",
    message: "Go on?",
    form: {
      n: { description: null, type: "int", default: "${{ tasks.a.outputs.n }}" },
      why: { description: null, default: null },
      list: { description: null, type: "json", default: '[1,"x"]' },
    },
    on_timeout: "reject",
  });
  const plan = planOf(workflow);
  expect([plan.isWhole, plan.node("go")?.waits, [...(plan.node("go")?.reads ?? [])]]).toEqual([
    false,
    "person",
    ["a"],
  ]);
});

test("keys about execution have no effect on an approval either", () => {
  const found = diagnosticsOf(
    "tasks: {a: {timeout: 5m, config: !Approval {message: Go?, on_timeout: approve}}}\n",
  );
  expect(found.map(({ code, message, help }) => [code, message, help])).toEqual([
    ["W002", '"timeout" has no effect on !Approval', "remove it"],
    ["W002", '"on_timeout" has no effect without timeout', "add a timeout, or remove it"],
  ]);
});
