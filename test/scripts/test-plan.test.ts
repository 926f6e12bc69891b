import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../../scripts/support/paths.ts";
import {
  type Costs,
  inParallel,
  loadOf,
  MEASURING,
  planOf,
  slowest,
} from "../../scripts/support/test-plan.ts";

test("the longest files come first, those without a time before them, and those that measure run alone", () => {
  const [measuring = ""] = MEASURING;
  const files = ["short", measuring, "new", "long", "also new"];
  expect(planOf(files, { short: [1, 1], long: [60, 1], [measuring]: [30, 1] })).toEqual({
    together: ["new", "also new", "long", "short"],
    alone: [measuring],
  });
});

test("each file that measures exists", () => {
  expect(MEASURING.filter((file) => !existsSync(join(ROOT, file)))).toEqual([]);
});

test("files run side by side while a processor is free, in their order, and each once", async () => {
  const costs: Costs = { a: [10, 10], b: [10, 9], c: [10, 2], d: [10, 2], e: [10, 2], f: [1, 30] };
  const ends = new Map<string, () => void>();
  const began: string[] = [];
  const all = inParallel(["a", "b", "c", "d", "e", "f"], { costs, processors: 1, most: 4 }, (file) => {
    began.push(file);
    return new Promise((resolve) => ends.set(file, resolve));
  });
  const end = async (file: string) => {
    ends.get(file)?.();
    // What follows from it needs no more than microtasks.
    await new Promise(setImmediate);
  };
  // 1.0 is busy, then 1.9.
  expect(began).toEqual(["a", "b"]);
  await end("a");
  // 1.3
  expect(began).toEqual(["a", "b", "c", "d"]);
  await end("b");
  // 0.6: the next one may be as heavy as it is.
  expect(began.at(-1)).toBe("f");
  for (const file of ["c", "d", "e", "f"]) await end(file);
  await all;
  expect(began).toEqual(["a", "b", "c", "d", "e", "f"]);
  expect(loadOf("unknown", costs)).toBeLessThan(1);
});

test("the slowest files are named with their seconds", () => {
  expect(slowest({ a: [1.04, 0], b: [120, 0], c: [7, 0] }, 2)).toEqual([" 120.0 s  b", "   7.0 s  c"]);
});
