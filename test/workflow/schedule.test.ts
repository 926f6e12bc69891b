import { describe, expect, test } from "bun:test";
import { Cron } from "croner";
import { checkCron, nextFiring, previousFiring, type Schedule } from "../../src/workflow/schedule.ts";

const ms = (text: string): number => Date.parse(text);
const iso = (value: number | null): string | null => (value === null ? null : new Date(value).toISOString());
const schedule = (cron: string | null, timezone = "UTC", start: string | null = null) => ({
  cron,
  timezone,
  start_time_ms: start === null ? null : ms(start),
});

function firingsBetween(of: Schedule, afterMs: number, untilMs: number, limit = 1000): number[] {
  const firings: number[] = [];
  for (let at = nextFiring(of, afterMs); at !== null && at <= untilMs && firings.length < limit; ) {
    firings.push(at);
    at = nextFiring(of, at);
  }
  return firings;
}

/** The firings in an interval, as UTC times without the seconds. */
function times(cron: string, timezone: string, from: string, until: string): string[] {
  return firingsBetween(schedule(cron, timezone), ms(from), ms(until)).map((at) =>
    new Date(at).toISOString().slice(5, 16),
  );
}

describe("nextFiring", () => {
  test("is the same whatever was asked before, also around changes of the clock", () => {
    const start = ms("2025-03-29T00:00:00Z");
    for (const [cron, timezone] of [
      ["30 1 * * *", "Europe/London"],
      ["*/7 * * * *", "Europe/London"],
      ["0 0 3 * * SUN", "America/New_York"],
      ["15 10 29 2 *", "UTC"],
    ] as const) {
      const expected = (at: number) =>
        new Cron(cron, { mode: "5-or-6-parts", paused: true, timezone }).nextRun(new Date(at))?.getTime();
      // Back and forth, in steps that no firing shares.
      for (let n = 0; n < 300; n++) {
        const at = start + ((n * 7919) % 300) * 613_337;
        expect(nextFiring(schedule(cron, timezone), at)).toBe(expected(at) ?? null);
      }
      const next = nextFiring(schedule(cron, timezone), start) ?? 0;
      for (const at of [next - 1, next, next + 1])
        expect(nextFiring(schedule(cron, timezone), at)).toBe(expected(at) ?? null);
    }
  });

  test("five fields and six fields with the second first", () => {
    const after = ms("2025-01-20T01:59:59.500Z");
    expect(iso(nextFiring(schedule("0 2 * * *"), after))).toBe("2025-01-20T02:00:00.000Z");
    expect(iso(nextFiring(schedule("30 0 2 * * *"), after))).toBe("2025-01-20T02:00:30.000Z");
    expect(iso(nextFiring(schedule("*/15 * * * * *"), after))).toBe("2025-01-20T02:00:00.000Z");
  });

  test("is after the instant, never at it", () => {
    const at = ms("2025-01-20T02:00:00Z");
    expect(iso(nextFiring(schedule("0 2 * * *"), at - 1))).toBe("2025-01-20T02:00:00.000Z");
    expect(iso(nextFiring(schedule("0 2 * * *"), at))).toBe("2025-01-21T02:00:00.000Z");
    expect(iso(nextFiring(schedule("* * * * * *"), at + 1))).toBe("2025-01-20T02:00:01.000Z");
  });

  test("is null without cron, and when the date never comes", () => {
    expect(nextFiring(schedule(null), 0)).toBeNull();
    expect(nextFiring(schedule("0 0 30 2 *"), 0)).toBeNull();
  });

  test("is not before start_time; a firing exactly at it counts", () => {
    const exact = schedule("0 2 * * *", "UTC", "2025-03-01T02:00:00Z");
    expect(iso(nextFiring(exact, ms("2025-01-01T00:00:00Z")))).toBe("2025-03-01T02:00:00.000Z");
    const later = schedule("0 2 * * *", "UTC", "2025-03-01T02:00:00.001Z");
    expect(iso(nextFiring(later, ms("2025-01-01T00:00:00Z")))).toBe("2025-03-02T02:00:00.000Z");
    expect(iso(nextFiring(exact, ms("2025-04-01T00:00:00Z")))).toBe("2025-04-01T02:00:00.000Z");
  });

  test("means the zone of the workflow", () => {
    const after = ms("2025-07-01T00:00:00Z");
    expect(iso(nextFiring(schedule("0 2 * * *", "Europe/London"), after))).toBe("2025-07-01T01:00:00.000Z");
    expect(iso(nextFiring(schedule("0 2 * * *", "America/New_York"), after))).toBe(
      "2025-07-01T06:00:00.000Z",
    );
    expect(iso(nextFiring(schedule("0 2 * * *", "Asia/Kathmandu"), after))).toBe("2025-07-01T20:15:00.000Z");
  });

  test("leap days, last days, weekdays", () => {
    const after = ms("2025-01-31T12:00:00Z");
    expect(iso(nextFiring(schedule("0 0 29 2 *"), after))).toBe("2028-02-29T00:00:00.000Z");
    expect(iso(nextFiring(schedule("0 0 L * *"), after))).toBe("2025-02-28T00:00:00.000Z");
    expect(iso(nextFiring(schedule("0 0 * * 0"), after))).toBe("2025-02-02T00:00:00.000Z");
    expect(iso(nextFiring(schedule("0 0 * * 7"), after))).toBe("2025-02-02T00:00:00.000Z");
    expect(iso(nextFiring(schedule("0 0 * * MON#2"), after))).toBe("2025-02-10T00:00:00.000Z");
    // Both day fields restricted: either will do.
    expect(iso(nextFiring(schedule("0 0 15 * MON"), after))).toBe("2025-02-03T00:00:00.000Z");
  });
});

