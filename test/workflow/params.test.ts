import { describe, expect, test } from "bun:test";
import { InvalidInputError } from "../../src/errors.ts";
import { paramVariable } from "../../src/workflow/own-variables.ts";
import { type ParamRules, paramRulesText, paramsSchema, paramTexts } from "../../src/workflow/param-types.ts";
import { resolveParams } from "../../src/workflow/params.ts";
import { definitionOf } from "./support.ts";

const workflow = {
  id: "etl.daily",
  params: {
    day: { description: null, default: "2024-01-01" },
    region: { description: "Where", default: null },
    size: { description: null, default: "" },
  },
};

function refusal(given: Record<string, string>, definition = workflow): InvalidInputError {
  try {
    resolveParams(definition, given);
  } catch (error) {
    if (error instanceof InvalidInputError) return error;
    throw error;
  }
  throw new Error("was not refused");
}

describe("resolveParams", () => {
  test("merges what was given with the defaults, in the order of the workflow", () => {
    expect(resolveParams(workflow, { region: "eu" })).toEqual({ day: "2024-01-01", region: "eu", size: "" });
    expect(Object.keys(resolveParams(workflow, { size: "1", region: "", day: "x" }))).toEqual([
      "day",
      "region",
      "size",
    ]);
  });

  test("names every parameter that is missing", () => {
    const error = refusal({});
    expect(error.message).toBe('workflow "etl.daily": missing parameter "region"');
    expect(error.hint).toBe("give -P region=VALUE");
    const two = refusal({}, {
      id: "x",
      params: { ...workflow.params, other: { description: null, default: null } },
    } as never);
    expect(two.message).toContain('missing parameters "region", "other"');
  });

  test("names what is unknown, with the nearest that is known", () => {
    const error = refusal({ region: "eu", dya: "x", zzz: "y" });
    expect(error.message).toBe(
      'workflow "etl.daily": unknown parameter "dya" (did you mean "day"?); unknown parameter "zzz"',
    );
    expect(error.hint).toBe("its parameters are day, region, size");
    expect(error).toMatchObject({ exitCode: 4, reply: "CLIENTERROR" });
    expect(refusal({ a: "b" }, { id: "x", params: {} } as never).hint).toBe(
      "this workflow has no parameters",
    );
  });

  test("tells unknown and missing ones at once", () => {
    expect(refusal({ regoin: "eu" }).message).toBe(
      'workflow "etl.daily": unknown parameter "regoin" (did you mean "region"?); missing parameter "region"',
    );
  });

  test("refuses what no environment variable can hold", () => {
    expect(refusal({ region: "a\0b" }).message).toContain("NUL");
  });

  test("is not fooled by names that every object has", () => {
    expect(refusal({ region: "x", constructor: "y" }).message).toContain('unknown parameter "constructor"');
    const odd = { id: "x", params: { toString: { description: null, default: null } } };
    expect(refusal({}, odd as never).message).toContain('missing parameter "toString"');
  });
});

/** A value, the rules of its parameter, and what becomes of it. */
type Row = [type: string, rules: Omit<ParamRules, "type">, given: string, expected: string];

