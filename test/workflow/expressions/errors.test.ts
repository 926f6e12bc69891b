import { describe, expect, test } from "bun:test";
import { expressionsOf } from "../../../src/workflow/expressions.ts";
import type { Place } from "../../../src/workflow/field.ts";
import { compiled, VALUES, WORKFLOW } from "./support.ts";

type Row = readonly [expression: string, code: string, marked: string, message: string, help?: string];

/** What is wrong with an expression before it is evaluated, and the part of it that the error points at. */
const PROBLEMS: readonly Row[] = [
  // Syntax.
  [
    "",
    "E061",
    " ",
    "the expression is empty",
    'write an expression between "${{" and "}}", such as ${{ params.day }}',
  ],
  ["(params.days + 1", "E061", "1", 'the expression is not complete: ")" is missing'],
  ["[1, 2", "E061", "2", 'the expression is not complete: "]" is missing'],
  ["params.days +", "E061", "+", 'the expression is not complete: something is missing after "+"'],
  ["params.full ? 1", "E061", "1", 'the expression is not complete: ":" is missing'],
  ["params.", "E061", ".", 'the expression is not complete: something is missing after "."'],
  ['"abc', "E061", '"', 'the quote " that opens here is not closed'],
  ['params.region = "eu"', "E061", "=", '"=" is not an operator', 'write "=="'],
  ['params.region === "eu"', "E061", "===", '"===" is not an operator', 'write "=="'],
  ['params.region !== "eu"', "E061", "!==", '"!==" is not an operator', 'write "!="'],
  ['params.region <> "eu"', "E061", "<>", '"<>" is not an operator', 'write "!="'],
  ["params.full & true", "E061", "&", '"&" is not an operator', 'write "&&"'],
  ["params.full | true", "E061", "|", '"|" is not an operator', 'write "||"'],
  ["params.full and true", "E061", "and", '"and" is not an operator', 'write "&&"'],
  ["params.full or true", "E061", "or", '"or" is not an operator', 'write "||"'],
  ["not params.full", "E061", "not", '"not" is not an operator', 'write "!"'],
  ["trigger.x ?? 1", "E061", "??", '"??" is not an operator', "write default(value, other)"],
  [
    "trigger?.x",
    "E061",
    "?.",
    '"?." is not an operator',
    "write has(…) to ask whether it exists, or default(value, other)",
  ],
  [
    "params.region params.day",
    "E061",
    "params",
    '"params" is unexpected here',
    "is an operator missing before it?",
  ],
  ["params.region;", "E061", ";", '";" is not allowed here', "an expression has a single value"],
  ["“x”", "E061", "“", '"“" is a typographic quote', "use plain quotes: \"…\" or '…'"],
  ["`x`", "E061", "`", '"`" is not allowed here', 'write "…" for text'],
  ["params.in", "E061", "in", '"in" cannot follow a dot', 'write params["in"]'],
  ["tasks.1a.status", "E061", "1a", '"1a" cannot follow a dot', 'write tasks["1a"]'],
  ["if", "E061", "if", '"if" is a word that expressions reserve', "write condition ? value : other"],
  [
    "[1].map(1, 2)",
    "E061",
    "1",
    "the first argument of map must be the name of a variable",
    "such as items.map(x, x.name)",
  ],
  [
    "9223372036854775808",
    "E061",
    "9223372036854775808",
    "the whole number is too large: 9223372036854775808",
  ],
  ['"\\q"', "E061", "\\q", "invalid escape sequence: \\q"],
  // Types.
  [
    'params.days + "x"',
    "E062",
    'params.days + "x"',
    '"+" cannot be used with an int and a string',
    "write string(params.days) to join them as text",
  ],
  [
    "params.days * 1.5",
    "E062",
    "params.days * 1.5",
    '"*" cannot be used with an int and a double',
    "write double(params.days)",
  ],
  [
    "params.region == 5",
    "E062",
    "params.region == 5",
    "cannot compare string with int",
    "params.region is a string; write int(params.region) if it holds a number",
  ],
  [
    "params.region > 5",
    "E062",
    "params.region > 5",
    "cannot compare string with int",
    "params.region is a string; write int(params.region) if it holds a number",
  ],
  [
    "params.region == true",
    "E062",
    "params.region == true",
    "cannot compare string with bool",
    'params.region is a string; write "true" or "false" in quotes',
  ],
  ["[1] < [2]", "E062", "[1] < [2]", "cannot compare list of int with list of int"],
  [
    "params.full && params.region",
    "E062",
    "params.region",
    "params.region must be true or false, but is a string",
  ],
  ["!params.days", "E062", "params.days", "params.days must be true or false, but is an int"],
  ["-params.region", "E062", "-params.region", '"-" cannot be used with a string'],
  [
    'params.full ? "a" : 1',
    "E062",
    '"a" : 1',
    "the value is a string or an int, depending on the condition",
    "write string(…) around the one that is not text",
  ],
  ['params.days ? "a" : "b"', "E062", "params.days", "params.days must be true or false, but is an int"],
  [
    '"a" in params.region',
    "E062",
    "params.region",
    '"in" looks in a list or a map, not in a string',
    'write params.region.contains("a")',
  ],
  ['"a" in [1]', "E062", '"a" in [1]', "cannot compare string with int"],
  [
    "params.region.x",
    "E062",
    "params.region.x",
    "params.region is a string: it has no members",
    "write json(params.region) to read it as JSON",
  ],
  ['[1]["a"]', "E062", '[1]["a"]', "the elements of a list are numbered from 0, but a string is asked for"],
  [
    "size(5)",
    "E062",
    "size(5)",
    "size cannot be used with an int",
    "write size(string), size(bytes), size(list) or size(map)",
  ],
  [
    '"a".contains("a", "b")',
    "E062",
    '"a".contains("a", "b")',
    "contains has 2 arguments here",
    "write string.contains(string)",
  ],
  ["params.region.map(x, x)", "E062", "params.region", "map works on lists and maps, not on a string"],
  ["[1].filter(x, x)", "E062", "x", "x must be true or false, but is an int"],
  ["has(params)", "E062", "params", "has asks for a member", "such as has(tasks.extract.outputs.rows)"],
  ["has(1, 2)", "E062", "has", "has is not used like this", "write has(tasks.ID.outputs.NAME)"],
  ["[1].map(x)", "E062", "map", "map is not used like this", "write list.map(x, x + 1)"],
  [
    'date(params.day, "%q")',
    "E062",
    '"%q"',
    '"%q" is not a part of a date; parts are %Y %m %d %H %M %S %F %T %y %j %e %a %A %b %B %u %w %G %V %s %z %Z %%',
  ],
  [
    'date(params.day, "%F", "Europe/Lundon")',
    "E062",
    '"Europe/Lundon"',
    '"Europe/Lundon" is not a time zone such as "Europe/London" or "+02:00"',
  ],
  ['params.region.matches("(")', "E062", '"("', "the pattern cannot be read: missing closing ): `(`"],
  ['duration("5q")', "E062", '"5q"', '"5q" is not a duration such as "90s" or "1h30m"'],
  ['timestamp("today")', "E062", '"today"', '"today" is not a time such as "2025-01-20T02:00:00Z"'],
  // Names.
  ["params.regoin", "E063", "regoin", 'there is no parameter "regoin"', 'did you mean "region"?'],
  [
    "params.zzz",
    "E063",
    "zzz",
    'there is no parameter "zzz"',
    "there are region, day, days, full, ratio, tables",
  ],
  [
    "env.BUKCET",
    "E063",
    "BUKCET",
    'the env of this workflow has no variable "BUKCET"',
    'did you mean "BUCKET"?',
  ],
  ["run.idd", "E063", "idd", '"run.idd" does not exist', 'did you mean "id"?'],
  ["run.status", "E063", "status", '"run.status" is known only when the run is over', "read tasks.ID.status"],
  ["region", "E063", "region", '"region" is unknown', "write params.region"],
  ["param.region", "E063", "param", '"param.region" is unknown', "write params.region"],
  ["inputs.region", "E063", "inputs", '"inputs.region" is unknown', "write params.region"],
  [
    "github.sha",
    "E063",
    "github",
    '"github.sha" is unknown',
    "names are params, run, trigger, env, tasks, item, key, index",
  ],
  [
    "extract.outputs.rows",
    "E063",
    "extract",
    '"extract.outputs" is unknown',
    "write tasks.extract.outputs.rows",
  ],
  [
    "secrets.KEY",
    "E063",
    "secrets",
    "secrets cannot be used in expressions",
    "declare secrets: [NAME] at the task; it becomes the variable NAME",
  ],
  [
    "exit_code == 0",
    "E063",
    "exit_code",
    '"exit_code" is known only in repeat.until',
    "write tasks.ID.outputs.NAME of another task",
  ],
  [
    "tasks",
    "E063",
    "tasks",
    '"tasks" needs the id of a task',
    'write tasks.ID.status, tasks.ID.outputs.NAME or tasks["ID"]…',
  ],
  [
    "tasks.extract",
    "E063",
    "tasks.extract",
    '"tasks.extract" does not say what to read of the task',
    "write tasks.extract.status, .error or .outputs.NAME",
  ],
  [
    "tasks[key].status",
    "E063",
    "key",
    "the id of a task must be written out",
    'write tasks.ID.status, tasks.ID.outputs.NAME or tasks["ID"]…',
  ],
  ["tasks.extrct.status", "E063", "extrct", 'there is no task "extrct"', 'did you mean "extract"?'],
  [
    "tasks.my-task.outputs.x",
    "E063",
    "my-task",
    'the task id "my-task" needs quotes',
    'write tasks["my-task"].outputs.x',
  ],
  [
    "tasks.extract.result",
    "E063",
    "result",
    '"tasks.extract.result" does not exist: a task has status, outputs and error',
    "write tasks.extract.outputs.result for what it publishes",
  ],
  [
    "tasks.extract.output",
    "E063",
    "output",
    '"tasks.extract.output" does not exist: a task has status, outputs and error',
    'did you mean "outputs"?',
  ],
  ["tasks.load.status", "E034", "load", 'task "load" reads itself, before it has run'],
  [
    "tasks.check.outputs.row",
    "E035",
    "row",
    '"check" does not declare an output "row"',
    'did you mean "rows"?',
  ],
  [
    "tasks.check.outputs.zzz",
    "E035",
    "zzz",
    '"check" does not declare an output "zzz"',
    "its outputs are rows, files",
  ],
  ["[1, 2].sum()", "E063", "sum", 'there is no function "sum"'],
  ["lenght(params.region)", "E063", "lenght", 'there is no function "lenght"'],
  ["len(params.region)", "E063", "len", 'there is no function "len"', "write size(…)"],
  [
    "upperAscii(params.region)",
    "E063",
    "upperAscii",
    'there is no function "upperAscii"',
    "write params.region.upperAscii()",
  ],
  [
    "params.region.file_name()",
    "E063",
    "file_name",
    'there is no function "file_name"',
    "write file_name(params.region)",
  ],
  ["now()", "E063", "now", 'there is no function "now"', "write run.created_at or run.scheduled_time"],
  [
    'format("%s")',
    "E063",
    "format",
    'there is no function "format"',
    "write date(time, format, zone) for a time, or put the expressions into the text",
  ],
  // Limits.
  [`1${" + 1".repeat(300)}`, "E066", "1", "the expression has more than 500 parts"],
  [`${"(".repeat(40)}1${")".repeat(40)}`, "E066", "(", "the expression is nested more than 32 levels deep"],
  [
    `"${"x".repeat(5000)}"`,
    "E066",
    `\${{ "${"x".repeat(5000)}" }}`,
    "the expression is longer than 4096 characters",
  ],
];

