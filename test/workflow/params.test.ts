import { describe, expect, test } from "bun:test";
import { InvalidInputError } from "../../src/errors.ts";
import { paramVariable } from "../../src/workflow/own-variables.ts";
import { resolveParams } from "../../src/workflow/params.ts";

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

test("paramVariable", () => {
  expect(paramVariable("day")).toBe("CDKTR_PARAM_DAY");
  expect(paramVariable("max_size")).toBe("CDKTR_PARAM_MAX_SIZE");
});
