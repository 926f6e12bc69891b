/** Who of a concurrency group may run, row by row. */
import { describe, expect, test } from "bun:test";
import { decideConflict, type Entry, hasRoom, nextAdmissions } from "../../../src/principal/limits/decide.ts";
import type { OnConflict } from "../../../src/workflow/concurrency.ts";

const POLICIES: readonly OnConflict[] = ["queue", "queue_latest", "skip", "cancel_running"];

/** `a b!` are two that run, oldest first, of which b is ending; `c:queue` is one that waits. */
function decide(members: string, on_conflict: OnConflict, max: number): Entry {
  const words = members.split(" ").filter((word) => word !== "");
  const waits = words.filter((word) => word.includes(":")).map((word) => word.split(":"));
  const holders = words
    .filter((word) => !word.includes(":"))
    .map((word) => ({ id: word.replace("!", ""), isEnding: word.endsWith("!") }));
  if (hasRoom({ running: holders.length, isAwaited: waits.length > 0 }, max))
    return { outcome: "admitted", skip: [], cancel: [] };
  const held = waits.map(([id = "", policy]) => ({ id, max: 1, on_conflict: policy as OnConflict }));
  return decideConflict({ holders, held }, { max, on_conflict });
}

/** As one text: `held, skip c, cancel a b`. */
function textOf({ outcome, skip, cancel }: Entry): string {
  const part = (word: string, ids: readonly string[]) =>
    ids.length === 0 ? "" : `, ${word} ${ids.join(" ")}`;
  return `${outcome}${part("skip", skip)}${part("cancel", cancel)}`;
}

describe("a run that enters a group", () => {
  const ROOM: readonly [members: string, max: number][] = [
    ["", 1],
    ["", 2],
    ["a", 2],
    ["a!", 2],
    ["a b", 3],
    ["a b c d e f g h i", 10],
  ];
  for (const [members, max] of ROOM)
    for (const policy of POLICIES)
      test(`of ${max} with ${members || "nobody"} in it: ${policy} is admitted`, () => {
        expect(textOf(decide(members, policy, max))).toBe("admitted");
      });

  const FULL: readonly [members: string, max: number, Readonly<Record<OnConflict, string>>][] = [
    ["a", 1, { queue: "held", queue_latest: "held", skip: "skipped", cancel_running: "held, cancel a" }],
    ["a!", 1, { queue: "held", queue_latest: "held", skip: "skipped", cancel_running: "held" }],
    ["a b", 2, { queue: "held", queue_latest: "held", skip: "skipped", cancel_running: "held, cancel a" }],
    ["a! b", 2, { queue: "held", queue_latest: "held", skip: "skipped", cancel_running: "held" }],
    ["a b!", 2, { queue: "held", queue_latest: "held", skip: "skipped", cancel_running: "held" }],
    // Some had a larger max_runs when they began.
    [
      "a b c",
      1,
      { queue: "held", queue_latest: "held", skip: "skipped", cancel_running: "held, cancel a b c" },
    ],
    ["a b! c", 2, { queue: "held", queue_latest: "held", skip: "skipped", cancel_running: "held, cancel a" }],
    [
      "a c:queue",
      1,
      { queue: "held", queue_latest: "held", skip: "skipped", cancel_running: "held, cancel a" },
    ],
    [
      "a c:queue_latest",
      1,
      { queue: "held", queue_latest: "held, skip c", skip: "skipped", cancel_running: "held, cancel a" },
    ],
    [
      "a! c:cancel_running",
      1,
      { queue: "held", queue_latest: "held", skip: "skipped", cancel_running: "held, skip c" },
    ],
    [
      "a c:queue d:queue_latest e:cancel_running f:queue_latest",
      1,
      {
        queue: "held",
        queue_latest: "held, skip d f",
        skip: "skipped",
        cancel_running: "held, skip e, cancel a",
      },
    ],
    // The first of those that wait has a smaller max_runs: nobody goes before it.
    ["a c:queue", 5, { queue: "held", queue_latest: "held", skip: "skipped", cancel_running: "held" }],
    ["a b c:queue", 3, { queue: "held", queue_latest: "held", skip: "skipped", cancel_running: "held" }],
    // Nobody has a place, and one is about to be admitted.
    [
      "c:queue_latest",
      1,
      { queue: "held", queue_latest: "held, skip c", skip: "skipped", cancel_running: "held" },
    ],
  ];
  for (const [members, max, expected] of FULL)
    for (const policy of POLICIES)
      test(`of ${max} with ${members} in it: ${policy} is ${expected[policy]}`, () => {
        expect<string>(textOf(decide(members, policy, max))).toBe(expected[policy]);
      });
});

describe("those that wait", () => {
  const ROWS: readonly [running: number, maxes: readonly number[], admitted: number][] = [
    [0, [], 0],
    [0, [1], 1],
    [1, [1], 0],
    [0, [1, 1], 1],
    [0, [2, 2, 2], 2],
    [1, [2, 2, 2], 1],
    [2, [2, 2], 0],
    [5, [2], 0],
    [0, [10, 10, 10], 3],
    // The first one blocks the others.
    [1, [1, 5, 5], 0],
    [0, [1, 5, 5], 3],
    [0, [5, 1, 5], 1],
    [3, [5, 5, 5], 2],
  ];
  for (const [running, maxes, admitted] of ROWS)
    test(`with max_runs ${maxes.join(", ")} and ${running} running: the first ${admitted} are admitted`, () => {
      expect(
        nextAdmissions(
          running,
          maxes.map((max) => ({ max })),
        ),
      ).toBe(admitted);
    });
});
