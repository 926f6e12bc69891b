import { describe, expect, test } from "bun:test";
import { delayAfter, Pace } from "../../../src/principal/alerts/pace.ts";

const HOUR = 3_600_000;
const transient = { isPermanent: false };

describe("the delay after a failure", () => {
  test("grows from 10 s to 15 min, a fifth less or more", () => {
    const delays = [1, 2, 3, 4, 5, 6, 7, 8, 9, 50, 5000].map((n) => delayAfter(transient, n, 0, 0.5));
    expect(delays).toEqual([
      10_000, 20_000, 40_000, 80_000, 160_000, 320_000, 640_000, 900_000, 900_000, 900_000, 900_000,
    ]);
    expect(delayAfter(transient, 1, 0, 0)).toBe(8000);
    expect(delayAfter(transient, 1, 0, 1)).toBe(12_000);
  });

  test("is at least what the receiver asks for, up to an hour", () => {
    expect(delayAfter({ ...transient, retryAfterMs: 60_000 }, 1, 0, 0.5)).toBe(60_000);
    expect(delayAfter({ ...transient, retryAfterMs: 1 }, 1, 0, 0.5)).toBe(10_000);
    expect(delayAfter({ ...transient, retryAfterMs: 99 * HOUR }, 1, 0, 0.5)).toBe(HOUR);
  });

  test("there is none for what is refused for good, and after a day of failures", () => {
    expect(delayAfter({ isPermanent: true }, 1, 0, 0.5)).toBeNull();
    expect(delayAfter(transient, 100, 24 * HOUR - 1, 0.5)).toBe(900_000);
    expect(delayAfter(transient, 100, 24 * HOUR, 0.5)).toBeNull();
    // The principal was down for a day: it has tried hardly ever.
    expect(delayAfter(transient, 9, 72 * HOUR, 0.5)).toBe(900_000);
    expect(delayAfter(transient, 10, 72 * HOUR, 0.5)).toBeNull();
  });
});

describe("the limit of a channel", () => {
  const limit = { messages: 2, per_ms: 1000 };

  test("lets so many messages go in any stretch of that time", () => {
    const pace = new Pace();
    const at = (now: number) => pace.allowedAt("ops", limit, now);
    expect(at(5000)).toBe(5000);
    pace.sent("ops", 5000);
    expect(at(5100)).toBe(5100);
    pace.sent("ops", 5100);
    expect(at(5200)).toBe(6000);
    expect(at(6000)).toBe(6000);
    pace.sent("ops", 6000);
    expect(at(6000)).toBe(6100);
    expect(pace.allowedAt("chat", limit, 6000)).toBe(6000);
  });

  test("a clock that was set back holds nothing up", () => {
    const pace = new Pace();
    for (let n = 0; n < 5; n++) pace.sent("ops", 90_000);
    expect(pace.allowedAt("ops", limit, 5000)).toBe(5000);
  });
});
