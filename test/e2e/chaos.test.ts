import { expect, test } from "bun:test";
import { chaos } from "../chaos/chaos.ts";
import { LONG } from "../support/long.ts";

const MINUTES = LONG ? 15 : 0.75;
const SEED = LONG ? Date.now() % 1_000_000 : 20_261_121;

test(`${MINUTES} minutes of chaos lose nothing and run nothing twice`, async () => {
  const result = await chaos({ minutes: MINUTES, seed: SEED, limits: true });
  if (result.violations.length > 0) console.error(result.timeline.join("\n"), `\nkept: ${result.directory}`);
  expect(result.violations).toEqual([]);
  expect(result.counts["acknowledged triggers"]).toBeGreaterThan(20);
  expect(result.counts["runs shared by agents"]).toBeGreaterThan(5);
  expect(result.counts["inputs found"]).toBeGreaterThan(20);
  expect(result.counts["their runs"]).toBe(result.counts["firings backfilled"]);
  expect(result.counts["pools resized"]).toBeGreaterThan(0);
  expect(Object.values(result.faults).reduce((sum, count) => sum + count, 0)).toBeGreaterThan(2);
}, 3_600_000);
