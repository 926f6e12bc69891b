import { expect, test } from "bun:test";
import { findPage } from "../../src/docs/index.ts";
import { isOwnVariable, isReservedVariable, OWN_VARIABLES } from "../../src/workflow/own-variables.ts";
import { definitionOf, diagnosticsOf } from "./support.ts";

const inWorkflow = (name: string) =>
  `name: w\nenv: {${name}: x}\ntasks:\n  a:\n    name: a\n    config: !Subprocess {cmd: ls}\n`;
const inTask = (name: string) =>
  `name: w\ntasks:\n  a:\n    name: a\n    env: {${name}: x}\n    config: !Subprocess {cmd: ls}\n`;

const reserved = Object.entries(OWN_VARIABLES).flatMap(([name, { set }]) => (set === "hook" ? [] : [name]));

test.each([...reserved, "CDKTR_PARAM_DAY"])("%s is refused in env", (name) => {
  for (const [text, line, column] of [
    [inWorkflow(name), 2, 7],
    [inTask(name), 5, 11],
  ] as const) {
    expect(diagnosticsOf(text)).toMatchObject([
      { code: "E053", line, column, message: `${name} is set by cdktr itself`, help: "choose another name" },
    ]);
  }
});

test("what only hooks are told may be set: files that did so before there were hooks stay valid", () => {
  const ofHooks = Object.keys(OWN_VARIABLES).filter((name) => !reserved.includes(name));
  expect(ofHooks).toEqual(["CDKTR_RUN_STATUS", "CDKTR_RUN_ERROR", "CDKTR_RUN_FAILED_TASKS"]);
  for (const name of ofHooks) {
    expect([isOwnVariable(name), isReservedVariable(name)]).toEqual([true, false]);
    expect(definitionOf(inWorkflow(name)).env).toEqual({ [name]: "x" });
  }
});

test("settings of cdktr, and names that only look like its own, belong to the user", () => {
  for (const name of [
    "CDKTR_PRINCIPAL_HOST",
    "CDKTR_LOG_LEVEL",
    "CDKTR_MINE",
    "CDKTR_TASK_IDS",
    "cdktr_task_id",
  ]) {
    expect(isOwnVariable(name)).toBe(false);
    expect(definitionOf(inWorkflow(name)).env).toEqual({ [name]: "x" });
  }
});

test("the manual's table says the same", () => {
  const page = findPage("workflows")?.text ?? "";
  const rows = [...page.matchAll(/^\| `(CDKTR_\w+)` +\| (.*?) +\|$/gm)].map(([, name, holds]) => [
    name,
    holds,
  ]);
  expect(rows).toEqual([
    ...Object.entries(OWN_VARIABLES).map(([name, { holds }]) => [name, holds]),
    ["CDKTR_PARAM_NAME", "value of the parameter `name`, one variable for each parameter"],
  ]);
});