describe("what is wrong with an expression", () => {
  for (const [expression, code, marked, message, help] of PROBLEMS) {
    test(expression.length > 80 ? `${expression.slice(0, 80)}…` : expression, () => {
      const text = `\${{ ${expression} }}`;
      const [problem, ...others] = compiled(text).problems;
      expect(others).toEqual([]);
      expect({ code: problem?.code, message: problem?.message, help: problem?.help }).toEqual({
        code: code as never,
        message,
        help,
      });
      if (expression.length < 80 && expression !== "")
        expect(text.slice(problem?.start, problem?.end)).toBe(marked);
    });
  }

  test('"${{" that is not closed', () => {
    const [problem] = compiled("a ${{ params.region } b").problems;
    expect(problem).toEqual({
      code: "E066",
      message: '"${{" is not closed',
      help: 'write "}}" at its end; for a literal "${{" write "$${{"',
      start: 2,
      end: 5,
    });
  });

  test("too many expressions in one text", () => {
    const [problem] = compiled("${{ 1 }}".repeat(65)).problems;
    expect(problem?.message).toBe("the text has more than 64 expressions");
    expect(compiled("${{ 1 }}".repeat(64)).problems).toEqual([]);
  });

  test("every expression of a text is checked", () => {
    const { problems } = compiled("${{ params.a }} ${{ params.b }}");
    expect(problems.map(({ start }) => start)).toEqual([11, 27]);
  });
});