const GOOD: readonly Row[] = [
  ["string", {}, "", ""],
  ["string", {}, " a b ", " a b "],
  ["string", {}, "äöü 漢字 🎉\nx", "äöü 漢字 🎉\nx"],
  ["string", { enum: ["eu", "us"] }, "eu", "eu"],
  ["string", { enum: ["", "us"] }, "", ""],
  ["string", { pattern: "[a-z]+" }, "abc", "abc"],
  ["string", { pattern: "a|b" }, "b", "b"],
  ["string", { pattern: "(?i)abc" }, "ABC", "ABC"],
  ["string", { pattern: "\\d{4}" }, "2026", "2026"],
  ["int", {}, "0", "0"],
  ["int", {}, "-0", "0"],
  ["int", {}, "+7", "7"],
  ["int", {}, "007", "7"],
  ["int", {}, " 12 ", "12"],
  ["int", {}, "9007199254740993", "9007199254740993"],
  ["int", {}, "9223372036854775807", "9223372036854775807"],
  ["int", {}, "-9223372036854775808", "-9223372036854775808"],
  ["int", { min: "1", max: "31" }, "1", "1"],
  ["int", { min: "1", max: "31" }, "31", "31"],
  ["int", { min: "9007199254740993" }, "9007199254740993", "9007199254740993"],
  ["int", { enum: ["1", "7"] }, "07", "7"],
  ["number", {}, "1.50", "1.5"],
  ["number", {}, ".5", "0.5"],
  ["number", {}, "5.", "5"],
  ["number", {}, "-0.0", "0"],
  ["number", {}, "1E3", "1000"],
  ["number", {}, "1e-7", "1e-7"],
  ["number", { min: "0", max: "1" }, "0.25", "0.25"],
  ["number", { enum: ["0.5", "1"] }, "1.0", "1"],
  ["bool", {}, "true", "true"],
  ["bool", {}, "TRUE", "true"],
  ["bool", {}, " False ", "false"],
  ["date", {}, "2026-02-28", "2026-02-28"],
  ["date", {}, "2024-02-29", "2024-02-29"],
  ["date", {}, "0001-01-01", "0001-01-01"],
  ["date", { min: "2026-01-01", max: "2026-12-31" }, "2026-12-31", "2026-12-31"],
  ["date", { enum: ["2026-01-01"] }, "2026-01-01", "2026-01-01"],
  ["json", {}, "null", "null"],
  ["json", {}, ' [ 1 , "a  b" ] ', '[1,"a  b"]'],
  ["json", {}, '{"a": {"b": [true, null]}}', '{"a":{"b":[true,null]}}'],
  ["json", {}, "9007199254740993", "9007199254740993"],
  ["json", {}, '"\\" \\\\ "', '"\\" \\\\ "'],
  ["json", {}, '{"__proto__": 1}', '{"__proto__":1}'],
  // A type that only a newer cdktr knows is checked by that one.
  ["colour", {}, "red", "red"],
];

const BAD: readonly Row[] = [
  ["string", { enum: ["eu", "us"] }, "asia", 'must be one of eu, us, not "asia"'],
  [
    "string",
    { enum: ["europe", "us"] },
    "eurpe",
    'must be one of europe, us, not "eurpe" (did you mean "europe"?)',
  ],
  ["string", { enum: ["eu", "us"] }, "", 'must be one of eu, us, not ""'],
  ["string", { pattern: "[a-z]+" }, "abc1", 'must match [a-z]+, not "abc1"'],
  ["string", { pattern: "a|b" }, "ab", 'must match a|b, not "ab"'],
  ["string", { pattern: "[a-z]+" }, "abc\n", 'must match [a-z]+, not "abc\\n"'],
  // A pattern that takes other engines forever.
  ["string", { pattern: "(a+)+" }, `${"a".repeat(50_000)}!`, `must match (a+)+, not "${"a".repeat(60)}…"`],
  ["int", {}, "", 'must be a whole number, not ""'],
  ["int", {}, "seven", 'must be a whole number, not "seven"'],
  ["int", {}, "1.0", 'must be a whole number, not "1.0"'],
  ["int", {}, "1e3", 'must be a whole number, not "1e3"'],
  ["int", {}, "0x10", 'must be a whole number, not "0x10"'],
  ["int", {}, "1_000", 'must be a whole number, not "1_000"'],
  ["int", {}, "١٢", 'must be a whole number, not "١٢"'],
  ["int", {}, "9223372036854775808", 'must be a whole number, not "9223372036854775808"'],
  ["int", {}, "9".repeat(50_000), `must be a whole number, not "${"9".repeat(60)}…"`],
  ["int", { min: "1", max: "31" }, "0", 'must be at least 1, not "0"'],
  ["int", { min: "1", max: "31" }, "32", 'must be at most 31, not "32"'],
  [
    "int",
    { max: "9007199254740992" },
    "9007199254740993",
    'must be at most 9007199254740992, not "9007199254740993"',
  ],
  ["int", { enum: ["1", "7"] }, "8", 'must be one of 1, 7, not "8"'],
  ["number", {}, "", 'must be a number, not ""'],
  ["number", {}, "NaN", 'must be a number, not "NaN"'],
  ["number", {}, "Infinity", 'must be a number, not "Infinity"'],
  ["number", {}, "1e999", 'must be a number, not "1e999"'],
  ["number", {}, "1,5", 'must be a number, not "1,5"'],
  ["number", {}, ".", 'must be a number, not "."'],
  ["number", { min: "0.1" }, "0.09", 'must be at least 0.1, not "0.09"'],
  ["bool", {}, "yes", 'must be true or false, not "yes" (write "true")'],
  ["bool", {}, "0", 'must be true or false, not "0" (write "false")'],
  ["bool", {}, "", 'must be true or false, not ""'],
  ["date", {}, "2026-02-29", 'must be a date, not "2026-02-29" (such as 2026-02-28)'],
  ["date", {}, "2026-2-1", 'must be a date, not "2026-2-1" (such as 2026-02-28)'],
  ["date", {}, "2026-13-01", 'must be a date, not "2026-13-01" (such as 2026-02-28)'],
  ["date", {}, "01.02.2026", 'must be a date, not "01.02.2026" (such as 2026-02-28)'],
  ["date", {}, "2026-02-01T00:00:00Z", 'must be a date, not "2026-02-01T00:00:00Z" (such as 2026-02-28)'],
  ["date", { min: "2026-01-01" }, "2025-12-31", 'must be 2026-01-01 or later, not "2025-12-31"'],
  ["date", { max: "2026-01-01" }, "2026-01-02", 'must be 2026-01-01 or earlier, not "2026-01-02"'],
  ["json", {}, "", 'must be JSON, not "" (such as ["a", "b"] or {"a": 1})'],
  ["json", {}, "[1, 2", 'must be JSON, not "[1, 2" (such as ["a", "b"] or {"a": 1})'],
  ["json", {}, "{a: 1}", 'must be JSON, not "{a: 1}" (such as ["a", "b"] or {"a": 1})'],
  [
    "json",
    {},
    "[".repeat(30_000) + "]".repeat(30_000),
    `must be JSON, not "${"[".repeat(60)}…" (such as ["a", "b"] or {"a": 1})`,
  ],
];

