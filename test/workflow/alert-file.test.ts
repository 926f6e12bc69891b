import { describe, expect, test } from "bun:test";
import {
  isAlertFile,
  isAlertText,
  parseAlert,
  readAlert,
  tooManyAlertFiles,
} from "../../src/workflow/alert-file.ts";
import { alertRows } from "../../src/workflow/alert-rows.ts";
import { renderDiagnostics } from "../../src/workflow/diagnostic.ts";

const PATH = "alerts/slow.yml";

function alertOf(text: string) {
  const result = parseAlert(text, PATH);
  if (!result.ok) throw new Error(renderDiagnostics(result.diagnostics));
  return result.alert;
}

function problemsOf(text: string): string[] {
  const result = parseAlert(text, PATH);
  if (result.ok) return [];
  return result.diagnostics.map(
    ({ code, line, column, message, help }) => `${code} ${line}:${column} ${message}; ${help}`,
  );
}

describe("an alert file", () => {
  test("needs a query and nothing else", () => {
    expect(alertOf("query: SELECT 1\n")).toEqual({
      path: PATH,
      query: "SELECT 1",
      every_ms: 300_000,
      for_ms: 0,
      severity: "warning",
      timeout_ms: 30_000,
      limit: 100,
    });
  });

  test("has everything", () => {
    const text = `
name: Slow runs
description: What is slow
query: |
  SELECT workflow_id, n FROM t
every: 1m
key: workflow_id
when: \${{ row.n > 3 }}
for: 10m
to: [ops, chat, ops]
severity: critical
summary: "\${{ row.workflow_id }} is slow"
timeout: 5s
limit: 7
`;
    expect(alertOf(text)).toEqual({
      path: PATH,
      name: "Slow runs",
      description: "What is slow",
      query: "SELECT workflow_id, n FROM t\n",
      every_ms: 60_000,
      key: "workflow_id",
      when: "${{ row.n > 3 }}",
      for_ms: 600_000,
      to: ["ops", "chat"],
      severity: "critical",
      summary: "${{ row.workflow_id }} is slow",
      timeout_ms: 5000,
      limit: 7,
    });
  });

  test("is read back as it was stored, also by a version that knows less or more", () => {
    const { path, ...stored } = alertOf("query: SELECT 1\nevery: 1m\n");
    expect(readAlert(path, JSON.stringify(stored))).toEqual({ path, ...stored });
    expect(readAlert(path, '{"query":"SELECT 1","later":1}')).toMatchObject({ every_ms: 300_000 });
    expect(readAlert(path, "{")).toBeUndefined();
    expect(readAlert(path, "{}")).toBeUndefined();
  });

  test.each([
    ["query: SELECT 1", true],
    ['"query" : SELECT 1', true],
    ["name: x\nquery: |\n  SELECT 1", true],
    ["tasks:\n  a:\n    run: echo\n    query: 1", false],
    ["tasks: {a: {run: 'x'}}\n# query: 1", false],
  ])("is known by its key query: %j", (text, is) => {
    expect(isAlertText(text)).toBe(is);
    const file = { kind: "file", bytes: new TextEncoder().encode(text) } as const;
    expect(isAlertFile("alerts/a/b.yml", file)).toBe(is);
    // A workflow elsewhere is one, whatever is wrong with it.
    expect(isAlertFile("etl/alerts/b.yml", file)).toBe(false);
  });
});

describe("mistakes", () => {
  test.each([
    ["", "E006 1:1 the file is empty; write a query"],
    ["- query: x", 'E012 1:1 an alert file must be a mapping; start it with "query:"'],
    ["name: x", 'E011 1:1 "query" is missing; such as SELECT workflow_id FROM workflow_runs WHERE …'],
    ['query: " "', 'E015 1:8 "query" is empty; write a SELECT statement'],
    [
      'query: SELECT ${{ "x" }}',
      'E064 1:8 expressions are not allowed in "query"; they are allowed in summary, when; elsewhere write the value itself',
    ],
    ["sql: SELECT 1\nquery: SELECT 1", 'E010 1:1 unknown key "sql"; it is called "query" here'],
    ["query: SELECT 1\nquerry: x", 'E010 2:1 unknown key "querry"; did you mean "query"?'],
    ["query: SELECT 1\ncron: 0 2 * * *", 'E010 2:1 unknown key "cron"; write every: 5m'],
    ["query: SELECT 1\nevery: 1s", 'E043 2:8 "every" must be at least 10s; null'],
    [
      "query: SELECT 1\nevery: 5",
      'E043 2:8 "every": "5" has no unit; write "5s" for seconds, "5m" for minutes',
    ],
    ["query: SELECT 1\ntimeout: 10m", 'E043 2:10 "timeout" must not be longer than 5m; null'],
    ["query: SELECT 1\nlimit: 0", 'E014 2:8 "limit" must be at least 1; null'],
    ["query: SELECT 1\nlimit: 1001", 'E014 2:8 "limit" must be at most 1000; null'],
    [
      'query: SELECT 1\nto: "a b"',
      'E111 2:5 "to": "a b" is not a valid name for a channel; channels are in _cdktr.yml of the workflow directory',
    ],
    ["query: SELECT 1\nto: []", 'E014 2:1 "to" is empty; write at least one entry, or remove it'],
    [
      "query: SELECT 1\nseverity: crit",
      'E014 2:11 "severity" must be "warning" or "critical", not "crit"; null',
    ],
    ["query: SELECT 1\nwhen: row.n > 3", 'E014 2:7 "when" is not an expression; write ${{ row.n > 3 }}'],
    ["query: SELECT 1\nwhen: ${{ row.n + }}", "E061 2:17 the expression is not complete: "],
    [
      "query: SELECT 1\nwhen: ${{ n > 3 }}",
      'E063 2:11 "n" is unknown; write row.n for a column of the result',
    ],
    [
      'query: SELECT 1\nwhen: ${{ "x" }}',
      'E062 2:7 "when" must be true or false, but the expression is a string; compare it: ${{ … == "true" }}',
    ],
    [
      'query: SELECT 1\nsummary: "${{ params.x }}"',
      'E063 2:15 "params" is unknown; write row.params for a column of the result',
    ],
    ["query: SELECT 1\nto: !Shell [ops]", "E021 2:5 the tag !Shell is not allowed here"],
  ])("%j", (text, problem) => {
    const found = problemsOf(text);
    expect(found.map((each) => each.slice(0, problem.length))).toEqual([problem]);
  });

  test("E125: more files than are evaluated", () => {
    expect(renderDiagnostics([tooManyAlertFiles(PATH)])).toBe(
      `alerts/slow.yml: error[E125]: there are more than 200 alert files; this one is not evaluated
      = help: let one query find what several look for: each row is an alert`,
    );
  });
});

