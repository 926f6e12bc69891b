import { describe, expect, test } from "bun:test";
import { firingsDue, firingsToRun, MAX_CATCHUP } from "../../src/workflow/missed.ts";

const at = (text: string) => Date.parse(text);
const schedule = (cron: string, zone = "UTC", start: string | null = null) =>
  [
    { cron, timezone: null, start_time_ms: start === null ? null : at(start), catchup: "latest" },
    { zone, calendar: null, offsetMs: 0 },
  ] as const;

describe("firings that are due", () => {
  test("are those after the one and up to the other instant", () => {
    const due = firingsDue(...schedule("0 * * * *"), at("2025-01-01T01:00:00Z"), at("2025-01-01T04:00:00Z"));
    expect(due.map((ms) => new Date(ms).toISOString().slice(11, 16))).toEqual(["02:00", "03:00", "04:00"]);
    expect(
      firingsDue(...schedule("0 * * * *"), at("2025-01-01T01:00:00Z"), at("2025-01-01T01:59:59Z")),
    ).toEqual([]);
  });

  test("are the newest hundred when there are more, found without counting from the beginning", () => {
    const until = at("2025-01-01T00:00:00Z");
    const due = firingsDue(...schedule("* * * * * *"), 0, until);
    expect(due).toHaveLength(MAX_CATCHUP);
    expect(due.at(-1)).toBe(until);
    expect(due[0]).toBe(until - (MAX_CATCHUP - 1) * 1000);
  });

  test("do not begin before the start time", () => {
    const due = firingsDue(
      ...schedule("0 0 * * *", "UTC", "2025-01-03T00:00:00Z"),
      at("2025-01-01T00:00:00Z"),
      at("2025-01-04T12:00:00Z"),
    );
    expect(due.map((ms) => new Date(ms).getUTCDate())).toEqual([3, 4]);
  });

  test("of a daily schedule are one a day over the change to summer time and back", () => {
    const london = schedule("30 1 * * *", "Europe/London");
    const spring = firingsDue(...london, at("2025-03-29T00:00:00Z"), at("2025-03-31T12:00:00Z"));
    expect(spring.map((ms) => new Date(ms).toISOString())).toEqual([
      "2025-03-29T01:30:00.000Z",
      "2025-03-30T01:00:00.000Z",
      "2025-03-31T00:30:00.000Z",
    ]);
    const autumn = firingsDue(...london, at("2025-10-25T12:00:00Z"), at("2025-10-27T12:00:00Z"));
    expect(autumn.map((ms) => new Date(ms).toISOString())).toEqual([
      "2025-10-26T00:30:00.000Z",
      "2025-10-27T01:30:00.000Z",
    ]);
  });
});

describe("of the firings that are due", () => {
  const now = 100_000;
  const due = [10_000, 50_000, 70_000, 99_000];
  for (const [catchup, windowMs, graceMs, run] of [
    ["none", undefined, 0, []],
    ["none", undefined, 30_000, [70_000, 99_000]],
    ["latest", undefined, 0, [99_000]],
    ["latest", undefined, 30_000, [70_000, 99_000]],
    ["all", undefined, 0, due],
    ["all", undefined, 30_000, due],
    ["all", 50_000, 0, [50_000, 70_000, 99_000]],
    ["all", 49_999, 0, [70_000, 99_000]],
    ["all", 1, 30_000, [70_000, 99_000]],
    ["latest", 1000, 0, [99_000]],
    ["latest", 999, 0, []],
    ["none", 90_000, 0, []],
  ] as const) {
    const window = windowMs === undefined ? "" : ` and a window of ${windowMs} ms`;
    test(`${catchup} with ${graceMs} ms of grace${window} runs ${run.length}`, () => {
      const dropped = due.filter((ms) => !(run as readonly number[]).includes(ms));
      expect(firingsToRun(due, catchup, windowMs, now, graceMs)).toEqual({ run: [...run], dropped });
    });
  }
});
