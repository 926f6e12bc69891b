import { describe, expect, test } from "bun:test";
import { firingsDue, firingsToRun, MAX_CATCHUP } from "../../src/events/missed-firings.ts";

const at = (text: string) => Date.parse(text);
const schedule = (cron: string, timezone = "UTC", start: string | null = null) => ({
  cron,
  timezone,
  start_time_ms: start === null ? null : at(start),
});

describe("firings that are due", () => {
  test("are those after the one and up to the other instant", () => {
    const due = firingsDue(schedule("0 * * * *"), at("2025-01-01T01:00:00Z"), at("2025-01-01T04:00:00Z"));
    expect(due.map((ms) => new Date(ms).toISOString().slice(11, 16))).toEqual(["02:00", "03:00", "04:00"]);
    expect(firingsDue(schedule("0 * * * *"), at("2025-01-01T01:00:00Z"), at("2025-01-01T01:59:59Z"))).toEqual(
      [],
    );
  });

  test("are the newest hundred when there are more, found without counting from the beginning", () => {
    const until = at("2025-01-01T00:00:00Z");
    const due = firingsDue(schedule("* * * * * *"), 0, until);
    expect(due).toHaveLength(MAX_CATCHUP);
    expect(due.at(-1)).toBe(until);
    expect(due[0]).toBe(until - (MAX_CATCHUP - 1) * 1000);
  });

  test("do not begin before the start time", () => {
    const due = firingsDue(
      schedule("0 0 * * *", "UTC", "2025-01-03T00:00:00Z"),
      at("2025-01-01T00:00:00Z"),
      at("2025-01-04T12:00:00Z"),
    );
    expect(due.map((ms) => new Date(ms).getUTCDate())).toEqual([3, 4]);
  });

  test("of a daily schedule are one a day over the change to summer time and back", () => {
    const london = schedule("30 1 * * *", "Europe/London");
    const spring = firingsDue(london, at("2025-03-29T00:00:00Z"), at("2025-03-31T12:00:00Z"));
    expect(spring.map((ms) => new Date(ms).toISOString())).toEqual([
      "2025-03-29T01:30:00.000Z",
      "2025-03-30T01:00:00.000Z",
      "2025-03-31T00:30:00.000Z",
    ]);
    const autumn = firingsDue(london, at("2025-10-25T12:00:00Z"), at("2025-10-27T12:00:00Z"));
    expect(autumn.map((ms) => new Date(ms).toISOString())).toEqual([
      "2025-10-26T00:30:00.000Z",
      "2025-10-27T01:30:00.000Z",
    ]);
  });
});

describe("of the firings that are due", () => {
  const now = 100_000;
  const due = [10_000, 50_000, 70_000, 99_000];
  for (const [catchup, graceMs, run] of [
    ["none", 0, []],
    ["none", 30_000, [70_000, 99_000]],
    ["latest", 0, [99_000]],
    ["latest", 30_000, [70_000, 99_000]],
    ["all", 0, due],
    ["all", 30_000, due],
  ] as const) {
    test(`${catchup} with ${graceMs} ms of grace runs ${run.length}`, () => {
      expect(firingsToRun(due, catchup, now, graceMs)).toEqual([...run]);
    });
  }
});
