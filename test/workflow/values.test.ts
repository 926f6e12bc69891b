import { describe, expect, test } from "bun:test";
import {
  DURATION_PATTERN,
  formatDuration,
  MAX_DURATION_MS,
  parseDuration,
} from "../../src/workflow/duration.ts";
import { formatExitCodes } from "../../src/workflow/exit-codes.ts";
import { mayRetry, retryDelayMs } from "../../src/workflow/retry.ts";
import { parseTimestamp } from "../../src/workflow/timestamp.ts";

describe("durations", () => {
  const good: Record<string, number> = {
    "90s": 90_000,
    "5m": 300_000,
    "1h30m": 5_400_000,
    "1h 30m": 5_400_000,
    "500ms": 500,
    "1.5h": 5_400_000,
    "2d": 172_800_000,
    "1d2h3m4s5ms": 93_784_005,
    "0s": 0,
    " 10s ": 10_000,
  };
  const bad = [
    "",
    "90",
    "1.5",
    "-5s",
    "5",
    "s",
    "5x",
    "5min",
    "30m1h",
    "5s5s",
    "1h30",
    "1:30",
    "5 m m",
    "five minutes",
    "100d",
    "1e3s",
    "5S",
  ];

  for (const [text, ms] of Object.entries(good)) {
    test(`${JSON.stringify(text)} is ${ms} ms`, () => {
      expect(parseDuration(text)).toEqual({ ok: true, ms });
      expect(new RegExp(DURATION_PATTERN).test(text.trim())).toBe(true);
    });
  }
  for (const text of bad) {
    test(`${JSON.stringify(text)} is none`, () => {
      const result = parseDuration(text);
      expect(result.ok).toBe(false);
      expect(result.ok ? "" : result.help).not.toBe("");
      if (text !== "100d") expect(new RegExp(DURATION_PATTERN).test(text)).toBe(false);
    });
  }

  test("are written the way they are read", () => {
    for (const ms of [0, 1, 999, 1000, 90_000, 5_400_000, 86_400_000, 93_784_005, MAX_DURATION_MS]) {
      expect(parseDuration(formatDuration(ms))).toEqual({ ok: true, ms });
    }
    expect(formatDuration(5_400_000)).toBe("1h30m");
  });

  test("fit a timer of the platform", () => {
    expect(MAX_DURATION_MS).toBeLessThan(2 ** 31);
    expect(parseDuration("24d")).toEqual({ ok: true, ms: MAX_DURATION_MS });
    expect(parseDuration("24d1ms").ok).toBe(false);
    expect(parseDuration(`${"9".repeat(400)}d`).ok).toBe(false);
  });
});

describe("retryDelayMs", () => {
  test("grows by the factor, ends with the tries, and stays finite", () => {
    const policy = { max_attempts: 4, delay_ms: 1000, backoff: 2 };
    expect([1, 2, 3, 4].map((attempt) => retryDelayMs(policy, attempt))).toEqual([1000, 2000, 4000, null]);
    expect(retryDelayMs({ max_attempts: 1, delay_ms: 0, backoff: 1 }, 1)).toBeNull();
    expect(retryDelayMs({ max_attempts: 1000, delay_ms: 1000, backoff: 100 }, 999)).toBe(MAX_DURATION_MS);
    expect(retryDelayMs({ max_attempts: 1000, delay_ms: 0, backoff: 100 }, 999)).toBe(0);
  });

  test("is at most max_delay", () => {
    const policy = { max_attempts: 9, delay_ms: 1000, backoff: 2, max_delay_ms: 3000 };
    expect([1, 2, 3, 4, 8, 9].map((attempt) => retryDelayMs(policy, attempt))).toEqual([
      1000,
      2000,
      3000,
      3000,
      3000,
      null,
    ]);
    expect(retryDelayMs({ ...policy, max_attempts: 1000, backoff: 100 }, 999)).toBe(3000);
  });

  test("varies by the jitter in both directions, but stays within max_delay and a timer", () => {
    const policy = { max_attempts: 4, delay_ms: 1000, backoff: 2, jitter: 0.2 };
    const drawn = (random: number, more = {}) =>
      [1, 2, 3].map((attempt) => retryDelayMs({ ...policy, ...more }, attempt, () => random));
    expect(drawn(0)).toEqual([800, 1600, 3200]);
    expect(drawn(0.5)).toEqual([1000, 2000, 4000]);
    expect(drawn(1 - 2 ** -53)).toEqual([1200, 2400, 4800]);
    expect(drawn(1 - 2 ** -53, { max_delay_ms: 2000 })).toEqual([1200, 2000, 2000]);
    // What is at the limit varies below it.
    expect(drawn(0, { max_delay_ms: 2000 })).toEqual([800, 1600, 1600]);
    expect(drawn(0, { jitter: 1 })).toEqual([0, 0, 0]);
    expect(drawn(0.9, { delay_ms: 0 })).toEqual([0, 0, 0]);
    const far = { ...policy, max_attempts: 1000, backoff: 100, jitter: 1 };
    expect(retryDelayMs(far, 999, () => 0.99)).toBe(MAX_DURATION_MS);
  });
});

describe("mayRetry", () => {
  const policy = { max_attempts: 3, delay_ms: 0, backoff: 1 };
  const some = { ...policy, on_exit_codes: [[75, 75] as const, [100, 110] as const] };

  test("without on_exit_codes: whatever the failure is", () => {
    expect([1, 75, 255, null].map((code) => mayRetry(policy, code))).toEqual([true, true, true, true]);
  });

  test("with on_exit_codes: only after these", () => {
    expect([74, 75, 76, 99, 100, 105, 110, 111, null].map((code) => mayRetry(some, code))).toEqual([
      false,
      true,
      false,
      false,
      true,
      true,
      true,
      false,
      false,
    ]);
    expect(formatExitCodes(some.on_exit_codes)).toBe("75, 100-110");
  });
});

describe("timestamps", () => {
  test("need date, time and offset", () => {
    const at = Date.UTC(2025, 0, 20, 2);
    for (const text of [
      "2025-01-20T02:00:00+00:00",
      "2025-01-20T02:00:00Z",
      "2025-01-20 03:00:00+01:00",
      "2025-01-19T21:00:00-0500",
      "2025-01-20T02:00Z",
      "2025-01-20t02:00:00.000z",
    ]) {
      expect(parseTimestamp(text)).toEqual({ ok: true, ms: at });
    }
    expect(parseTimestamp("2025-01-20T02:00:00.123456Z")).toEqual({ ok: true, ms: at + 123 });
  });

  test("must exist", () => {
    for (const text of [
      "2025-02-30T00:00:00Z",
      "2025-13-01T00:00:00Z",
      "2025-01-01T24:00:00Z",
      "2025-01-01T00:60:00Z",
      "2025-01-01T00:00:00+25:00",
      "2025-01-01T00:00:00",
      "2025-01-01",
      "soon",
      "",
    ]) {
      expect(parseTimestamp(text).ok).toBe(false);
    }
  });
});