describe("previousFiring", () => {
  test("is at the instant or before it", () => {
    const at = ms("2025-01-20T02:00:00Z");
    expect(iso(previousFiring(schedule("0 2 * * *"), at))).toBe("2025-01-20T02:00:00.000Z");
    expect(iso(previousFiring(schedule("0 2 * * *"), at - 1))).toBe("2025-01-19T02:00:00.000Z");
    expect(iso(previousFiring(schedule("* * * * * *"), at + 999))).toBe("2025-01-20T02:00:00.000Z");
  });

  test("is null before start_time", () => {
    const started = schedule("0 2 * * *", "UTC", "2025-01-20T02:00:00Z");
    expect(iso(previousFiring(started, ms("2025-01-20T02:00:00Z")))).toBe("2025-01-20T02:00:00.000Z");
    expect(previousFiring(started, ms("2025-01-20T01:59:59Z"))).toBeNull();
  });

  test("goes back over a change of the clock", () => {
    const daily = schedule("30 1 * * *", "Europe/London");
    expect(iso(previousFiring(daily, ms("2025-10-26T12:00:00Z")))).toBe("2025-10-26T00:30:00.000Z");
    expect(iso(previousFiring(daily, ms("2025-03-30T12:00:00Z")))).toBe("2025-03-30T01:00:00.000Z");
  });
});