describe("the rows of a result", () => {
  const columns = [
    { name: "workflow_id", type: "VARCHAR" },
    { name: "n", type: "BIGINT" },
  ];
  const of = (text: string, rows: unknown[][], truncated = false) =>
    alertRows(alertOf(`query: SELECT 1\n${text}`), { columns, rows, truncated });

  test("are alerts, whose key is the first column", () => {
    const { rows, keys, isPartial } = of("", [
      ["etl", 1],
      ["load", null],
    ]);
    expect(rows).toEqual([
      { key: "etl", summary: "alerts/slow.yml: etl", row: { workflow_id: "etl", n: 1 } },
      { key: "load", summary: "alerts/slow.yml: load", row: { workflow_id: "load", n: null } },
    ]);
    expect([...keys]).toEqual(["etl", "load"]);
    expect(isPartial).toBe(false);
  });

  test("count when the condition holds, each key once", () => {
    const { rows } = of(
      'key: n\nwhen: "${{ row.workflow_id != \'x\' }}"\nsummary: "${{ row.n }} of ${{ row.workflow_id }}"',
      [
        ["x", 1],
        ["a", 1],
        ["b", 1],
        ["c", 2.5],
      ],
    );
    expect(rows.map(({ key, summary }) => [key, summary])).toEqual([
      ["1", "1 of a"],
      ["2.5", "2.5 of c"],
    ]);
  });

  test("have decimals in a column of such numbers, also where they are whole", () => {
    const alert = alertOf("query: SELECT 1\nwhen: ${{ row.n > 1.5 * row.usual }}\nsummary: ${{ row.n }}");
    const types = ["VARCHAR", "DOUBLE", "DECIMAL(18,1)"];
    const columns = ["key", "n", "usual"].map((name, n) => ({ name, type: types[n] ?? "" }));
    const rows = [
      ["a", 4, "2.0"],
      ["b", 2.5, "2.5"],
      ["c", 4.5, "1"],
    ];
    const found = alertRows(alert, { columns, rows, truncated: false });
    expect(found.rows.map(({ key, summary }) => `${key} ${summary}`)).toEqual(["a 4", "c 4.5"]);
  });

  test("may be only the first ones", () => {
    expect(of("", [["a", 1]], true).isPartial).toBe(true);
  });

  test("have keys and summaries of one line without control characters", () => {
    const key = (value: unknown) => of("name: N", [[value, 1]]).rows[0]?.key ?? "";
    expect(key("a\nb")).toMatch(/^a b#[0-9a-f]{12}$/);
    expect(key("a\rb")).not.toBe(key("a\nb"));
    expect(key("")).toMatch(/^#/);
    expect(key(null)).toBe("null");
    expect(key({ a: [1] })).toBe('{"a":[1]}');
    expect(key("x".repeat(5000))).toHaveLength(213);
    const [row] = of('summary: "${{ row.workflow_id }}"', [["\x1b[31mred\u202e\n", "y".repeat(9000)]]).rows;
    expect(row?.summary).toBe("[31mred");
    expect(String(row?.row.n)).toHaveLength(2001);
  });

  test.each([
    ["key: no", 'The result has no column "no", which is the key of alerts/slow.yml.'],
    ["when: ${{ row.no > 1 }}", '"when" of alerts/slow.yml, row 1: row.no has no value'],
    ["when: ${{ row.n }}", '"when" of alerts/slow.yml, row 1: is 1, which is neither true nor false'],
    ["when: ${{ row.workflow_id > 1 }}", '"when" of alerts/slow.yml, row 1: '],
    ["summary: ${{ row.no }}", '"summary" of alerts/slow.yml, row 1: row.no has no value'],
  ])("say what is wrong: %j", (text, message) => {
    expect(() => of(text, [["a", 1]])).toThrow(message);
  });
});
