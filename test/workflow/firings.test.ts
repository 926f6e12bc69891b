import { describe, expect, test } from "bun:test";
import { calendarOf, dayOf, readDay, startOfDay, textOfDay } from "../../src/workflow/calendar.ts";
import {
  type FiringContext,
  firingContext,
  firingsBetween,
  nextFiring,
  previousFiring,
} from "../../src/workflow/firings.ts";
import { jitterOf } from "../../src/workflow/jitter.ts";
import { type Entry, entryKey, firingKey, schedulesOf } from "../../src/workflow/schedules.ts";
import { randomNumbers } from "./support.ts";

const ms = (text: string): number => Date.parse(text);
const HOUR = 3_600_000;

function entry(cron: string, more: Partial<Entry> = {}): Entry {
  return { cron, timezone: null, start_time_ms: null, catchup: "latest", ...more };
}

const plain = (zone = "UTC", more: Partial<FiringContext> = {}): FiringContext => ({
  zone,
  calendar: null,
  offsetMs: 0,
  ...more,
});

/** The firings of an interval, in UTC. */
function times(of: Entry, context: FiringContext, from: string, to: string): string[] {
  return firingsBetween(of, context, ms(from), ms(to)).map((at) => new Date(at).toISOString().slice(5, 16));
}

const workdays = calendarOf({ include: ["MON-FRI"], exclude: ["2026-12-25"] });

describe("firings", () => {
  test("are not before start_time, and before end_time", () => {
    const limited = entry("0 * * * *", {
      start_time_ms: ms("2026-03-01T02:00:00Z"),
      end_time_ms: ms("2026-03-01T05:00:00Z"),
    });
    const all = ["03-01T02:00", "03-01T03:00", "03-01T04:00"];
    expect(times(limited, plain(), "2026-02-01T00:00:00Z", "2026-04-01T00:00:00Z")).toEqual(all);
    expect(previousFiring(limited, plain(), ms("2026-04-01T00:00:00Z"))).toBe(ms("2026-03-01T04:00:00Z"));
    expect(previousFiring(limited, plain(), ms("2026-03-01T01:59:59Z"))).toBeNull();
    expect(nextFiring(limited, plain(), ms("2026-03-01T04:00:00Z"))).toBeNull();
    const later = entry("0 * * * *", { end_time_ms: ms("2026-03-01T05:00:00.001Z") });
    expect(previousFiring(later, plain(), ms("2026-04-01T00:00:00Z"))).toBe(ms("2026-03-01T05:00:00Z"));
  });

  test("are on the days of their calendar only", () => {
    const daily = entry("0 6 * * *", { calendar: "workdays" });
    const context = plain("UTC", { calendar: workdays });
    expect(times(daily, context, "2026-12-23T00:00:00Z", "2026-12-30T00:00:00Z")).toEqual([
      "12-23T06:00",
      "12-24T06:00",
      "12-28T06:00",
      "12-29T06:00",
    ]);
    expect(previousFiring(daily, context, ms("2026-12-27T12:00:00Z"))).toBe(ms("2026-12-24T06:00:00Z"));
    expect(nextFiring(daily, plain(), ms("2026-12-23T00:00:00Z"))).toBeNull();
    expect(previousFiring(daily, plain(), ms("2026-12-23T00:00:00Z"))).toBeNull();
  });

  test("belong to the local day of their time in the schedule", () => {
    // 23:30 on Friday in New York is Saturday in UTC; with jitter, it is made on Saturday there, too.
    const late = entry("30 23 * * *", { calendar: "workdays", jitter_ms: HOUR });
    const context = plain("America/New_York", { calendar: workdays, offsetMs: HOUR });
    expect(times(late, context, "2026-07-02T12:00:00Z", "2026-07-07T12:00:00Z")).toEqual([
      "07-03T04:30",
      "07-04T04:30",
      "07-07T04:30",
    ]);
    expect(previousFiring(late, context, ms("2026-07-06T12:00:00Z"))).toBe(ms("2026-07-04T04:30:00Z"));
  });

  test("follow the clock of their zone, jitter or not", () => {
    const daily = entry("30 1 * * *");
    for (const offsetMs of [0, 17_000, 2 * HOUR]) {
      const shifted = firingsBetween(
        daily,
        plain("Europe/London", { offsetMs }),
        ms("2026-03-28T00:00:00Z") + offsetMs,
        ms("2026-03-31T00:00:00Z") + offsetMs,
      );
      expect(shifted.map((at) => new Date(at - offsetMs).toISOString().slice(5, 16))).toEqual([
        "03-28T01:30",
        "03-29T01:00",
        "03-30T00:30",
      ]);
    }
  });

  test("on days that the clock skips or begins twice are found", () => {
    // Samoa had no 30 December 2011: the firing of that day is made when the 31st begins.
    const fridays = calendarOf({ include: ["2011-12-30", "2011-12-31", "2012-01-01"] });
    const noon = entry("0 12 * * *", { calendar: "c" });
    const apia = plain("Pacific/Apia", { calendar: fridays });
    const found = firingsBetween(noon, apia, ms("2011-12-28T00:00:00Z"), ms("2012-01-02T00:00:00Z"));
    for (const at of found) expect(fridays.has(dayOf(at, "Pacific/Apia"))).toBe(true);
    expect(found.at(-1)).toBe(ms("2011-12-31T22:00:00Z"));
    // Midnight is at 01:00 there.
    const sunday = calendarOf({ include: ["2018-11-04"] });
    const midnight = entry("0 0 * * *", { calendar: "c" });
    const at = nextFiring(
      midnight,
      plain("America/Sao_Paulo", { calendar: sunday }),
      ms("2018-11-01T00:00:00Z"),
    );
    expect(at).toBe(ms("2018-11-04T03:00:00Z"));
  });

  test("of a calendar without days to come are none, found fast", () => {
    const past = calendarOf({ include: ["2020-01-01"] });
    const every = entry("* * * * * *", { calendar: "past" });
    expect(nextFiring(every, plain("UTC", { calendar: past }), ms("2026-01-01T00:00:00Z"))).toBeNull();
    const never = calendarOf({ include: ["SAT"] });
    const friday = entry("0 0 * * FRI", { calendar: "never" });
    expect(nextFiring(friday, plain("UTC", { calendar: never }), ms("2026-01-01T00:00:00Z"))).toBeNull();
    expect(previousFiring(friday, plain("UTC", { calendar: never }), ms("2026-01-01T00:00:00Z"))).toBeNull();
  });

  test("forwards and backwards agree, whatever the entry", () => {
    const random = randomNumbers(15);
    const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)] as T;
    const calendars = [
      workdays,
      calendarOf({ include: ["12-24..01-02", "SUN"] }),
      calendarOf({ exclude: ["2026-10-25", "2026-03-29", "MON"] }),
    ];
    for (let n = 0; n < 25; n++) {
      const cron = pick(["0 * * * *", "30 1 * * *", "15 10,22 * * MON-FRI", "0 0 1 * *", "*/20 3 * * *"]);
      const zone = pick([
        "UTC",
        "Europe/London",
        "Australia/Lord_Howe",
        "America/St_Johns",
        "Africa/Casablanca",
      ]);
      const calendar = random() < 0.5 ? pick(calendars) : null;
      const from = ms("2026-01-01T00:00:00Z") + Math.floor(random() * 300 * 24 * HOUR);
      const one = entry(cron, {
        ...(calendar === null ? {} : { calendar: "c" }),
        ...(random() < 0.3 ? { start_time_ms: from + 24 * HOUR } : {}),
        ...(random() < 0.3 ? { end_time_ms: from + 9 * 24 * HOUR } : {}),
      });
      const context = { zone, calendar, offsetMs: Math.floor(random() * HOUR) };
      const until = from + 12 * 24 * HOUR;
      const forwards = firingsBetween(one, context, from, until);
      const backwards: number[] = [];
      for (let at = previousFiring(one, context, until); at !== null && at > from; ) {
        backwards.unshift(at);
        at = previousFiring(one, context, at - 1);
      }
      expect({ n, found: backwards }).toEqual({ n, found: forwards });
    }
  });
});

