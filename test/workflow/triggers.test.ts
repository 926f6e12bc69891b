import { expect, test } from "bun:test";
import { WorkflowDefinition } from "../../src/workflow/model.ts";
import { definitionOf, diagnosticsOf } from "./support.ts";

const TASKS = "tasks:\n  a:\n    name: a\n    config: !Subprocess {cmd: ls}\n";
const file = (on: string): string => `name: w\non:\n${on}${TASKS}`;

test("triggers become part of the definition, with defaults", () => {
  const definition = definitionOf(
    file(
      "  webhook: {path: /deploy, secret: env:TOKEN}\n  file: {glob: 'in/*.csv'}\n  workflow: {id: etl.daily, status: [FAILED, FAILED]}\n",
    ),
  );
  expect(definition.on).toEqual({
    webhook: { path: "/deploy", secret: "env:TOKEN", method: "POST", tolerance_ms: 300_000 },
    file: { glob: "in/*.csv", events: ["created", "changed"], settle_ms: 500, catchup: "all" },
    workflow: { id: "etl.daily", status: ["FAILED"] },
  });
  expect(WorkflowDefinition.parse(JSON.parse(JSON.stringify(definition)))).toEqual(definition);
});

test("a file without triggers has none, as before there were any", () => {
  expect(Object.keys(definitionOf(`name: w\n${TASKS}`))).not.toContain("on");
  expect(definitionOf(file("  file: {glob: x}\n")).on).toMatchObject({ webhook: null, workflow: null });
});

const WRONG: readonly (readonly [on: string, code: string, at: string, says: RegExp])[] = [
  ["  webhok: {}\n", "E010", "3:3", /webhok.*|did you mean "webhook"/],
  ["  webhook: {path: deploy, secret: none}\n", "E014", "3:19", /path of a URL/],
  ["  webhook: {path: /d, secret: abc}\n", "E014", "3:31", /where the secret is/],
  ["  webhook: {path: /d}\n", "E011", "3:3", /secret/],
  ["  webhook: {path: /d, secret: none, method: PATCH}\n", "E014", "3:45", /POST/],
  ["  file: {glob: x, settle: soon}\n", "E043", "3:27", /soon/],
  ["  file: {glob: x, events: [made]}\n", "E014", "3:28", /created/],
  ["  file: {glob: x, catchup: latest}\n", "E014", "3:28", /all/],
  ["  webhook: {path: /d, secret: none, tolerance: 10}\n", "E043", "3:48", /10/],
  ["  webhook: {path: /d, secret: none, tolerance: 2d}\n", "E043", "3:48", /not be longer than 1d/],
  ["  file: {glob: x, events: []}\n", "E014", "3:19", /./],
  ["  workflow: {id: 'a b'}\n", "E014", "3:18", /is not a workflow id/],
  ["  workflow: {id: test}\n", "E014", "3:18", /after itself/],
];

test.each(WRONG)("%s is wrong", (on, code, at, says) => {
  const found = diagnosticsOf(file(on));
  expect(found.map(({ code, line, column }) => `${code} ${line}:${column}`)).toContain(`${code} ${at}`);
  expect(found.map(({ message, help }) => `${message} ${help}`).join("\n")).toMatch(says);
});
