import { expect, test } from "bun:test";
import { ExactlyOnce } from "../../src/cli/support/exactly-once.ts";

/** Deterministic random numbers: a failure names its seed. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

test.each(Array.from({ length: 50 }, (_, seed) => seed))(
  "each line is printed as often as the history has it, whatever is missed live and however often it is read (seed %p)",
  (seed) => {
    const next = random(seed + 1);
    // Few different lines, so that equal ones are common.
    const history = Array.from({ length: 200 }, () => Math.floor(next() * 20));
    const once = new ExactlyOnce<number>();
    const printed: number[] = [];
    const readHistory = (length: number) => {
      once.restartHistory();
      for (const line of history.slice(0, length)) if (once.offerHistory(line)) printed.push(line);
    };
    let stored = 0;
    history.forEach((line, i) => {
      if (next() < 0.7 && once.offerLive(line)) printed.push(line);
      if (next() < 0.1) stored = i + 1;
      // A principal that was started again publishes anew what it had not stored.
      if (next() < 0.03) {
        once.restartLive();
        for (const again of history.slice(stored, i + 1)) if (once.offerLive(again)) printed.push(again);
      }
      // The history can be ahead of what came live.
      if (next() < 0.05) readHistory(Math.min(history.length, i + 1 + Math.floor(next() * 5)));
    });
    readHistory(history.length);
    expect(printed.sort()).toEqual([...history].sort());
  },
);

test("remembers no more than it is told to", () => {
  const once = new ExactlyOnce<number>(3);
  for (let line = 0; line < 10; line++) expect(once.offerLive(line)).toBe(true);
  once.restartLive();
  expect([9, 8, 7].map((line) => once.offerLive(line))).toEqual([false, false, false]);
  expect(once.offerLive(0)).toBe(true);
});