/** Errors of the evaluation. */
const FAILURES: readonly (readonly [expression: string, message: string, help?: string])[] = [
  ["tasks.extract.outputs.nope", 'tasks.extract.outputs.nope has no value: "extract" published no "nope"'],
  ['tasks["my-task"].outputs.x', 'tasks["my-task"].outputs.x has no value: "my-task" SKIPPED'],
  ["tasks.extract.error", 'tasks.extract.error has no value: "extract" COMPLETED, without an error'],
  [
    "tasks.extract.outputs.deep.a.c",
    'tasks.extract.outputs.deep.a.c has no value: tasks.extract.outputs.deep.a has no "c"',
  ],
  [
    "tasks.extract.outputs.list[7]",
    "tasks.extract.outputs.list[7] has no value: tasks.extract.outputs.list has 3 elements",
  ],
  [
    "tasks.extract.outputs.list[-1]",
    "tasks.extract.outputs.list[-1] has no value: tasks.extract.outputs.list has 3 elements",
  ],
  [
    "tasks.extract.outputs.text.x",
    'tasks.extract.outputs.text is text: it has no "x"',
    "write json(tasks.extract.outputs.text) if it is text that holds JSON",
  ],
  ["trigger.nope", 'trigger.nope has no value: what triggered the run, cron, offered no "nope"'],
  [
    "tasks.extract.outputs.rows > 10",
    'cannot compare text with int: tasks.extract.outputs.rows is "17"',
    "values of lines in CDKTR_OUTPUT are text: write int(tasks.extract.outputs.rows)",
  ],
  [
    "tasks.extract.outputs.rows == 17",
    'cannot compare text with int: tasks.extract.outputs.rows is "17"',
    "values of lines in CDKTR_OUTPUT are text: write int(tasks.extract.outputs.rows)",
  ],
  [
    "tasks.extract.outputs.rows + 1",
    '"+" cannot be used with text and int: tasks.extract.outputs.rows is "17"',
    "values of lines in CDKTR_OUTPUT are text: write int(tasks.extract.outputs.rows)",
  ],
  ["tasks.extract.outputs.rows && true", "tasks.extract.outputs.rows must be true or false, but is text"],
  ["int(tasks.extract.outputs.text)", '"{\\"x\\": 1}" is not a whole number'],
  ["1 / 0", "1 / 0: division by zero"],
  ["params.days % (params.days - 7)", "7 % 0: division by zero"],
  ["9223372036854775807 + 1", "the whole number is too large: 9223372036854775808"],
  ["-(-9223372036854775807 - 1)", "the whole number is too large: 9223372036854775808"],
  ['json("{")', 'the text is not JSON: "{"'],
  ['"abc".substring(4)', "there is no place 4 in a text of 3 characters"],
  [
    'date("tomorrow", "%F")',
    '"tomorrow" is not a day such as "2025-01-20" or a time such as "2025-01-20T02:00:00Z"',
  ],
  ['{"a": 1, "a": 2}', 'the map has "a" twice'],
  ["[1, tasks.extract.outputs.rows].join()", "join needs a list of texts, but one is an int"],
];

