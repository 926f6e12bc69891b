import { describe, expect, test } from "bun:test";
import { calendarOf, hasAnyDay, readDay, readItem, textOfDay } from "../../src/workflow/calendar.ts";

const day = (text: string): number => readDay(text) ?? Number.NaN;

/** The days of an interval that a calendar has. */
function daysOf(calendar: ReturnType<typeof calendarOf>, from: string, to: string): string[] {
  const days: string[] = [];
  for (let n = day(from); n <= day(to); n++) if (calendar.has(n)) days.push(textOfDay(n).slice(5));
  return days;
}

describe("a calendar", () => {
  for (const [what, spec, from, to, days] of [
    ["without items has every day", {}, "2026-01-01", "2026-01-03", ["01-01", "01-02", "01-03"]],
    [
      "of weekdays has them",
      { include: ["MON-FRI"] },
      "2026-11-27",
      "2026-12-01",
      ["11-27", "11-30", "12-01"],
    ],
    [
      "over the weekend has both ends",
      { include: ["SAT-MON"] },
      "2026-11-26",
      "2026-12-01",
      ["11-28", "11-29", "11-30"],
    ],
    ["of one weekday has it", { include: ["WED"] }, "2026-11-20", "2026-12-03", ["11-25", "12-02"]],
    ["of a date has it", { include: ["2026-12-25"] }, "2025-12-01", "2027-12-31", ["12-25"]],
    [
      "of a yearly day has it each year",
      { include: ["12-25"] },
      "2025-12-01",
      "2026-12-31",
      ["12-25", "12-25"],
    ],
    [
      "of 29 February has it in leap years",
      { include: ["02-29"] },
      "2023-01-01",
      "2028-12-31",
      ["02-29", "02-29"],
    ],
    [
      "of a range has both ends",
      { include: ["2026-07-31..2026-08-02"] },
      "2026-07-01",
      "2026-09-01",
      ["07-31", "08-01", "08-02"],
    ],
    [
      "of a yearly range over the new year has both ends",
      { include: ["12-30..01-02"] },
      "2026-12-01",
      "2027-02-01",
      ["12-30", "12-31", "01-01", "01-02"],
    ],
    [
      "leaves out what is excluded, whatever includes it",
      { include: ["MON-FRI", "2026-12-25"], exclude: ["12-25", "2026-12-28..2026-12-31"] },
      "2026-12-22",
      "2027-01-01",
      ["12-22", "12-23", "12-24", "01-01"],
    ],
    ["may only exclude", { exclude: ["SUN"] }, "2026-11-27", "2026-11-30", ["11-27", "11-28", "11-30"]],
    ["before 1970 is the same", { include: ["THU"] }, "1969-12-20", "1970-01-02", ["12-25", "01-01"]],
  ] as const) {
    test(what, () => {
      expect(daysOf(calendarOf(spec), from, to)).toEqual([...days]);
    });
  }

  test("has the days of its files", () => {
    const files = { include: null, exclude: [day("2026-11-27")] };
    expect(daysOf(calendarOf({}, files), "2026-11-26", "2026-11-28")).toEqual(["11-26", "11-28"]);
    const fairs = { include: [day("2026-11-27")], exclude: [] };
    expect(daysOf(calendarOf({}, fairs), "2026-11-26", "2026-11-28")).toEqual(["11-27"]);
    expect(daysOf(calendarOf({ include: ["SAT"] }, fairs), "2026-11-26", "2026-11-30")).toEqual([
      "11-27",
      "11-28",
    ]);
    expect(daysOf(calendarOf({}, { include: [], exclude: [] }), "2026-11-26", "2026-11-30")).toEqual([]);
  });

  test("finds the days around a day", () => {
    const calendar = calendarOf({ include: ["MON-FRI"], exclude: ["2026-12-25"] });
    expect(textOfDay(calendar.nextDay(day("2026-12-24")) ?? 0)).toBe("2026-12-28");
    expect(textOfDay(calendar.previousDay(day("2026-12-28")) ?? 0)).toBe("2026-12-24");
    const once = calendarOf({ include: ["2026-12-25"] });
    expect(once.nextDay(day("2026-12-25"))).toBeNull();
    expect(once.previousDay(day("2026-12-25"))).toBeNull();
    expect(once.nextDay(day("2016-12-30"))).toBe(day("2026-12-25"));
    expect(once.nextDay(day("2016-01-01"))).toBeNull();
  });

  test("may have no day at all", () => {
    expect(hasAnyDay({ exclude: ["MON-SUN"] })).toBe(false);
    expect(hasAnyDay({ include: ["2026-12-25"], exclude: ["12-25"] })).toBe(false);
    expect(hasAnyDay({ include: ["2026-12-25"] })).toBe(true);
    expect(hasAnyDay({})).toBe(true);
  });
});

describe("an item of a calendar", () => {
  for (const [text, item] of [
    ["MON-FRI", "MON-FRI"],
    [" mon - fri ", "MON-FRI"],
    ["monday", "MON"],
    ["SAT-SAT", "SAT"],
    ["2026-12-25", "2026-12-25"],
    ["12-25", "12-25"],
    ["02-29", "02-29"],
    ["2026-07-20 .. 2026-08-03", "2026-07-20..2026-08-03"],
    ["2026-07-20..2026-07-20", "2026-07-20"],
    ["12-24..01-02", "12-24..01-02"],
  ] as const) {
    test(`${text} is ${item}`, () => expect(readItem(text)).toBe(item));
  }

  const HELP = "such as MON-FRI, 2026-12-25, 12-25, 2026-07-20..2026-08-03";
  for (const [text, message, help] of [
    ["MON-FRU", '"MON-FRU" is neither a weekday, a date nor a range', HELP],
    ["MO", '"MO" is neither a weekday, a date nor a range', HELP],
    ["", '"" is neither a weekday, a date nor a range', HELP],
    ["2026-1-1", '"2026-1-1" is neither a weekday, a date nor a range', HELP],
    ["25.12.", '"25.12." is neither a weekday, a date nor a range', HELP],
    ["2026-01-01..12-31", '"2026-01-01..12-31" is neither a weekday, a date nor a range', HELP],
    ["MON..FRI", '"MON..FRI" is neither a weekday, a date nor a range', HELP],
    ["2026-02-30", "2026-02-30 is no date", undefined],
    ["13-01", "13-01 is no date", undefined],
    ["2026-01-01..2026-02-30", "2026-02-30 is no date", undefined],
    [
      "2026-08-03..2026-07-20",
      "2026-08-03..2026-07-20 ends before it begins",
      "write 2026-07-20..2026-08-03",
    ],
  ] as const) {
    test(`${text} is none`, () =>
      expect(readItem(text)).toEqual(help === undefined ? { message } : { message, help }));
  }
});