describe("firingsBetween", () => {
  test("leaves the start out, takes the end in, oldest first, at most so many", () => {
    const hourly = entry("0 * * * *");
    const between = firingsBetween(hourly, plain(), ms("2025-01-20T00:00:00Z"), ms("2025-01-20T03:00:00Z"));
    expect(between.map((at) => new Date(at).toISOString().slice(11, 16))).toEqual([
      "01:00",
      "02:00",
      "03:00",
    ]);
    expect(firingsBetween(hourly, plain(), 0, ms("2025-01-20T00:00:00Z"), 2)).toEqual([HOUR, 2 * HOUR]);
    expect(firingsBetween(hourly, plain(), 10, 10)).toEqual([]);
  });
});

describe("the start of a day", () => {
  for (const [zone, day, at] of [
    ["UTC", "2026-07-01", "2026-07-01T00:00:00Z"],
    ["Europe/London", "2026-03-29", "2026-03-29T00:00:00Z"],
    ["Europe/London", "2026-03-30", "2026-03-29T23:00:00Z"],
    ["America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00Z"],
    // The clock went back from midnight to 23:00.
    ["America/Sao_Paulo", "2018-02-18", "2018-02-18T03:00:00Z"],
    // It went back from 00:01 to 23:01: the day has begun before.
    ["America/St_Johns", "2010-11-07", "2010-11-07T02:30:00Z"],
    ["Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00Z"],
    ["Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00Z"],
    ["Pacific/Kiritimati", "2026-01-01", "2025-12-31T10:00:00Z"],
  ] as const) {
    test(`${day} in ${zone}`, () => {
      const start = startOfDay(readDay(day) ?? 0, zone);
      expect(new Date(start).toISOString()).toBe(new Date(at).toISOString());
      expect(dayOf(start, zone)).toBeGreaterThanOrEqual(readDay(day) ?? 0);
      expect(dayOf(start - 1, zone)).toBeLessThan(readDay(day) ?? 0);
    });
  }

  test("dates and days are the same thing", () => {
    for (const text of ["1969-12-31", "1970-01-01", "2024-02-29", "2026-11-27"])
      expect(textOfDay(readDay(text) ?? 0)).toBe(text);
    for (const text of ["2026-02-30", "2026-13-01", "2026-2-3", "12-25", ""])
      expect(readDay(text)).toBeNull();
  });
});

