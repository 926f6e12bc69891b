/** The deadlines of finish_by: days, zones, daylight saving, and the firing before each. */
import { describe, expect, test } from "bun:test";
import { type Calendar, calendarOf, readDay } from "../../src/workflow/calendar.ts";
import {
  finishPlan,
  instantOf,
  lastDeadline,
  nextDeadline,
  zoneOfWorkflow,
} from "../../src/workflow/deadlines.ts";
import { EXPECT_RULES, type Expect, ruleInWords } from "../../src/workflow/expect.ts";
import { aheadMs } from "../../src/workflow/expressions/dates.ts";
import { definitionOf } from "./support.ts";

const HOUR_MS = 3_600_000;
const ms = (text: string): number => Date.parse(text);
const utc = (at: number | undefined | null): string | null =>
  at == null ? null : new Date(at).toISOString().replace(":00.000Z", "Z");

function of(lines: string, calendars: ReadonlyMap<string, Calendar> = new Map(), zone = "UTC") {
  const definition = definitionOf(`${lines}\ntasks: {a: {run: ls}}\n`);
  const by = definition.expect?.finish_by;
  if (by === undefined) throw new Error("there is no finish_by");
  return finishPlan(by, definition, zone, calendars);
}

/** The next deadlines, and the firings that they are about. */
function next(lines: string, after: string, count = 3, since = -HOUR_MS): string[] {
  const plan = of(lines);
  const found: string[] = [];
  for (let at = ms(after); found.length < count; ) {
    const deadline = nextDeadline(plan, at, since);
    if (deadline === null) return [...found, "none"];
    found.push(`${utc(deadline.at_ms)} of ${utc(deadline.from_ms)}`);
    at = deadline.at_ms;
  }
  return found;
}

const BY_SIX = 'expect: {finish_by: "06:00"}';