describe("an evaluation fails", () => {
  for (const [expression, message, help] of FAILURES) {
    test(expression, () => {
      const found = compiled(`\${{ ${expression} }}`);
      let error: unknown;
      try {
        found.evaluate(VALUES);
      } catch (thrown) {
        error = thrown;
      }
      expect(error).toMatchObject({ message });
      expect((error as { help?: string }).help).toBe(help as string);
    });
  }

  test("null has no form as text", () => {
    const found = compiled("a ${{ tasks.extract.outputs.none }}");
    expect(() => found.text(VALUES)).toThrow("tasks.extract.outputs.none is null");
  });

  test("a parameter whose value does not fit its type, as another version of the file had it", () => {
    const facts = { ...VALUES.facts, params: { ...VALUES.facts.params, days: "seven", tables: "{" } };
    const errorOf = (text: string): string => {
      try {
        return compiled(text).text({ ...VALUES, facts });
      } catch (error) {
        return error instanceof Error ? error.message : String(error);
      }
    };
    expect(errorOf("${{ params.days + 1 }}")).toBe(
      'params.days has no value: "seven" is not a value of its type, int',
    );
    expect(errorOf("${{ params.tables }}")).toBe(
      'params.tables has no value: "{" is not a value of its type, json',
    );
  });

  test("a number that programs would round has no form as JSON", () => {
    expect(() => compiled("${{ 9007199254740993 }}").evaluate(VALUES)).toThrow(
      "9007199254740993 is 9007199254740993, which programs that read JSON would round",
    );
    expect(compiled("${{ 9007199254740993 }}").text(VALUES)).toBe("9007199254740993");
  });
});

