import { expect, test } from "bun:test";
import { ExactlyOnce } from "../../src/protocol/exactly-once.ts";

/** Deterministic random numbers; a failure reports its seed. */
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
    const history = Array.from({ length: 3000 }, () => BigInt(Math.floor(next() * 300)));
    const once = new ExactlyOnce();
    const printed: bigint[] = [];
    const readHistory = (length: number) => {
      once.startHistory();
      for (const line of history.slice(0, length)) if (once.offerHistory(line)) printed.push(line);
      once.endHistory();
    };
    let stored = 0;
    history.forEach((line, i) => {
      if (next() < 0.7 && once.offerLive(line)) printed.push(line);
      if (next() < 0.1) stored = i + 1;
      // A principal that was started again publishes anew what it had not stored.
      if (i > seed * 30 && next() < 0.005) {
        once.restartLive();
        for (const again of history.slice(stored, i + 1)) if (once.offerLive(again)) printed.push(again);
      }
      // The history can be ahead of what came live.
      if (i > seed * 40 && next() < 0.01)
        readHistory(Math.min(history.length, i + 1 + Math.floor(next() * 5)));
    });
    readHistory(history.length);
    const sorted = (lines: readonly bigint[]) => lines.map(Number).sort((a, b) => a - b);
    expect(sorted(printed)).toEqual(sorted(history));
  },
);

test("remembers at most the given number", () => {
  const once = new ExactlyOnce(3);
  for (let line = 0n; line < 10n; line++) expect(once.offerLive(line)).toBe(true);
  once.restartLive();
  expect([9n, 8n, 7n].map((line) => once.offerLive(line))).toEqual([false, false, false]);
  expect(once.offerLive(0n)).toBe(true);
});
