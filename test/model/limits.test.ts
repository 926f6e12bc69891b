/**
 * Concurrency groups, pools, pauses and priorities keep what they promise, whatever happens: no limit is exceeded, no slot leaks, and
 * everything that can run runs. Faults that are planted are found.
 */
import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { TestStores } from "../storage/operational-support.ts";
import { LONG } from "../support/long.ts";
import { randomNumbers } from "../workflow/support.ts";
import { FAULTS, type Fault } from "./faults.ts";
import { LimitsWorld, type Parts } from "./limits-world.ts";

const MEMORY = existsSync("/dev/shm") ? "/dev/shm" : undefined;
const SEEDS = LONG ? 10_000 : 12;
/** In one of so many worlds a fault must be found. */
const MOST_SEEDS = 50;
/** One, such as 7, or a range, such as 300-9000. */
const [FIRST = 1, LAST = FIRST] = (process.env.CDKTR_TEST_SEED ?? `1-${SEEDS}`).split("-").map(Number);

const PARTS: Parts = { groups: true, pools: true, pauses: true, priorities: true, backfills: false };

async function play(seed: number, fault: Fault | null = null): Promise<void> {
  await using stores = new TestStores(MEMORY);
  const world = await LimitsWorld.open(stores, randomNumbers(seed), PARTS, fault);
  try {
    await world.play();
  } catch (error) {
    throw new Error(`CDKTR_TEST_SEED=${seed}\n${world.trace.join("\n")}\n${String(error)}`, { cause: error });
  }
}

test(
  `groups, pools, pauses and priorities keep what they promise, whatever happens (${SEEDS} seeds)`,
  async () => {
    for (let seed = FIRST; seed <= LAST; seed++) await play(seed);
  },
  { timeout: Math.max(SEEDS, LAST - FIRST) * 60_000 },
);

describe("a planted fault is found", () => {
  for (const [what, fault] of Object.entries(FAULTS)) {
    test(
      what,
      async () => {
        for (let seed = 1; seed <= MOST_SEEDS; seed++) {
          const found = await play(seed, fault).then(
            () => null,
            (error) => error,
          );
          if (found === null) continue;
          // Not a mistake of the world.
          expect(`${found.cause}`).toStartWith("BrokenPromise: ");
          return;
        }
        throw new Error(`${MOST_SEEDS} worlds did not find it`);
      },
      { timeout: MOST_SEEDS * 60_000 },
    );
  }
});