describe("an evaluation is bounded", () => {
  const big = (value: unknown) => ({
    ...VALUES,
    results: () => ({ status: "COMPLETED" as const, outputs: { list: value, text: value } }),
  });

  test("in its steps", () => {
    const list = Array.from({ length: 3000 }, (_, n) => n);
    const nested = compiled(
      "${{ tasks.extract.outputs.list.map(x, tasks.extract.outputs.list.map(y, x * y)).size() }}",
    );
    expect(() => nested.evaluate(big(list))).toThrow("the expression took more than 1,000,000 steps");
  });

  test("also where errors are hidden", () => {
    const list = Array.from({ length: 3000 }, (_, n) => n);
    const hidden = compiled(
      "${{ tasks.extract.outputs.list.exists(x, tasks.extract.outputs.list.exists(y, x + y < 0)) || true }}",
    );
    expect(() => hidden.evaluate(big(list))).toThrow("the expression took more than 1,000,000 steps");
  });

  test("in the text that it copies", () => {
    const doubled = compiled(
      `\${{ ${Array.from({ length: 100 }, () => "tasks.extract.outputs.text").join(" + ")} }}`,
    );
    expect(() => doubled.evaluate(big("x".repeat(1024 * 1024)))).toThrow("took more than 1,000,000 steps");
  });

  test("50,000 items are no problem", () => {
    const list = Array.from({ length: 50_000 }, (_, n) => ({ name: `file-${n}`, size: n }));
    const found = compiled(
      '${{ tasks.extract.outputs.list.filter(f, f.size > 10 && f.name.endsWith("7")).size() }}',
    );
    expect(found.evaluate(big(list))).toBe(4999);
  });

  test("a pattern that makes other engines take hours", () => {
    const found = compiled('${{ tasks.extract.outputs.text.matches("^(a+)+$") }}');
    const started = performance.now();
    expect(found.evaluate(big(`${"a".repeat(100 * 1024)}!`))).toBe(false);
    expect(performance.now() - started).toBeLessThan(10_000);
  });

  test("values that are nested deeply", () => {
    const deep = `${"[".repeat(100_000)}${"]".repeat(100_000)}`;
    const found = compiled("${{ json(tasks.extract.outputs.text) == 1 }}");
    expect(() => found.evaluate(big(deep))).toThrow(
      /the values are too large, or nested too deeply|is not JSON/,
    );
  });
});

describe("the names in scope depend on the place", () => {
  const unknownAt = (place: Place, task: string | null, expression: string): string | undefined =>
    expressionsOf(WORKFLOW).compile(`\${{ ${expression} }}`, place, task).problems[0]?.message;

  const rows: readonly (readonly [Place, string | null, string, string | undefined])[] = [
    ["env", null, "params.region + run.id + default(trigger.x, '')", undefined],
    ["env", null, "env.PLAIN", '"env" cannot be read here'],
    ["env", null, "tasks.extract.status", "tasks cannot be read here"],
    ["decision", "load", "tasks.extract.status", undefined],
    ["decision", "load", "item", '"item" is known only in the items of a fan-out'],
    ["item", "load", "item.name + key + string(index)", undefined],
    ["start", "check", "item", '"item" is known only in the items of a fan-out'],
    ["until", "load", "exit_code == 0 && has(outputs.done)", undefined],
    [
      "hook",
      null,
      'run.status == "FAILED" && size(run.failed_tasks) > 0 && tasks.other.status != ""',
      undefined,
    ],
    ["result", null, "tasks.load.outputs.rows", undefined],
    ["default", null, "run.scheduled_time", undefined],
    ["default", null, "tasks.extract.status", "tasks cannot be read here"],
  ];
  for (const [place, task, expression, message] of rows) {
    test(`${place}: ${expression}`, () => expect(unknownAt(place, task, expression)).toBe(message as string));
  }
});
