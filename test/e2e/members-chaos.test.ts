import { expect, test } from "bun:test";
import { memberStorm } from "../chaos/members/run-storm.ts";
import { skipWithout } from "../support/debian.ts";
import { LONG } from "../support/long.ts";
import { networkMissing } from "./support/network.ts";

const MINUTES = LONG ? 15 : 0.25;
const SEED = LONG ? Date.now() % 1_000_000 : 20_261_128;
const SKIP = skipWithout(await networkMissing());

test.skipIf(SKIP)(
  `${MINUTES} minutes of chaos among several principals lose nothing and run nothing twice`,
  async () => {
    const options = { minutes: MINUTES, seed: SEED, members: 3, agents: 3, limits: true, language: LONG };
    const result = await memberStorm(options);
    if (result.violations.length > 0)
      console.error(result.timeline.join("\n"), `\nkept: ${result.directory}`);
    expect(result.violations).toEqual([]);
    expect(result.counts["acknowledged triggers"]).toBeGreaterThan(5);
    expect(result.counts["their runs"]).toBe(result.counts["firings backfilled"]);
    expect(Object.keys(result.faults).length).toBeGreaterThan(0);
  },
  3_600_000,
);
