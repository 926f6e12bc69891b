/** Runs that would wait for themselves. */
import { describe, expect, test } from "bun:test";
import { stuckRun, type WaitingGroup, type WaitingHolder } from "../../../src/principal/limits/stuck.ts";

/** `p>c,d` is a run that has a place and waits for c and d; `c(2)` waits for a place and has max_runs 2; later ones are newer. */
function groupOf(key: string, text: string, seqs: Map<string, number>): WaitingGroup {
  const words = text.split(" ").filter((word) => word !== "");
  const held = words.flatMap((word) => {
    const [, id, max] = /^(\w+)\((\d+)\)$/.exec(word) ?? [];
    if (id === undefined) return [];
    seqs.set(id, seqs.size);
    return [{ id, max: Number(max), seq: seqs.size }];
  });
  return { key, held, holders: words.filter((word) => word.includes(">")).map(holderOf) };
}

function holderOf(word: string): WaitingHolder {
  const [id = "", children = ""] = word.split(">");
  return { id, waitsFor: children.split(",") };
}

const ROWS: readonly [
  what: string,
  groups: Readonly<Record<string, string>>,
  others: string,
  stuck: string | null,
][] = [
  ["nobody waits", {}, "", null],
  ["a parent and its child in one group", { g: "p>c c(1)" }, "", "c"],
  ["the same with room for two", { g: "p>c c(2)" }, "", null],
  ["two parents with their children, room for two", { g: "p>c q>d c(2) d(2)" }, "", "d"],
  ["one of three holders ends by itself", { g: "p>c q>d c(3) d(3)" }, "", null],
  ["a child of a run in no group", { g: "c(1)" }, "p>c", null],
  ["a grandchild, whose parent is in no group", { g: "p>m c(1)" }, "m>c", "c"],
  ["a grandchild five deep", { g: "p>m1 c(1)" }, "m1>m2 m2>m3 m3>m4 m4>c", "c"],
  ["two parents that hold what the other's child needs", { g: "p>c d(1)", h: "q>d c(1)" }, "", "c"],
  ["the same, with room in one of the groups", { g: "p>c d(2)", h: "q>d c(1)" }, "", null],
  ["a holder that waits for a child that runs", { g: "p>x c(1)" }, "", null],
  ["a holder that waits for two, one of which runs", { g: "p>x,c c(1)" }, "", "c"],
  ["a child behind another one that waits for itself", { g: "p>c c(1) d(1)" }, "q>d", "c"],
  ["a child behind one without a parent", { g: "a(1) c(1)" }, "p>c", null],
  ["a holder's child behind one without a parent", { g: "p>c a(1) c(1)" }, "", "c"],
  ["room for it, but not for the one before it", { g: "p>c a(1) c(5)" }, "", "c"],
  ["the one before it has room, too", { g: "p>c a(2) c(5)" }, "", null],
  ["two circles: the newest first", { g: "p>c c(1)", h: "q>d d(1)" }, "", "d"],
  [
    "two parents × two groups × room for two, all taken",
    { g: "p>c q>d e(2) f(2)", h: "r>e s>f c(2) d(2)" },
    "",
    "d",
  ],
  [
    "two parents × two groups × room for two, one holder ends",
    { g: "p>c q>x e(2) f(2)", h: "r>e s>f c(2) d(2)" },
    "t>d",
    null,
  ],
  ["a circle of three groups", { f: "p>b a(1)", g: "q>c b(1)", h: "r>a c(1)" }, "", "c"],
];

describe("the run that would wait for itself", () => {
  for (const [what, groups, others, expected] of ROWS)
    test(`${what}: ${expected ?? "none"}`, () => {
      const seqs = new Map<string, number>();
      const stuck = stuckRun(
        Object.entries(groups).map(([key, text]) => groupOf(key, text, seqs)),
        others
          .split(" ")
          .filter((word) => word !== "")
          .map(holderOf),
      );
      expect(stuck?.id ?? null).toBe(expected);
    });

  test("is told with the group, and with the run that has its place", () => {
    const seqs = new Map<string, number>();
    const groups = [groupOf("g eu", "p>m c(1)", seqs)];
    expect(stuckRun(groups, [holderOf("m>c")])).toEqual({ id: "c", group: "g eu", holder: "p" });
  });

  test("is found one after the other until nobody is stuck", () => {
    const seqs = new Map<string, number>();
    let text = "p>c q>d r>e c(3) d(3) e(3)";
    const failed: string[] = [];
    for (;;) {
      const stuck = stuckRun([groupOf("g", text, seqs)], []);
      if (stuck === null) break;
      failed.push(stuck.id);
      // Its parent ends for it.
      text = text
        .replace(` ${stuck.id}(3)`, "")
        .replace(new RegExp(`\\w>${stuck.id}`), "")
        .trim();
    }
    expect(failed).toEqual(["e"]);
  });
});