describe("daylight saving", () => {
  // London 2025: on 30 March 01:00 becomes 02:00, on 26 October 02:00 becomes 01:00 again.
  // New York 2025: on 9 March 02:00 becomes 03:00, on 2 November 02:00 becomes 01:00 again.

  test("London, clock forward: a fixed time that is skipped fires when the clock has jumped, once", () => {
    expect(times("30 1 * * *", "Europe/London", "2025-03-28T12:00:00Z", "2025-04-01T00:00:00Z")).toEqual([
      "03-29T01:30",
      "03-30T01:00", // 02:00 local time
      "03-31T00:30",
    ]);
  });

  test("London, clock back: a fixed time that comes twice fires the first time only", () => {
    expect(times("30 1 * * *", "Europe/London", "2025-10-25T12:00:00Z", "2025-10-27T12:00:00Z")).toEqual([
      "10-26T00:30",
      "10-27T01:30",
    ]);
  });

  test("New York, both ways, six fields", () => {
    expect(times("0 30 2 * * *", "America/New_York", "2025-03-08T12:00:00Z", "2025-03-10T12:00:00Z")).toEqual(
      [
        "03-09T07:00", // 03:00 local time
        "03-10T06:30",
      ],
    );
    expect(times("0 30 1 * * *", "America/New_York", "2025-11-01T12:00:00Z", "2025-11-03T12:00:00Z")).toEqual(
      ["11-02T05:30", "11-03T06:30"],
    );
  });

  test("a step follows the clock: what is skipped does not fire, what comes twice fires twice", () => {
    expect(times("*/30 * * * *", "Europe/London", "2025-03-30T00:00:00Z", "2025-03-30T02:00:00Z")).toEqual([
      "03-30T00:30",
      "03-30T01:00",
      "03-30T01:30",
      "03-30T02:00",
    ]);
    expect(times("0 * * * *", "America/New_York", "2025-11-02T04:00:00Z", "2025-11-02T07:00:00Z")).toEqual([
      "11-02T05:00",
      "11-02T06:00",
      "11-02T07:00",
    ]);
    expect(times("15 1-2 * * *", "Europe/London", "2025-03-30T00:00:00Z", "2025-03-31T00:00:00Z")).toEqual([
      "03-30T01:15", // 02:15; 01:15 does not exist
    ]);
    expect(times("15 1,3 * * *", "Europe/London", "2025-10-26T00:00:00Z", "2025-10-26T04:00:00Z")).toEqual([
      "10-26T00:15",
      "10-26T01:15",
      "10-26T03:15",
    ]);
  });

  test("each day of a year has its one firing", () => {
    for (const zone of ["Europe/London", "America/New_York", "Australia/Lord_Howe"]) {
      for (const cron of ["30 1 * * *", "15 2 * * *", "0 0 * * *"]) {
        const firings = firingsBetween(
          schedule(cron, zone),
          ms("2025-01-01T12:00:00Z"),
          ms("2026-01-01T12:00:00Z"),
        );
        expect(firings).toHaveLength(365);
      }
    }
  });

  test("going back gives the same firings as going forward", () => {
    for (const zone of ["Europe/London", "America/New_York"]) {
      for (const cron of ["30 1 * * *", "*/20 1-3 * * *"]) {
        const from = ms("2025-01-01T00:00:00Z");
        const forward = firingsBetween(schedule(cron, zone), from, ms("2025-12-31T00:00:00Z"), 10_000);
        const back: number[] = [];
        let at: number | null = ms("2025-12-31T00:00:00Z");
        while (at !== null) {
          at = previousFiring(schedule(cron, zone), at);
          if (at === null || at <= from) break;
          back.unshift(at);
          at -= 1;
        }
        expect(back).toEqual(forward);
      }
    }
  });
});

describe("checkCron", () => {
  test("takes what croner takes in five or six fields", () => {
    for (const cron of [
      "* * * * *",
      "0 0 2 * * ?",
      "0 0 ? * MON-FRI",
      "*/5 8-18 * * 1-5",
      "0 0 L * *",
      "@daily",
      "0 0 * JAN,JUL SUN",
    ]) {
      expect(checkCron(cron)).toBeNull();
    }
  });

  test("says which field is wrong, and where it stands", () => {
    expect(checkCron("0 0 32 * *")).toMatchObject({
      message: '"32" is not valid for the day of month',
      start: 4,
      end: 6,
    });
    expect(checkCron("0 0 1 13 *")).toMatchObject({
      message: '"13" is not valid for the month',
      start: 6,
      end: 8,
    });
    expect(checkCron("? * * * *")).toMatchObject({ message: '"?" is not valid for the minute' });
    expect(checkCron("")).toMatchObject({ message: "has 0 fields, not 5 or 6" });
  });
});
