import { describe, expect, test } from "bun:test";
import { compiled, VALUES } from "./support.ts";

/** Expressions and their values, as JSON. */
const ROWS: readonly (readonly [expression: string, value: unknown])[] = [
  // Parameters, with their types.
  ["params.region", "eu"],
  ['params["region"]', "eu"],
  ["params.day", "2026-11-27"],
  ["params.days", 7],
  ["params.days + 1", 8],
  ["params.full", false],
  ["params.ratio", 0.25],
  ["params.tables", ["orders", { name: "x" }]],
  ["params.tables[1].name", "x"],
  ["size(params)", 6],
  ['params.map(name, name).exists(x, x == "region")', true],
  ['has(params.region) && params.region in ["eu", "us"]', true],
  // The run.
  ["run.id", "0191-run"],
  ["run.workflow_id", "etl.daily"],
  ["run.attempt", 2],
  ["run.trigger", "cron"],
  ["run.scheduled_time", "2026-11-27T02:30:00Z"],
  ["run.created_at", "2026-11-27T02:30:01.5Z"],
  ["run.created_at > run.scheduled_time", true],
  ["run.created_at - run.scheduled_time", "1.5s"],
  ['run.scheduled_time - duration("24h")', "2026-11-26T02:30:00Z"],
  ["run.scheduled_time.getFullYear()", 2026],
  ['run.scheduled_time.getHours("America/New_York")', 21],
  ['run.scheduled_time.getDayOfWeek("America/New_York")', 4],
  // The event.
  ["trigger.path", "/data/in/a b.csv"],
  ['trigger["x-id"]', "7"],
  ["has(trigger.nope)", false],
  ["has(trigger.path)", true],
  ['default(trigger.nope, "none")', "none"],
  ['default(trigger.path, "none")', "/data/in/a b.csv"],
  // The env of the workflow, which has expressions of its own.
  ["env.BUCKET", "s3://eu-data"],
  ["env.PLAIN", "plain"],
  ['env.BUCKET.startsWith("s3://")', true],
  // Tasks.
  ["tasks.extract.status", "COMPLETED"],
  ['tasks.extract.status == "COMPLETED"', true],
  ["tasks.extract.outputs.rows", "17"],
  ["int(tasks.extract.outputs.rows) + 1", 18],
  ["tasks.extract.outputs.count", 17],
  ["tasks.extract.outputs.count + 1", 18],
  ["tasks.extract.outputs.ratio * 2.0", 1],
  ["tasks.extract.outputs.ok", true],
  ["!tasks.extract.outputs.ok", false],
  ["tasks.extract.outputs.none", null],
  ["tasks.extract.outputs.none == null", true],
  ['tasks.extract.outputs["a-b"]', "dashed"],
  ["tasks.extract.outputs.deep.a.b[1]", 20],
  ["has(tasks.extract.outputs.deep.a.b)", true],
  ["has(tasks.extract.outputs.deep.x.y.z)", false],
  ["has(tasks.extract.outputs.nope)", false],
  ["default(tasks.extract.outputs.nope, 5)", 5],
  ["default(tasks.extract.outputs.deep.x.y, [])", []],
  ["default(tasks.extract.outputs.list[9], 0)", 0],
  ["size(tasks.extract.outputs)", 9],
  ['"rows" in tasks.extract.outputs', true],
  ["json(tasks.extract.outputs.text).x", 1],
  ['tasks["my-task"].status', "SKIPPED"],
  ['tasks["my-task"].error', 'the expression said "no"'],
  ["has(tasks.extract.error)", false],
  ['default(tasks.extract.error, "none")', "none"],
  ["tasks.check.outputs.files", ["a.csv", "b.csv"]],
  ["tasks.check.outputs.files.size()", 2],
  ["size(tasks.check.outputs.files)", 2],
  // Items.
  ["item", { name: "orders", size: 12 }],
  ["item.name", "orders"],
  ["key", "orders"],
  ["index", 3],
  ['key + "-" + string(index)', "orders-3"],
  // Literals.
  ["1", 1],
  ["-1", -1],
  ["0x1f", 31],
  ["1.5", 1.5],
  ["1e3", 1000],
  ["true", true],
  ["null", null],
  ['"a\\tb\\u00e9"', "a\tbé"],
  ["'single'", "single"],
  ['r"\\d"', "\\d"],
  ['"""a"b"""', 'a"b'],
  ['"{}} }}"', "{}} }}"],
  ['[1, "a", null]', [1, "a", null]],
  ['{"a": 1, "b": {"c": []}}', { a: 1, b: { c: [] } }],
  ['{"__proto__": 1, "constructor": 2}', JSON.parse('{"__proto__": 1, "constructor": 2}')],
  ['{"a": {"b": 1}}.a.b', 1],
  ["{1: true}[1]", true],
  ["[1, 2, 3,]", [1, 2, 3]],
  // Arithmetic.
  ["7 / 2", 3],
  ["-7 / 2", -3],
  ["-7 % 2", -1],
  ["7.0 / 2.0", 3.5],
  ["2 + 3 * 4", 14],
  ["(2 + 3) * 4", 20],
  ["double(params.days) * 1.5", 10.5],
  ["9007199254740991 - 1", 9007199254740990],
  ['"a" + "b"', "ab"],
  ["[1] + [2, 3]", [1, 2, 3]],
  ['duration("1h") + duration("30m")', "5400s"],
  ['timestamp("2026-11-27T02:00:00Z") + duration("1h")', "2026-11-27T03:00:00Z"],
  // Comparisons.
  ["1 == 1.0", true],
  ["dyn(1) == dyn(1.0)", true],
  ["1 < 1.5", true],
  ['"a" < "b"', true],
  ['"\\uffee" < "😀"', true],
  ["[1, 2] == [1.0, 2.0]", true],
  ['{"a": 1} == {"a": 1}', true],
  ['{"a": 1} == {"a": 1, "b": 2}', false],
  ['dyn("1") == dyn(1)', false],
  ["1 in [1, 2]", true],
  ['"x" in {"x": 1}', true],
  ["null == null", true],
  // Logic: an error on one side does not matter if the other side decides.
  ["true || 1 / 0 > 1", true],
  ["1 / 0 > 1 || true", true],
  ["false && 1 / 0 > 1", false],
  ["1 / 0 > 1 && false", false],
  ["tasks.extract.outputs.nope > 1 || true", true],
  ['params.full ? "all" : "some"', "some"],
  ["!params.full", true],
  ["!!params.full", false],
  // Macros.
  ["[1, 2, 3].map(x, x * 2)", [2, 4, 6]],
  ["[1, 2, 3].map(x, x > 1, x * 2)", [4, 6]],
  ["[1, 2, 3].filter(x, x != 2)", [1, 3]],
  ["[1, 2, 3].all(x, x > 0)", true],
  ["[1, 2, 3].exists(x, x > 2)", true],
  ["[1, 2, 3].exists_one(x, x > 2)", true],
  ["[1, 2, 3].existsOne(x, x > 1)", false],
  ["[0, 1].exists(x, 1 / x > 0)", true],
  ["[].all(x, x)", true],
  ['{"a": 1, "b": 2}.map(k, k)', ["a", "b"]],
  ["[[1, 2], [3]].map(x, x.map(y, y + size(x)))", [[3, 4], [4]]],
  ["[1, 2].map(params, params + 1)", [2, 3]],
  ["tasks.extract.outputs.list.map(n, n * 10)", [30, 10, 20]],
  ["[1].map(x, [2].map(x, x))", [[2]]],
  // Texts.
  ["size('héllo😀')", 6],
  ['"a,b,c".split(",")', ["a", "b", "c"]],
  ['"a,b,c".split(",", 2)', ["a", "b,c"]],
  ['"a,b".split(",", 0)', []],
  ['"😀a".split("")', ["😀", "a"]],
  ['["a", "b"].join("-")', "a-b"],
  ['["a", "b"].join()', "ab"],
  ['"  x ".trim()', "x"],
  ['"abc".substring(1)', "bc"],
  ['"😀bc".substring(1, 2)', "b"],
  ['"😀bc".indexOf("c")', 2],
  ['"abcabc".lastIndexOf("b")', 4],
  ['"abc".charAt(1)', "b"],
  ['"abc".charAt(3)', ""],
  ['"Ä b".upperAscii()', "Ä B"],
  ['"ÄB".lowerAscii()', "Äb"],
  ['"a.b.c".replace(".", "/")', "a/b/c"],
  ['"a.b.c".replace(".", "/", 1)', "a/b.c"],
  ['"ab".replace("", "-")', "-a-b-"],
  ['"abc".reverse()', "cba"],
  ['"abc".contains("b")', true],
  ['"abc".endsWith("bc")', true],
  ['"2026-11".matches("^[0-9]{4}-[0-9]{2}$")', true],
  ['matches("abc", "^b")', false],
  // Conversions.
  ['int("42")', 42],
  ["int(3.9)", 3],
  ["int(-3.9)", -3],
  ['double("2.5")', 2.5],
  ["string(5)", "5"],
  ["string(2.5)", "2.5"],
  ["string(true)", "true"],
  ['string(duration("90m"))', "5400s"],
  ['string(timestamp("2026-11-27T02:00:00.5Z"))', "2026-11-27T02:00:00.5Z"],
  ['bool("true")', true],
  ['timestamp("2026-11-27T02:00:00+02:00")', "2026-11-27T00:00:00Z"],
  ["timestamp(0)", "1970-01-01T00:00:00Z"],
  ['duration("1h30m").getMinutes()', 90],
  ["type(1) == int", true],
  ['type("a") == string', true],
  ["type([]) == list", true],
  // cdktr's own.
  ['json("[1, {\\"a\\": 2.5}]")', [1, { a: 2.5 }]],
  ['json("17") + 1', 18],
  ['file_name("/data/in/a b.csv")', "a b.csv"],
  ['file_name("a.csv")', "a.csv"],
  ['file_name("/data/in/")', "in"],
  ['file_name("/")', ""],
  ['date(run.scheduled_time, "%Y-%m-%d")', "2026-11-27"],
  ['date(run.scheduled_time, "%Y-%m-%d %H:%M", "America/New_York")', "2026-11-26 21:30"],
  ['date(run.scheduled_time, "%H:%M:%S %z", "+05:30")', "08:00:00 +0530"],
  [
    'date(run.scheduled_time, "%A %a %B %b %j %y %e %u %w %G-W%V %s %%")',
    "Friday Fri November Nov 331 26 27 5 5 2026-W48 1795746600 %",
  ],
  ['date(params.day, "%d.%m.%Y")', "27.11.2026"],
  ['date("2027-01-01", "%G-W%V")', "2026-W53"],
  ['date(timestamp("2026-03-29T01:30:00Z"), "%F %T %z", "Europe/Berlin")', "2026-03-29 03:30:00 +0200"],
  ['date(timestamp("2026-10-25T01:30:00Z"), "%F %T %z", "Europe/Berlin")', "2026-10-25 02:30:00 +0100"],
];

