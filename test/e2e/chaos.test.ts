import { expect, test } from "bun:test";
import { chaos } from "../chaos/chaos.ts";

test("two minutes of chaos lose nothing and run nothing twice", async () => {
  const result = await chaos({ minutes: 1.5, seed: 20_261_121 });
  if (result.violations.length > 0) console.error(result.timeline.join("\n"), `\nkept: ${result.directory}`);
  expect(result.violations).toEqual([]);
  expect(result.counts["acknowledged triggers"]).toBeGreaterThan(50);
  expect(Object.values(result.faults).reduce((sum, count) => sum + count, 0)).toBeGreaterThan(5);
}, 900_000);