describe("deadlines", () => {
  for (const [about, lines, after, expected] of [
    [
      "a firing each night",
      `cron: "0 2 * * *"\n${BY_SIX}`,
      "2026-11-27T06:00:00Z",
      ["2026-11-28T06:00Z of 2026-11-28T02:00Z", "2026-11-29T06:00Z of 2026-11-29T02:00Z"],
    ],
    [
      "the one of the evening before",
      `cron: "0 22 * * *"\n${BY_SIX}`,
      "2026-11-27T05:59:59Z",
      ["2026-11-27T06:00Z of 2026-11-26T22:00Z", "2026-11-28T06:00Z of 2026-11-27T22:00Z"],
    ],
    [
      "a firing at the deadline itself belongs to the next one",
      `cron: "0 6 * * *"\n${BY_SIX}`,
      "2026-11-27T06:00:00Z",
      ["2026-11-28T06:00Z of 2026-11-27T06:00Z"],
    ],
    [
      "of many firings the last one counts",
      `cron: "30 * * * *"\n${BY_SIX}`,
      "2026-11-27T00:00:00Z",
      ["2026-11-27T06:00Z of 2026-11-27T05:30Z"],
    ],
    [
      "days without a firing have none",
      `cron: "0 2 * * MON-FRI"\n${BY_SIX}`,
      "2026-11-27T06:00:00Z",
      ["2026-11-30T06:00Z of 2026-11-30T02:00Z", "2026-12-01T06:00Z of 2026-12-01T02:00Z"],
    ],
    [
      "once a year",
      `cron: "0 2 1 1 *"\n${BY_SIX}`,
      "2026-11-27T06:00:00Z",
      ["2027-01-01T06:00Z of 2027-01-01T02:00Z", "2028-01-01T06:00Z of 2028-01-01T02:00Z"],
    ],
    [
      "some days only",
      'cron: "0 2 * * *"\nexpect: {finish_by: {time: "06:00", days: MON-FRI}}',
      "2026-11-27T06:00:00Z",
      ["2026-11-30T06:00Z of 2026-11-30T02:00Z"],
    ],
    [
      "days on which it never fires",
      'cron: "0 2 * * MON"\nexpect: {finish_by: {time: "06:00", days: WED}}',
      "2026-11-27T06:00:00Z",
      ["none"],
    ],
    [
      "a schedule with an end",
      `cron: {cron: "0 2 * * *", end_time: 2026-11-29T00:00:00Z}\n${BY_SIX}`,
      "2026-11-27T06:00:00Z",
      ["2026-11-28T06:00Z of 2026-11-28T02:00Z", "none"],
    ],
    [
      "several schedules: the last firing of any",
      `cron: ["0 2 * * *", {cron: "0 5 * * SAT", timezone: UTC}]\n${BY_SIX}`,
      "2026-11-27T06:00:00Z",
      ["2026-11-28T06:00Z of 2026-11-28T05:00Z", "2026-11-29T06:00Z of 2026-11-29T02:00Z"],
    ],
    [
      "jitter does not move the time in the schedule",
      `cron: {cron: "59 5 * * *", jitter: 30m}\n${BY_SIX}`,
      "2026-11-27T06:00:00Z",
      ["2026-11-28T06:00Z of 2026-11-28T05:59Z"],
    ],
    [
      "a workflow without a schedule is expected each day",
      BY_SIX,
      "2026-11-27T06:00:00Z",
      ["2026-11-28T06:00Z of 2026-11-27T06:00Z", "2026-11-29T06:00Z of 2026-11-28T06:00Z"],
    ],
    [
      "or on its days",
      'expect: {finish_by: {time: "06:00", days: [MON, 2026-12-02]}}',
      "2026-11-27T06:00:00Z",
      [
        "2026-11-30T06:00Z of 2026-11-29T06:00Z",
        "2026-12-02T06:00Z of 2026-12-01T06:00Z",
        "2026-12-07T06:00Z of 2026-12-06T06:00Z",
      ],
    ],
  ] as const) {
    test(about, () => {
      const all = next(lines, after, expected.filter((text) => text !== "none").length + 1);
      expect(all.slice(0, expected.length)).toEqual([...expected]);
    });
  }

  test("what was fired before the workflow was expected to do anything is not asked for", () => {
    const nightly = `cron: "0 2 * * *"\n${BY_SIX}`;
    expect(next(nightly, "2026-11-27T05:00:00Z", 1, ms("2026-11-27T02:00:00Z"))).toEqual([
      "2026-11-27T06:00Z of 2026-11-27T02:00Z",
    ]);
    expect(next(nightly, "2026-11-27T05:00:00Z", 1, ms("2026-11-27T02:00:01Z"))).toEqual([
      "2026-11-28T06:00Z of 2026-11-28T02:00Z",
    ]);
    expect(next(BY_SIX, "2026-11-27T05:00:00Z", 1, ms("2026-11-27T05:00:00Z"))).toEqual([
      "2026-11-28T06:00Z of 2026-11-27T06:00Z",
    ]);
  });

  test("a calendar decides through the firings", () => {
    const plan = of(
      `cron: {cron: "0 2 * * *", calendar: workdays}\n${BY_SIX}`,
      new Map([["workdays", calendarOf({ include: ["MON-FRI"], exclude: ["2026-11-30"] })]]),
    );
    expect(utc(nextDeadline(plan, ms("2026-11-27T06:00:00Z"), 0)?.at_ms)).toBe("2026-12-01T06:00Z");
    // A calendar that is not there lets nothing fire.
    const none = of(`cron: {cron: "0 2 * * *", calendar: workdays}\n${BY_SIX}`);
    expect(nextDeadline(none, 0, 0)).toBeNull();
  });

  test("the last one that has passed", () => {
    const plan = of(`cron: "0 2 * * MON-FRI"\n${BY_SIX}`);
    const first = ms("2026-11-27T06:00:00Z");
    const last = (at: string, since = 0) => utc(lastDeadline(plan, ms(at), first, since)?.at_ms);
    expect(last("2026-11-27T06:00:00Z")).toBe("2026-11-27T06:00Z");
    expect(last("2026-11-27T05:59:59Z")).toBeNull();
    expect(last("2026-11-29T23:00:00Z")).toBe("2026-11-27T06:00Z");
    expect(last("2029-11-28T05:00:00Z")).toBe("2029-11-27T06:00Z");
    expect(last("2026-11-30T23:00:00Z", ms("2026-11-30T02:00:01Z"))).toBeNull();
  });
});