describe("expressions", () => {
  test("there are enough of them to trust the table", () => {
    expect(ROWS.length).toBeGreaterThan(150);
  });

  for (const [expression, value] of ROWS) {
    test(expression, () => {
      const found = compiled(`\${{ ${expression} }}`);
      expect(found.problems).toEqual([]);
      expect(JSON.stringify(found.evaluate(VALUES))).toBe(JSON.stringify(value));
    });
  }
});

/** Texts with expressions in them, and what they become. */
const TEXTS: readonly (readonly [template: string, text: string])[] = [
  ["plain", "plain"],
  ["", ""],
  ["${{ params.region }}", "eu"],
  ["${{params.region}}", "eu"],
  ["a ${{ params.region }} b ${{ params.days }}", "a eu b 7"],
  ["${{ params.region }}${{ params.region }}", "eueu"],
  ["$${{ params.region }}", "${{ params.region }}"],
  ["$$${{ params.region }}", "$${{ params.region }}"],
  ["a $${{ x }} ${{ params.region }}", "a ${{ x }} eu"],
  ["$ {{ x }} $x ${x}", "$ {{ x }} $x ${x}"],
  ["${{ params.tables }}", '["orders",{"name":"x"}]'],
  ["--tables=${{ params.tables }}", '--tables=["orders",{"name":"x"}]'],
  ["${{ params.full }}", "false"],
  ["${{ params.ratio }}", "0.25"],
  ["${{ 2.0 }}", "2"],
  ["${{ run.scheduled_time }}", "2026-11-27T02:30:00Z"],
  ['${{ duration("90s") }}', "90s"],
  ['${{ {"a": {"b": "}}"}} }}', '{"a":{"b":"}}"}}'],
  ["${{ '}}' }}", "}}"],
  ['${{ "a\\"}}" }}', 'a"}}'],
  ['${{ r"\\d" }}', "\\d"],
  ["${{ '''a'}}''' }}", "a'}}"],
  ["line 1\n${{ params.region }}\n", "line 1\neu\n"],
  ["${{\n  params.region\n}}", "eu"],
];

