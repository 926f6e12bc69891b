import { describe, expect, test } from "bun:test";
import { PoolPass, type Verdict } from "../../../src/principal/limits/pool-pass.ts";

/** Entries in the order of the queue, as `a2 b1`, and what becomes of each; `!` in front: all agents that could take it are full. */
const PASSES: readonly {
  readonly name: string;
  readonly sizes: Readonly<Record<string, number>>;
  readonly used?: Readonly<Record<string, number>>;
  readonly queue: readonly (readonly [entry: string, verdict: Verdict])[];
}[] = [
  {
    name: "as many as fit",
    sizes: { a: 3 },
    queue: [
      ["a1", "fits"],
      ["a2", "fits"],
      ["a1", "lacks"],
    ],
  },
  {
    name: "all that an entry takes at once",
    sizes: { a: 1, b: 1 },
    used: { b: 1 },
    queue: [["a1 b1", "lacks"]],
  },
  {
    name: "a heavy entry is not passed over by light ones",
    sizes: { a: 4 },
    used: { a: 1 },
    queue: [
      ["a4", "lacks"],
      ["a1", "lacks"],
      ["a3", "lacks"],
    ],
  },
  {
    name: "an entry that lacks slots of one pool keeps all of its pools closed, and no others",
    sizes: { a: 1, b: 5, c: 1 },
    used: { a: 1 },
    queue: [
      ["a1 b1", "lacks"],
      ["b1", "lacks"],
      ["c1", "fits"],
    ],
  },
  {
    name: "an entry that waits for a closed pool closes its own pools, too",
    sizes: { a: 1, b: 1 },
    used: { a: 1 },
    queue: [
      ["a1", "lacks"],
      ["a1 b1", "lacks"],
      ["b1", "lacks"],
    ],
  },
  {
    name: "what can never have its slots holds up nothing",
    sizes: { a: 2, closed: 0 },
    queue: [
      ["a3", "never"],
      ["nowhere1", "never"],
      ["a1 nowhere1", "never"],
      ["closed1", "never"],
      ["a2", "fits"],
    ],
  },
  {
    name: "never, also if a pool is full",
    sizes: { a: 2 },
    used: { a: 2 },
    queue: [["a1 nowhere1", "never"]],
  },
  {
    name: "a pool that has shrunk below what is in use drains",
    sizes: { a: 2 },
    used: { a: 4 },
    queue: [["a1", "lacks"]],
  },
  {
    name: "a pool that has shrunk, one slot of which is free again",
    sizes: { a: 2 },
    used: { a: 1 },
    queue: [
      ["a1", "fits"],
      ["a1", "lacks"],
    ],
  },
  {
    name: "slots are kept for an entry whose agents are full",
    sizes: { a: 4 },
    used: { a: 1 },
    queue: [
      ["!a3", "fits"],
      ["a1", "lacks"],
    ],
  },
  { name: "an entry without pools", sizes: {}, queue: [["", "fits"]] },
];

function slotsOf(entry: string): Record<string, number> {
  const parts = entry.split(" ").flatMap((part) => /^!?([a-z]+)(\d+)$/.exec(part) ?? []);
  const slots: Record<string, number> = {};
  for (let n = 0; n < parts.length; n += 3) slots[parts[n + 1] ?? ""] = Number(parts[n + 2]);
  return slots;
}

describe("a look at the queue", () => {
  for (const { name, sizes, used = {}, queue } of PASSES)
    test(name, () => {
      const pass = new PoolPass(new Map(Object.entries(sizes)), new Map(Object.entries(used)));
      const verdicts = queue.map(([entry]): readonly [string, Verdict] => {
        const slots = slotsOf(entry);
        const verdict = pass.verdict(slots);
        if (verdict === "fits") pass.take(slots);
        if (verdict === "lacks") pass.reserve(slots);
        return [entry, verdict];
      });
      expect(verdicts).toEqual([...queue]);
    });

  test("never gives more than there is, whatever comes", () => {
    let seed = 7;
    const random = (below: number): number => {
      seed = (seed * 1103515245 + 12345) % 2147483648;
      return Math.floor((seed / 2147483648) * below);
    };
    for (let round = 0; round < 500; round++) {
      const sizes = new Map(["a", "b", "c"].map((pool) => [pool, random(6)]));
      const used = new Map(["a", "b", "c"].map((pool) => [pool, random(7)]));
      const pass = new PoolPass(sizes, used);
      const given = new Map<string, number>();
      for (let n = 0; n < 20; n++) {
        const slots = Object.fromEntries(
          ["a", "b", "c"].filter(() => random(2) === 0).map((pool) => [pool, 1 + random(4)]),
        );
        const verdict = pass.verdict(slots);
        if (verdict === "lacks") pass.reserve(slots);
        if (verdict !== "fits") continue;
        pass.take(slots);
        for (const [pool, count] of Object.entries(slots)) given.set(pool, (given.get(pool) ?? 0) + count);
      }
      for (const [pool, count] of given)
        expect((used.get(pool) ?? 0) + count).toBeLessThanOrEqual(sizes.get(pool) ?? 0);
    }
  });
});