describe("values of each type", () => {
  const typed = (type: string, rules: object, byDefault: string | null = null) => ({
    id: "x",
    params: { p: { description: null, type, ...rules, default: byDefault } },
  });

  test.each(GOOD)("%s %j takes %j, spelled %j", (type, rules, given, expected) => {
    expect(resolveParams(typed(type, rules), { p: given })).toEqual({ p: expected });
  });

  test.each(BAD)("%s %j refuses %j", (type, rules, given, expected) => {
    expect(refusal({ p: given }, typed(type, rules) as never).message).toBe(
      `workflow "x": parameter "p" ${expected}`,
    );
  });

  test("every mistake is told at once", () => {
    const definition = {
      id: "etl",
      params: {
        days: { description: null, type: "int", default: "7" },
        region: { description: null, enum: ["eu", "us"], default: "eu" },
        day: { description: null, type: "date", default: null },
      },
    };
    expect(refusal({ days: "seven", region: "asia", dya: "x" }, definition as never).message).toBe(
      'workflow "etl": parameter "days" must be a whole number, not "seven"; parameter "region" must be one of eu, us, not "asia"; ' +
        'unknown parameter "dya" (did you mean "day"?); missing parameter "day"',
    );
  });
});

describe("what a file says about parameters", () => {
  const TASKS = "tasks:\n  a:\n    config: !Subprocess {cmd: ls}\n";
  const paramsOf = (text: string) => definitionOf(`params:\n${text}\n${TASKS}`).params;

  test("is stored in the spelling of the type; what is not used is not stored", () => {
    expect(
      paramsOf(
        [
          "  region: {type: string, enum: [eu, us], default: eu, description: Which orders}",
          "  days: {type: int, min: 01, max: +31, default: 07}",
          "  full: {type: bool, default: FALSE}",
          "  day: {type: date, required: true}",
          "  share: {type: number, enum: [0.50, 1], default: 1.0}",
          "  short: eu",
          "  bare:",
        ].join("\n"),
      ),
    ).toEqual({
      region: { type: "string", enum: ["eu", "us"], default: "eu", description: "Which orders" },
      days: { description: null, type: "int", min: "1", max: "31", default: "7" },
      full: { description: null, type: "bool", default: "false" },
      day: { description: null, type: "date", default: null },
      share: { description: null, type: "number", enum: ["0.5", "1"], default: "1" },
      short: { description: null, default: "eu" },
      bare: { description: null, default: null },
    });
  });

  test.each<[yaml: string, json: string | null]>([
    ["[orders, customers]", '["orders","customers"]'],
    ['[1, "1", 1.10, -5, 007, 0x1F, .5, +3]', '[1,"1",1.10,-5,7,31,0.5,3]'],
    ["[true, 'true', False, null, ~, no]", '[true,"true",false,null,null,"no"]'],
    ["{a: {b: [x]}, 'c d': 1}", '{"a":{"b":["x"]},"c d":1}'],
    ["{}", "{}"],
    ["text", '"text"'],
    ["'5'", '"5"'],
    ["5", "5"],
    ["12345678901234567890", "12345678901234567890"],
    ["2026-01-01", '"2026-01-01"'],
    ['"a\\"b\\n"', '"a\\"b\\n"'],
    ["null", null],
  ])("a default of type json is read as YAML 1.2: %s", (yaml, json) => {
    expect(paramsOf(`  p: {type: json, default: ${yaml}}`).p?.default ?? null).toBe(json);
    expect(paramsOf(`  p:\n    type: json\n    default: ${yaml}`).p?.default ?? null).toBe(json);
    // The complete reader of YAML says the same.
    expect(paramsOf(`  p: {type: json, default: ${yaml}} # …`).p?.default ?? null).toBe(json);
  });

  test("a default of type json in lines", () => {
    const text =
      "  p:\n    type: json\n    default:\n      - name: a\n        n: 1\n      - |\n        true\n";
    expect(paramsOf(text).p?.default).toBe('[{"name":"a","n":1},"true\\n"]');
  });
});