describe("texts", () => {
  for (const [template, text] of TEXTS) {
    test(JSON.stringify(template), () => {
      const found = compiled(template);
      expect(found.problems).toEqual([]);
      expect(found.text(VALUES)).toBe(text);
    });
  }

  test("the value of a whole expression keeps its type, and text around it makes it text", () => {
    expect(compiled("${{ params.days }}").evaluate(VALUES)).toBe(7);
    expect(compiled("${{ params.days }} ").evaluate(VALUES)).toBe("7 ");
    expect(compiled("${{ params.days }}").isWhole).toBe(true);
    expect(compiled("x${{ params.days }}").isWhole).toBe(false);
  });

  test("a value that looks like an expression is not evaluated again", () => {
    const facts = { ...VALUES.facts, params: { ...VALUES.facts.params, region: "${{ params.day }}" } };
    expect(compiled("${{ params.region }}").text({ ...VALUES, facts })).toBe("${{ params.day }}");
  });

  test("what an expression reads is known before it is evaluated", () => {
    const found = compiled(
      '${{ tasks.extract.outputs.rows }} ${{ has(tasks["my-task"].error) && params.full }} ${{ tasks.extract.outputs.rows }}',
    );
    expect(found.tasks).toEqual(["extract", "my-task"]);
    expect(found.reads).toEqual([
      { root: "tasks", name: "extract", part: "outputs", output: "rows" },
      { root: "tasks", name: "my-task", part: "error", output: null },
      { root: "params", name: "full", part: null, output: null },
    ]);
  });
});

