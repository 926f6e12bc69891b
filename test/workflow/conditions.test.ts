/** Conditions as files have them: how they are stored, shown, and decided by the machine. */
import { describe, expect, test } from "bun:test";
import { isAllowedFailure } from "../../src/workflow/allow-failure.ts";
import { acceptedBy, dependencyText } from "../../src/workflow/conditions.ts";
import type { TaskEnd } from "../../src/workflow/decisions.ts";
import type { TaskDefinition } from "../../src/workflow/model.ts";
import { planOf } from "../../src/workflow/plan.ts";
import { Progress } from "../../src/workflow/progress.ts";
import type { RunFacts } from "../../src/workflow/run-facts.ts";
import { FACTS, said } from "./progress-support.ts";
import { definitionOf } from "./support.ts";

const RUN = "config: !Subprocess {cmd: ls}";

function taskWith(line: string): TaskDefinition {
  const task = definitionOf(`tasks:\n  a: {${RUN}}\n  b: {${RUN}}\n  c:\n    ${line}\n    ${RUN}\n`).tasks[2];
  if (task === undefined) throw new Error("there is no task");
  return task;
}

describe("depends", () => {
  test.each<[line: string, accepts: Record<string, string[]> | undefined, shown: string[]]>([
    ["depends: [a, b]", undefined, ["a", "b"]],
    ["depends: {a: completed, b: [completed]}", undefined, ["a", "b"]],
    ["depends: {a: failed, b: completed}", { a: ["FAILED", "CRASHED"] }, ["a (failed)", "b"]],
    [
      "depends: {b: [completed, skipped], a: ended}",
      { b: ["COMPLETED", "SKIPPED"], a: ["COMPLETED", "FAILED", "CRASHED", "SKIPPED", "CANCELLED"] },
      ["b (completed or skipped)", "a (ended)"],
    ],
    [
      "depends: {a: [skipped, failed, failed]}",
      { a: ["FAILED", "CRASHED", "SKIPPED"] },
      ["a (failed or skipped)"],
    ],
  ])("%s", (line, accepts, shown) => {
    const task = taskWith(line);
    expect(task.accepts).toEqual(accepts as TaskDefinition["accepts"]);
    expect(task.depends.map((id) => dependencyText(task, id))).toEqual(shown);
    expect("accepts" in task).toBe(accepts !== undefined);
    if (accepts === undefined) expect(acceptedBy(task, "a")).toBe(acceptedBy({}, "b"));
  });
});

describe("allow_failure", () => {
  test.each<[line: string, allowed: (number | null)[]]>([
    ["timeout: 5m", []],
    ["allow_failure: false", []],
    ["allow_failure: true", [null, 1, 3, 255]],
    ["allow_failure: {exit_codes: [3, 100-110]}", [3, 100, 105, 110]],
  ])("%s", (line, allowed) => {
    const codes = [null, 1, 3, 99, 100, 105, 110, 111, 255];
    const task = taskWith(line);
    const among = codes.filter((code) => isAllowedFailure(task, code));
    expect(among).toEqual(allowed.length === 4 && allowed[0] === null ? codes : allowed);
    expect("allow_failure" in task).toBe(allowed.length > 0);
  });
});

describe("when", () => {
  /** The decisions after the first two tasks have ended. */
  function decided(
    when: string,
    ends: Record<string, TaskEnd>,
    params: Record<string, string> = {},
  ): string[] {
    const plan = planOf(
      definitionOf(
        [
          "params: {region: eu, full: {type: bool, default: false}}",
          "tasks:",
          `  a: {${RUN}}`,
          `  b: {depends: [a], ${RUN}}`,
          `  c: {depends: {b: ended}, when: '${when}', ${RUN}}`,
        ].join("\n"),
      ),
    );
    const facts: RunFacts = { ...FACTS, params: { region: "eu", full: "false", ...params } };
    const progress = new Progress(plan, { facts: () => facts });
    progress.begin();
    return said(Object.entries(ends).flatMap(([id, end]) => progress.ended(id, end))).filter(
      (each) => !each.endsWith(" b") && !each.startsWith("finish"),
    );
  }

  const DONE: Record<string, TaskEnd> = { a: { status: "COMPLETED" }, b: { status: "COMPLETED" } };

  test.each<[when: string, ends: Record<string, TaskEnd>, params: Record<string, string>, decision: string]>([
    ['${{ params.region == "eu" }}', DONE, {}, "start c"],
    [
      '${{ params.region  == "eu" }}',
      DONE,
      { region: "us" },
      'skip c SKIPPED: when: params.region == "eu" is false',
    ],
    ["${{ params.full }}", DONE, { full: "true" }, "start c"],
    ['${{ tasks.b.status == "COMPLETED" }}', DONE, {}, "start c"],
    [
      "${{ int(tasks.a.outputs.rows) > 10 }}",
      { ...DONE, a: { status: "COMPLETED", outputs: { rows: "17" } } },
      {},
      "start c",
    ],
    [
      "${{ int(tasks.a.outputs.rows) > 10 }}",
      { ...DONE, a: { status: "COMPLETED", outputs: { rows: "7" } } },
      {},
      "skip c SKIPPED: when: int(tasks.a.outputs.rows) > 10 is false",
    ],
    [
      '${{ tasks.b.error == "exit status 3" }}',
      { a: { status: "COMPLETED" }, b: { status: "FAILED", error: "exit status 3" } },
      {},
      "start c",
    ],
    [
      "${{ has(tasks.a.outputs.rows) }}",
      DONE,
      {},
      "skip c SKIPPED: when: has(tasks.a.outputs.rows) is false",
    ],
    [
      "${{ tasks.a.outputs.full }}",
      { ...DONE, a: { status: "COMPLETED", outputs: { full: "yes" } } },
      {},
      'skip c FAILED: when: tasks.a.outputs.full is "yes", which is neither true nor false',
    ],
  ])("%s", (when, ends, params, decision) => {
    expect(decided(when, ends, params)).toEqual([decision]);
  });

  test("one that cannot be computed fails the task, and says what has no value", () => {
    const [first] = decided("${{ tasks.a.outputs.rows > 10 }}", DONE);
    expect(first).toStartWith("skip c FAILED: when: tasks.a.outputs.rows has no value");
  });

  test("the machine is told what conditions read, and nothing else", () => {
    const plan = planOf(
      definitionOf(
        `tasks:\n  a: {${RUN}}\n  b: {depends: [a], ${RUN}}\n  c: {depends: [b], when: '\${{ tasks.a.outputs.x == 1 }}', ${RUN}}\n`,
      ),
    );
    expect([...plan.decidedBy]).toEqual(["a"]);
    expect([...(plan.node("c")?.reads ?? [])]).toEqual(["a"]);
    expect(plan.isWhole).toBe(true);
    expect(plan.protocol).toBe(3);
  });
});
