import { describe, expect, test } from "bun:test";
import { type RowChanges, rowChanges } from "../../src/principal/alert-queries/query-rows.ts";
import type { QueryRowRecord } from "../../src/storage/operational/query-alerts.ts";

const found = (keys: readonly string[], isPartial = false) => ({
  rows: keys.map((key) => ({ key, summary: key, row: {} })),
  keys: new Set(keys),
  isPartial,
});
const row = (key: string, since_ms: number, is_raised: boolean): QueryRowRecord => ({
  key,
  since_ms,
  is_raised,
});
const known = (...rows: readonly QueryRowRecord[]) => new Map(rows.map((each) => [each.key, each]));
const words = ({ put, raise, resolve, remove }: RowChanges) => ({
  put: put.map(({ key, since_ms, is_raised }) => `${key} ${since_ms} ${is_raised}`),
  raise: raise.map(({ key }) => key),
  resolve,
  remove,
});
const NONE = { put: [], raise: [], resolve: [], remove: [] };

describe("the rows of an evaluation", () => {
  test.each([
    ["nothing", known(), found([]), NONE],
    ["a new one is raised", known(), found(["a"]), { ...NONE, put: ["a 100 true"], raise: ["a"] }],
    ["one that is there stays", known(row("a", 50, true)), found(["a"]), NONE],
    [
      "one that is gone is resolved",
      known(row("a", 50, true)),
      found([]),
      { ...NONE, resolve: ["a"], remove: ["a"] },
    ],
    [
      "a result that was cut says nothing of what is missing",
      known(row("a", 50, true)),
      found([], true),
      NONE,
    ],
  ])("%s", (_, before, now, changes) => {
    expect(words(rowChanges(before, now, { for_ms: 0, limit: 10 }, 100))).toEqual(changes);
  });

  test.each([
    ["a new one waits", known(), found(["a"]), { ...NONE, put: ["a 100 false"] }],
    ["one that waits goes on waiting", known(row("a", 50, false)), found(["a"]), NONE],
    [
      "and is raised in the end",
      known(row("a", 40, false)),
      found(["a"]),
      { ...NONE, put: ["a 40 true"], raise: ["a"] },
    ],
    [
      "one that was gone before is forgotten",
      known(row("a", 40, false)),
      found([]),
      { ...NONE, remove: ["a"] },
    ],
    [
      "a clock that was set back starts anew",
      known(row("a", 900, false)),
      found(["a"]),
      { ...NONE, put: ["a 100 false"] },
    ],
  ])("with a time: %s", (_, before, now, changes) => {
    expect(words(rowChanges(before, now, { for_ms: 60, limit: 10 }, 100))).toEqual(changes);
  });

  test("no more are raised than the file allows; those that are stay, and one that is over makes room", () => {
    const limits = { for_ms: 0, limit: 2 };
    expect(words(rowChanges(known(row("c", 1, true)), found(["a", "b", "c"]), limits, 100))).toEqual({
      ...NONE,
      put: ["a 100 true", "b 100 false"],
      raise: ["a"],
    });
    const before = known(row("a", 100, true), row("b", 100, false), row("c", 1, true));
    expect(words(rowChanges(before, found(["a", "b"]), limits, 200))).toEqual({
      put: ["b 100 true"],
      raise: ["b"],
      resolve: ["c"],
      remove: ["c"],
    });
  });
});