describe("agents", () => {
  const ids = (call: string): unknown =>
    compiled(`\${{ ${call}.map(agent, agent.id) }}`, "decision").evaluate(VALUES);

  test("that are up, by their labels", () => {
    expect(ids("agents()")).toEqual(["web-1", "web-2", "db-1"]);
    expect(ids("agents({})")).toEqual(["web-1", "web-2", "db-1"]);
    expect(ids('agents({"role": "web"})')).toEqual(["web-1", "web-2"]);
    expect(ids('agents({"role": "web", "cores": 2})')).toEqual(["web-2"]);
    expect(ids('agents({"zone": "eu"})')).toEqual([]);
    expect(compiled('${{ agents({"role": "db"}) }}', "decision").evaluate(VALUES)).toEqual([
      { id: "db-1", host: "two", labels: { host: "two", role: "db", cores: "2" } },
    ]);
    expect(compiled('${{ size(agents({"role": "web"})) > 1 }}', "decision").evaluate(VALUES)).toBe(true);
  });

  test("nobody knows them but a principal", () => {
    const { agents: _, ...facts } = VALUES.facts;
    expect(() => compiled("${{ agents() }}", "decision").evaluate({ ...VALUES, facts })).toThrow(
      "agents() has no value: which agents are up is known to a principal only",
    );
  });
});
