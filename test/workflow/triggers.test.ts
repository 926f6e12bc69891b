import { expect, test } from "bun:test";
import { checkChains, locateChainProblem } from "../../src/workflow/check-triggers.ts";
import { WorkflowDefinition } from "../../src/workflow/model.ts";
import { aftersOf, filesOf, idMatcher, webhooksOf } from "../../src/workflow/triggers.ts";
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

const LISTS = `  webhook:
    - {path: /a, secret: none}
    - {path: /b, secret: env:B, method: PUT}
  file: [{glob: a}, {glob: b, catchup: none}]
  workflow:
    - {id: etl.daily}
    - {id: "etl.*", status: [FAILED]}
    - {id: "**.alert"}
`;

test("each kind may be a list: an older reader sees the first one", () => {
  const { on } = definitionOf(file(LISTS));
  expect(on).toEqual({
    webhook: { path: "/a", secret: "none", method: "POST", tolerance_ms: 300_000 },
    webhooks: [{ path: "/b", secret: "env:B", method: "PUT", tolerance_ms: 300_000 }],
    file: { glob: "a", events: ["created", "changed"], settle_ms: 500, catchup: "all" },
    files: [{ glob: "b", events: ["created", "changed"], settle_ms: 500, catchup: "none" }],
    workflow: { id: "etl.daily", status: ["COMPLETED"] },
    workflows: [
      { id: "etl.*", status: ["FAILED"] },
      { id: "**.alert", status: ["COMPLETED"] },
    ],
  });
  expect(webhooksOf(on).map(({ path }) => path)).toEqual(["/a", "/b"]);
  expect(filesOf(on).map(({ glob }) => glob)).toEqual(["a", "b"]);
  expect(aftersOf(on).map(({ id }) => id)).toEqual(["etl.daily", "etl.*", "**.alert"]);
  expect([
    webhooksOf(undefined),
    filesOf(definitionOf(file("  webhook: {path: /a, secret: none}\n")).on),
  ]).toEqual([[], []]);
  // A list of one is the same as that one.
  expect(definitionOf(file("  file: [{glob: a}]\n"))).toEqual(definitionOf(file("  file: {glob: a}\n")));
});

test.each<[glob: string, matching: string[], others: string[]]>([
  ["etl.*", ["etl.daily", "etl.a-b_c"], ["etl", "etl.eu.daily", "xetl.daily", "etlx.daily"]],
  ["etl.**", ["etl.daily", "etl.eu.daily"], ["etl", "report"]],
  ["**", ["etl", "etl.eu.daily"], []],
  ["*", ["etl"], ["etl.daily"]],
  ["*.daily", ["etl.daily"], ["etl.eu.daily", "daily", "etl.dailyx"]],
  ["e*l.d*y", ["etl.daily", "el.dy"], ["etl.x.daily"]],
])("the glob %s", (glob, matching, others) => {
  const matches = idMatcher(glob);
  expect(matching.filter((id) => !matches(id))).toEqual([]);
  expect(others.filter(matches)).toEqual([]);
});

test.each<[on: string, at: string, message: string, help: string]>([
  [
    "  workflow: [{id: a}, {id: test}]\n",
    "3:28",
    "a workflow cannot run after itself",
    "name another workflow",
  ],
  [
    "  webhook: [{path: /x, secret: none}, {path: /x, secret: none, method: PUT}]\n",
    "3:46",
    "the path /x is used twice",
    "give each webhook a path of its own",
  ],
  [
    "  workflow: [{id: 'a b'}]\n",
    "3:19",
    '"id" in entry 1 of workflow of on is not a workflow id',
    "write its path with dots: etl/daily.yml is etl.daily, and etl.* is every workflow in etl",
  ],
])("a mistake in a list: %s", (on, at, message, help) => {
  expect(
    diagnosticsOf(file(on)).map((found) => [
      found.code,
      `${found.line}:${found.column}`,
      found.message,
      found.help,
    ]),
  ).toEqual([["E014", at, message, help]]);
});

test("what is wrong with one of several is told at its place", () => {
  const text = file("  workflow:\n    - {id: b}\n    - {id: 'c.*'}\n    - {id: gone}\n");
  const { on, catchup } = definitionOf(text);
  const flows = [
    { id: "test", cron: null, catchup, on },
    { id: "b", cron: null, catchup, on: { workflow: { id: "test", status: ["COMPLETED"] } } },
  ];
  const locate = (known: string[]) => {
    const problem = checkChains(flows, new Set(known)).get("test");
    return (
      problem &&
      locateChainProblem(problem, text, "test.yml").map(({ code, line, message }) => [code, line, message])
    );
  };
  expect(locate(["test", "b", "c.x", "gone"])).toEqual([
    ["W005", 4, "workflows run after each other in a circle: b → test → b"],
  ]);
  flows.pop();
  expect(locate(["test", "b", "gone"])).toEqual([
    ["W004", 5, 'this workflow never runs after "c.*": no workflow has such an id'],
  ]);
  expect(locate(["test", "b", "c.x"])).toEqual([
    ["W004", 6, 'this workflow never runs after "gone": there is no such workflow'],
  ]);
  expect(locate(["test", "b", "c.x", "gone"])).toBeUndefined();
});