describe("daylight saving", () => {
  const LONDON = "Europe/London";
  const plan = (time: string) => `timezone: ${LONDON}\ncron: "0 0 * * *"\nexpect: {finish_by: "${time}"}`;

  test("a time that does not exist is the instant of the jump; one that occurs twice is the first one", () => {
    expect(next(plan("01:30"), "2026-03-28T12:00:00Z", 2)).toEqual([
      "2026-03-29T01:00Z of 2026-03-29T00:00Z",
      "2026-03-30T00:30Z of 2026-03-29T23:00Z",
    ]);
    expect(next(plan("01:30"), "2026-10-24T12:00:00Z", 2)).toEqual([
      "2026-10-25T00:30Z of 2026-10-24T23:00Z",
      "2026-10-26T01:30Z of 2026-10-26T00:00Z",
    ]);
  });

  test("the day before a deadline has 23 or 25 hours", () => {
    const six = `timezone: ${LONDON}\ncron: "0 6 * * *"\n${BY_SIX}`;
    expect(next(six, "2026-03-28T12:00:00Z", 1)).toEqual(["2026-03-29T05:00Z of 2026-03-28T06:00Z"]);
    expect(next(six, "2026-10-24T12:00:00Z", 1)).toEqual(["2026-10-25T06:00Z of 2026-10-24T05:00Z"]);
  });

  test("instants of all times of the days around changes, against a search by minutes", () => {
    for (const [zone, from] of [
      [LONDON, "2026-03-28"],
      [LONDON, "2026-10-24"],
      ["America/New_York", "2026-11-01"],
      ["Australia/Lord_Howe", "2026-10-03"],
      ["Asia/Kathmandu", "2026-01-01"],
      ["America/Sao_Paulo", "2018-11-03"],
    ] as const) {
      const begin = readDay(from) ?? 0;
      const first = (begin - 1) * 24 * HOUR_MS;
      const minutes = Array.from({ length: 5 * 24 * 60 }, (_, n) => first + n * 60_000);
      const shown = minutes.map((at) => at + aheadMs(at, zone));
      for (let wanted = begin * 24 * HOUR_MS; wanted < (begin + 3) * 24 * HOUR_MS; wanted += 15 * 60_000) {
        const at = minutes[shown.findIndex((clock) => clock >= wanted)];
        const [day, time] = [Math.floor(wanted / (24 * HOUR_MS)), wanted % (24 * HOUR_MS)];
        expect(`${zone} ${utc(instantOf(day, time, zone))}`).toBe(`${zone} ${utc(at)}`);
      }
    }
  });
});

describe("zones", () => {
  test("that of the rule, of the workflow, of all its schedules, of the principal", () => {
    const zoneOf = (lines: string) => of(lines, new Map(), "Asia/Tokyo").zone;
    const entry = (zone: string) => `{cron: "0 2 * * *", timezone: ${zone}, jitter: 1m}`;
    expect(
      zoneOf(
        'timezone: Europe/Paris\ncron: "0 2 * * *"\nexpect: {finish_by: {time: "06:00", timezone: UTC}}',
      ),
    ).toBe("UTC");
    expect(zoneOf(`timezone: Europe/Paris\ncron: "0 2 * * *"\n${BY_SIX}`)).toBe("Europe/Paris");
    expect(zoneOf(`cron: [${entry("Europe/Rome")}]\n${BY_SIX}`)).toBe("Europe/Rome");
    expect(zoneOf(`cron: [${entry("Europe/Rome")}, ${entry("UTC")}]\n${BY_SIX}`)).toBe("Asia/Tokyo");
    expect(zoneOf(`cron: "0 2 * * *"\n${BY_SIX}`)).toBe("Asia/Tokyo");
    expect(zoneOf(BY_SIX)).toBe("Asia/Tokyo");
    const workflow = { id: "w", cron: null, catchup: "latest" } as const;
    expect(zoneOfWorkflow(workflow, "UTC")).toBe("UTC");
  });
});

test("expectations in words", () => {
  const expectInWords = (expected: Expect, zone?: string) =>
    EXPECT_RULES.flatMap((rule) => ruleInWords(rule, expected, zone) ?? []);
  const { expect: expected } = definitionOf(
    "expect: {at_least_every: 26h, finish_by: {time: 6:00, days: MON-FRI}, max_duration: 90m, start_within: 600s}\ntasks: {a: {run: ls}}\n",
  );
  expect(expectInWords(expected ?? {}, "Europe/London")).toEqual([
    "starts within 10m",
    "takes at most 1h30m",
    "completed by 06:00 on MON-FRI (Europe/London)",
    "completes at least every 1d2h",
  ]);
  expect(expectInWords({ finish_by: { time: "06:00" } })).toEqual(["completed by 06:00"]);
});