describe("the rules of a parameter", () => {
  test.each<[ParamRules, string]>([
    [{}, ""],
    [{ type: "string" }, ""],
    [{ type: "int" }, "int"],
    [{ type: "int", min: "1", max: "31" }, "int from 1 to 31"],
    [{ type: "number", min: "0.5" }, "number from 0.5"],
    [{ type: "date", max: "2026-01-01" }, "date to 2026-01-01"],
    [{ enum: ["eu", "us"] }, "one of eu, us"],
    [{ type: "int", enum: ["1", "2"] }, "int one of 1, 2"],
    [{ pattern: "[a-z]+" }, "matching [a-z]+"],
  ])("%j in words: %j", (rules, text) => {
    expect(paramRulesText(rules)).toBe(text);
  });

  test("are a JSON Schema for programs", () => {
    expect(
      paramsSchema({
        region: { description: "Where", enum: ["eu", "us"], default: "eu" },
        days: { description: null, type: "int", min: "1", max: "31", default: null },
        full: { description: null, type: "bool", default: "false" },
        tables: { description: null, type: "json", default: '["a"]' },
        day: { description: null, type: "date", default: null },
        name: { description: null, pattern: "[a-z]+", default: "x" },
      }),
    ).toEqual({
      $schema: "http://json-schema.org/draft-07/schema#",
      type: "object",
      properties: {
        region: { type: "string", description: "Where", enum: ["eu", "us"], default: "eu" },
        days: { type: "integer", minimum: 1, maximum: 31 },
        full: { type: "boolean", default: false },
        tables: { default: ["a"] },
        day: { type: "string", format: "date" },
        name: { type: "string", pattern: "^(?:[a-z]+)$", default: "x" },
      },
      required: ["days", "day"],
      additionalProperties: false,
    });
  });
});

test("values of a program are text or JSON", () => {
  expect(paramTexts({ a: "x", b: 7, c: true, d: [1, "1"], e: null, f: undefined })).toEqual({
    a: "x",
    b: "7",
    c: "true",
    d: '[1,"1"]',
    e: "null",
  });
});

test("paramVariable", () => {
  expect(paramVariable("day")).toBe("CDKTR_PARAM_DAY");
  expect(paramVariable("max_size")).toBe("CDKTR_PARAM_MAX_SIZE");
});
