/** Tests that a world keeps what it promises, and that planted faults are found. */
import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { TestStores } from "../storage/operational-support.ts";
import { randomNumbers } from "../workflow/support.ts";
import type { Fault } from "./faults.ts";
import { LimitsWorld, type Parts } from "./limits-world.ts";

const MEMORY = existsSync("/dev/shm") ? "/dev/shm" : undefined;
/** For one world on a slow machine, ms. */
const WORLD_MS = 60_000;

/** What is tested. */
export interface Promises {
  readonly what: string;
  readonly parts: Parts;
  /** How many worlds keep their promises; CDKTR_TEST_SEED names others: one, such as 7, or a range, such as 300-9000. */
  readonly seeds: number;
  readonly faults: Readonly<Record<string, Fault>>;
  /** In one of so many worlds a fault must be found. */
  readonly mostSeeds: number;
}

/** Declares the tests. */
export function testPromises({ what, parts, seeds, faults, mostSeeds }: Promises): void {
  const [first = 1, last = first] = (process.env.CDKTR_TEST_SEED ?? `1-${seeds}`).split("-").map(Number);

  async function play(seed: number, fault: Fault | null = null): Promise<void> {
    await using stores = new TestStores(MEMORY);
    const world = await LimitsWorld.open(stores, randomNumbers(seed), parts, fault);
    try {
      await world.play();
    } catch (error) {
      throw new Error(`CDKTR_TEST_SEED=${seed}\n${world.trace.join("\n")}\n${String(error)}`, {
        cause: error,
      });
    }
  }

  test(
    `${what} keep what they promise, whatever happens (${seeds} seeds)`,
    async () => {
      for (let seed = first; seed <= last; seed++) await play(seed);
    },
    { timeout: Math.max(seeds, last - first) * WORLD_MS },
  );

  describe("a planted fault is found", () => {
    for (const [name, fault] of Object.entries(faults)) {
      test(
        name,
        async () => {
          for (let seed = 1; seed <= mostSeeds; seed++) {
            const found = await play(seed, fault).then(
              () => null,
              (error) => error,
            );
            if (found === null) continue;
            // Not a mistake of the world.
            expect(`${found.cause}`).toStartWith("BrokenPromise: ");
            return;
          }
          throw new Error(`${mostSeeds} worlds did not find it`);
        },
        { timeout: mostSeeds * WORLD_MS },
      );
    }
  });
}