describe("jitter", () => {
  test("of an id never changes", () => {
    const shifts = ["etl.daily", "a", "reports.weekly", "x-1", "sub.dir.flow"].map((id) =>
      jitterOf(id, 300_000),
    );
    expect(shifts).toEqual(PINNED);
  });

  test("is between nothing and all of it, spread evenly", () => {
    const shifts = Array.from({ length: 2000 }, (_, n) => jitterOf(`w${n}`, 9));
    const counts = Array.from({ length: 10 }, (_, shift) => shifts.filter((each) => each === shift).length);
    expect(counts.reduce((a, b) => a + b)).toBe(2000);
    for (const count of counts) expect(count).toBeGreaterThan(140);
    expect(jitterOf("a", 0)).toBe(0);
  });

  test("is the same part of every jitter of a workflow", () => {
    const [small, large] = [jitterOf("etl.daily", 60_000), jitterOf("etl.daily", 6_000_000)];
    expect(Math.abs(large / 100 - small)).toBeLessThan(2);
  });
});

const PINNED = [259410, 27977, 215313, 55361, 94839];

describe("the entries of a workflow", () => {
  const slot = { cron: "0 2 * * *", timezone: "UTC", start_time_ms: 5, catchup: "all" } as const;

  test("are that of the old keys, or the list", () => {
    expect(schedulesOf({ ...slot, cron: null })).toEqual([]);
    expect(schedulesOf(slot)).toEqual([slot]);
    const schedules = [entry("0 1 * * *"), entry("0 2 * * *", { params: { full: "true" } })];
    expect(schedulesOf({ ...slot, cron: null, schedules })).toEqual(schedules);
  });

  test("have a key that changes with their firings, and with nothing else", () => {
    const base = entry("0 2 * * *", { params: { a: "1", b: "2" } });
    const key = entryKey(base);
    expect(key).toMatch(/^[0-9a-f]{16}$/);
    expect(entryKey({ ...base, catchup: "all", catchup_window_ms: 5 })).toBe(key);
    expect(entryKey({ ...base, params: { b: "2", a: "1" } })).toBe(key);
    expect(entryKey({ ...base, calendar: undefined })).toBe(key);
    const others: Partial<Entry>[] = [
      { cron: "0 3 * * *" },
      { timezone: "UTC" },
      { start_time_ms: 1 },
      { end_time_ms: 1 },
      { calendar: "workdays" },
      { jitter_ms: 1 },
      { params: { a: "1" } },
    ];
    const keys = new Set(others.map((other) => entryKey({ ...base, ...other })));
    expect(keys.size).toBe(others.length);
    expect(keys.has(key)).toBe(false);
    expect(entryKey(slot)).toBe(ENTRY_KEY);
  });

  test("share a firing if their parameters are equal", () => {
    expect(firingKey("etl", entry("0 2 * * *"), 7)).toBe("cron:etl:7");
    expect(firingKey("etl", entry("0 3 * * *", { params: {} }), 7)).toBe("cron:etl:7");
    const one = firingKey("etl", entry("0 2 * * *", { params: { a: "1", b: "2" } }), 7);
    expect(one).toMatch(/^cron:etl:7:[0-9a-f]{8}$/);
    expect(firingKey("etl", entry("* * * * *", { params: { b: "2", a: "1" } }), 7)).toBe(one);
    expect(firingKey("etl", entry("* * * * *", { params: { a: "1", b: "3" } }), 7)).not.toBe(one);
  });

  test("have a context from their workflow and the settings", () => {
    const calendars = new Map([["workdays", workdays]]);
    expect(firingContext("etl", entry("0 2 * * *"), "Asia/Tehran", calendars)).toEqual({
      zone: "Asia/Tehran",
      calendar: null,
      offsetMs: 0,
    });
    const full = entry("0 2 * * *", { timezone: "UTC", calendar: "workdays", jitter_ms: 1000 });
    expect(firingContext("etl", full, "Asia/Tehran", calendars)).toEqual({
      zone: "UTC",
      calendar: workdays,
      offsetMs: jitterOf("etl", 1000),
    });
    expect(firingContext("etl", entry("0 2 * * *", { calendar: "x" }), "UTC", calendars).calendar).toBeNull();
  });
});

const ENTRY_KEY = "664c298e3f026028";
