/**
 * Runs that agents share, under all that can go wrong, end as a reference model computes; every task runs at most once in an attempt, and
 * nothing waits while an agent could take it.
 */
import { test } from "bun:test";
import { existsSync } from "node:fs";
import { TestStores } from "../storage/operational-support.ts";
import { LONG } from "../support/long.ts";
import { randomNumbers } from "../workflow/support.ts";
import { SharedRunsWorld } from "./shared-runs-world.ts";

const MEMORY = existsSync("/dev/shm") ? "/dev/shm" : undefined;
const SEEDS = LONG ? 10_000 : 300;
/** One, such as 7, or a range, such as 300-9000. */
const [FIRST = 1, LAST = FIRST] = (process.env.CDKTR_TEST_SEED ?? `1-${SEEDS}`).split("-").map(Number);

test(
  `runs that agents share end as they must, whatever happens (${SEEDS} seeds)`,
  async () => {
    for (let seed = FIRST; seed <= LAST; seed++) {
      await using stores = new TestStores(MEMORY);
      const world = await SharedRunsWorld.open(stores, randomNumbers(seed));
      try {
        await world.play();
      } catch (error) {
        const trace = world.trace.join("\n");
        throw new Error(`CDKTR_TEST_SEED=${seed}\n${trace}\n${String(error)}`, { cause: error });
      }
    }
  },
  { timeout: Math.max(SEEDS, LAST - FIRST) * 1000 },
);
