import { describe, expect, test } from "bun:test";
import { needsOfSlice } from "../../../src/principal/limits/needs.ts";
import { type PoolFacts, poolReasons } from "../../../src/principal/limits/pool-reasons.ts";
import { placementOf } from "../../../src/workflow/placement.ts";

const needing = (pool: Record<string, number>, zone?: string) =>
  needsOfSlice(placementOf({}, { pool, ...(zone === undefined ? {} : { runs_on: { zone } }) }), 1);

/** Facts from short texts: `db 4` is a pool, `db 2 load r1` a holder; entries are `[run, needs]`, in order. */
function facts(
  pools: readonly string[],
  holders: readonly string[] = [],
  queue: readonly (readonly [run: string, needs: string])[] = [],
): PoolFacts {
  const held = holders.map((text) => {
    const [pool = "", slots, task = "", workflow_instance_id = ""] = text.split(" ");
    return { pool, slots: Number(slots), tasks: [task], workflow_instance_id };
  });
  const used = new Map<string, number>();
  for (const { pool, slots } of held) used.set(pool, (used.get(pool) ?? 0) + slots);
  return {
    sizes: new Map(pools.map((text) => [text.split(" ")[0] ?? "", Number(text.split(" ")[1])])),
    used,
    holders: held,
    queue: queue.map(([workflow_instance_id, needs]) => ({ workflow_instance_id, needs })),
  };
}

const always = () => true;
const LIST = "Who has slots of which pools: cdktr pools list";

describe("why a task waits for slots", () => {
  const ROWS: readonly (readonly [
    about: string,
    facts: PoolFacts,
    slots: Record<string, number>,
    reason: string | null,
    hint?: string,
  ])[] = [
    ["it does not", facts(["db 4"], ["db 2 load r1"]), { db: 2 }, null],
    [
      "full",
      facts(["db 1"], ["db 1 load r1"]),
      { db: 1 },
      "pool db is full (1 of 1): held by load of run r1",
    ],
    [
      "not enough",
      facts(["db 4"], ["db 2 load r1", "db 1 check r2"]),
      { db: 2 },
      "pool db has 1 of 4 slots free, it needs 2: held by load of run r1 (2) and 1 more",
    ],
    [
      "another of its pools",
      facts(["a 1", "db 1"], ["db 1 load[eu] r1"]),
      { a: 1, db: 1 },
      "pool db is full (1 of 1): held by load[eu] of run r1",
    ],
    ["drains", facts(["db 2"], ["db 4 load r1"]), { db: 1 }, "pool db shrank to 2 slots; 4 are in use"],
    [
      "too small",
      facts(["db 4"]),
      { db: 5 },
      "it needs 5 slots of pool db, which has 4",
      'Make the pool larger: cdktr pools set db 5; or write a smaller "pool" into the workflow',
    ],
    [
      "unknown",
      facts(["warehouse 4"]),
      { warehous: 1 },
      'there is no pool "warehous"',
      'Did you mean "warehouse"? A pool is made by pools: in _cdktr.yml, or by: cdktr pools set warehous N',
    ],
    [
      "unknown, and nothing is near",
      facts([]),
      { db: 1 },
      'there is no pool "db"',
      "A pool is made by pools: in _cdktr.yml, or by: cdktr pools set db N",
    ],
    [
      "kept for one that lacks more",
      facts(["db 4"], ["db 1 load r1"], [["heavy", needing({ db: 4 })]]),
      { db: 1 },
      "pool db is kept free for run heavy, which goes first",
    ],
    [
      "kept for one whose agents are full",
      facts(["db 4"], [], [["busy", needing({ db: 4 })]]),
      { db: 1 },
      "pool db is kept free for run busy, which goes first",
    ],
  ];
  for (const [about, given, slots, reason, hint = LIST] of ROWS)
    test(about, () => {
      const needs = needing(slots);
      const queue = [...given.queue, { needs, workflow_instance_id: "own" }];
      const found = poolReasons({ ...given, queue }, always)(needs);
      expect(found && { reason: found.reason, hint: found.hint }).toEqual(
        reason === null ? null : { reason, hint },
      );
    });

  test("nothing is kept for what no agent can take", () => {
    const nowhere = needing({ db: 4 }, "nowhere");
    const needs = needing({ db: 1 });
    const given = facts(
      ["db 4"],
      [],
      [
        ["nobody", nowhere],
        ["own", needs],
      ],
    );
    expect(poolReasons(given, (text) => text !== nowhere)(needs)).toBeNull();
  });

  test("the text for the history does not depend on who has them", () => {
    const needs = needing({ db: 2, a: 1 });
    const noted = [
      facts(["db 2", "a 1"], ["db 1 load r1"]),
      facts(["db 2", "a 1"], ["db 2 load r2"]),
      facts(["db 9", "a 1"], ["db 9 load r2"]),
      facts(["db 2", "a 1"], ["a 1 load r3"]),
    ].map((given) => poolReasons(given, always)(needs)?.noted);
    expect(new Set(noted)).toEqual(new Set(["it waits for 1 slot of pool a and 2 slots of pool db"]));
  });
});
