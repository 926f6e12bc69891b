import { describe, expect, test } from "bun:test";
import { AGEING_MS, type Entry, inOrder, QueueOrder } from "../../../src/principal/limits/order.ts";

const NOW = 1_800_000_000_000;
const MINUTE = 60_000;

/** An entry: its priority, its place, and since when it waits, minutes before now. */
function entry(name: string, priority: number, position: number, minutes: number, turn = 0) {
  const needs = priority === 5 ? "" : `p${priority}:1 {}`;
  return { name, needs, position, turn, since_ms: NOW - minutes * MINUTE };
}

const names = (entries: readonly (Entry & { readonly name: string })[]) =>
  entries.map(({ name }) => name).join(" ");

describe("the order of the queue", () => {
  test("of equal priorities is that in which they came, whatever their needs", () => {
    const entries = [
      { ...entry("c", 5, 2, 0, 7), needs: "2 {}" },
      { ...entry("a", 5, 1, 5), needs: '2 {"runs_on":{"zone":"eu"}}' },
      entry("d", 5, 3, 9),
      { ...entry("b", 5, 2, 3, 4), needs: "3+secrets {}" },
    ];
    expect(names(inOrder(entries, NOW))).toBe("a b c d");
  });

  const ROWS: readonly (readonly [name: string, entries: ReturnType<typeof entry>[], order: string])[] = [
    ["a higher priority goes first", [entry("low", 0, 1, 1), entry("high", 9, 2, 1)], "high low"],
    [
      "ten minutes weigh as much as a step",
      [entry("older", 4, 1, 11), entry("newer", 5, 2, 0)],
      "older newer",
    ],
    ["less than ten do not", [entry("older", 4, 1, 9), entry("newer", 5, 2, 0)], "newer older"],
    ["a tie is for the higher priority", [entry("older", 4, 1, 10), entry("newer", 5, 2, 0)], "newer older"],
    [
      "after 90 minutes nothing new goes before the lowest",
      [entry("lowest", 0, 1, 91), entry("highest", 9, 2, 0)],
      "lowest highest",
    ],
    [
      "what waits behind another of its priority does not overtake it",
      // Its clock was wrong: it claims to have waited for a year.
      [entry("first", 5, 1, 0), entry("second", 5, 2, 525_600), entry("other", 6, 3, 5)],
      "other first second",
    ],
    [
      "one of the future counts as of now",
      [entry("future", 6, 1, -525_600), entry("now", 5, 2, 0), entry("behind", 6, 3, 5)],
      "future behind now",
    ],
    [
      "three priorities are merged",
      [
        entry("a", 3, 1, 50),
        entry("b", 5, 2, 40),
        entry("c", 7, 3, 25),
        entry("d", 5, 4, 20),
        entry("e", 3, 5, 1),
        entry("f", 7, 6, 0),
      ],
      "c b a f d e",
    ],
  ];
  for (const [name, entries, order] of ROWS)
    test(name, () => {
      expect(names(inOrder(entries, NOW))).toBe(order);
      expect(names(inOrder(entries.toReversed(), NOW))).toBe(order);
    });

  test("does not change while they wait", () => {
    const entries = Array.from({ length: 60 }, (_, n) => entry(`${n}`, n % 10, n, (n * 37) % 200));
    const first = names(inOrder(entries, NOW));
    for (const later of [1, 10, 90, 10_000])
      expect(names(inOrder(entries, NOW + later * MINUTE))).toBe(first);
  });

  test("without ageing, the priority alone counts", () => {
    const entries = [entry("lowest", 0, 1, 10_000), entry("b", 9, 3, 0), entry("a", 9, 2, 0)];
    expect(names(inOrder(entries, NOW, 0))).toBe("a b lowest");
  });

  test("further entries find their places while it is read", () => {
    const order = new QueueOrder([entry("a", 5, 1, 10), entry("z", 0, 2, 10)], NOW);
    expect(order.shift()?.name).toBe("a");
    order.add(entry("b", 5, 3, 9));
    order.add(entry("high", 9, 9, 0));
    expect(order.peek()?.name).toBe("high");
    const rest = [order.shift(), order.shift(), order.shift()].map((each) => each?.name);
    expect(rest).toEqual(["high", "b", "z"]);
    expect(order.isEmpty).toBe(true);
    expect(order.shift()).toBeUndefined();
  });

  test("ten steps take ninety minutes", () => {
    expect(9 * AGEING_MS).toBe(90 * MINUTE);
  });
});
