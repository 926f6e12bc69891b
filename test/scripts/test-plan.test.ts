import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../../scripts/support/paths.ts";
import { MEASURING, planOf, slowest } from "../../scripts/support/test-plan.ts";

test("the longest files come first, those without a time before them, and those that measure run alone", () => {
  const [measuring = ""] = MEASURING;
  const files = ["short", measuring, "new", "long", "also new"];
  expect(planOf(files, { short: 1, long: 60, [measuring]: 30 })).toEqual({
    together: ["new", "also new", "long", "short"],
    alone: [measuring],
  });
});

test("each file that measures exists", () => {
  expect(MEASURING.filter((file) => !existsSync(join(ROOT, file)))).toEqual([]);
});

test("the slowest files are named with their seconds", () => {
  expect(slowest({ a: 1.04, b: 120, c: 7 }, 2)).toEqual([" 120.0 s  b", "   7.0 s  c"]);
});
