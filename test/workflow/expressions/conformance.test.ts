import { describe, expect, test } from "bun:test";
import { conformanceTests, deviationOf } from "./cel-suite.ts";
import { DEVIATIONS } from "./deviations.ts";

const all = conformanceTests();
const run = all.filter(({ skip }) => skip === null);

describe("the conformance tests of CEL", () => {
  test("most of them are about what expressions have", () => {
    const skipped = Object.fromEntries(
      [...Map.groupBy(all, ({ skip }) => skip ?? "run")].map(([reason, tests]) => [reason, tests.length]),
    );
    expect(skipped).toEqual({
      run: 1161,
      "messages of Protocol Buffers": 107,
      "names with dots, and containers": 5,
      "names that are reserved words": 3,
      "the functions format and quote": 109,
    });
  });

  test("differ from expressions only as is listed", () => {
    const found = run.flatMap(({ name, test: each }) => {
      const deviation = deviationOf(each);
      return deviation === null ? [] : [{ name, deviation: `${name}: ${each.expr} ${deviation}` }];
    });
    const listed = DEVIATIONS.map(({ reason, tests }) => ({
      reason,
      count: found.filter(({ name }) => tests.test(name)).length,
    }));
    expect(listed).toEqual(DEVIATIONS.map(({ reason, count }) => ({ reason, count })));
    const unlisted = found.filter(({ name }) => !DEVIATIONS.some(({ tests }) => tests.test(name)));
    expect(unlisted.map(({ deviation }) => deviation)).toEqual([]);
  });
});
