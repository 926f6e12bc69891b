/** Calendar files and their rules, against other implementations (test/oracle/ics.py), whose answers are recorded. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { readDay, textOfDay } from "../../src/workflow/calendar.ts";
import { daysOfIcs } from "../../src/workflow/ics.ts";
import { readRecurrence, recurrenceDays } from "../../src/workflow/recurrence.ts";

interface IcsRecord {
  readonly from: string;
  readonly to: string;
  readonly files: Readonly<Record<string, readonly string[]>>;
  readonly rules: readonly {
    readonly rule: string;
    readonly start: string;
    readonly days: { readonly count: number; readonly crc: number; readonly first: readonly string[] };
  }[];
}

const record: IcsRecord = JSON.parse(
  new TextDecoder().decode(
    Bun.gunzipSync(readFileSync(join(import.meta.dir, "../oracle/ics-record.json.gz"))),
  ),
);
const day = (text: string): number => readDay(text) ?? Number.NaN;
const [FROM, TO] = [day(record.from), day(record.to)];

describe("the days of a file", () => {
  for (const [name, expected] of Object.entries(record.files)) {
    test(name, () => {
      const result = daysOfIcs(readFileSync(join(import.meta.dir, "ics", name), "utf8"), FROM, TO);
      const days = result.ok ? result.days.map(textOfDay) : [`${result.line}: ${result.message}`];
      const more = days.length - 30;
      expect(more <= 0 ? days : [...days.slice(0, 30), `and ${more} more`]).toEqual([...expected]);
    });
  }
});

test("the days of 400 random rules", () => {
  // python-dateutil takes the last week of a year for that of the year before.
  const rules = record.rules.filter(({ rule }) => !/BYWEEKNO=(\d+,)?-1/.test(rule));
  expect(rules.length).toBeGreaterThan(380);
  const wrong = rules.flatMap(({ rule, start, days }) => {
    const parts = new Map(rule.split(";").map((part) => part.split("=") as [string, string]));
    const found: string[] = [];
    for (const each of recurrenceDays(readRecurrence(parts, 1), day(start), FROM, TO, { left: 1e7 }, 1))
      if (each >= FROM) found.push(textOfDay(each));
    const crc = Bun.hash.crc32(found.join(","));
    return crc === days.crc ? [] : [{ rule, start, days, found: [found.length, ...found.slice(0, 3)] }];
  });
  expect(wrong).toEqual([]);
});

const event = (...lines: string[]): string =>
  ["BEGIN:VCALENDAR", "BEGIN:VEVENT", ...lines, "END:VEVENT", "END:VCALENDAR", ""].join("\r\n");

describe("what is wrong with a file", () => {
  for (const [what, text, line, message, help] of [
    ["nothing in it", "", 1, "this is no calendar", "the file must begin with BEGIN:VCALENDAR"],
    ["no calendar", "hello: you\n", 1, "this is no calendar", "the file must begin with BEGIN:VCALENDAR"],
    [
      "HTML",
      "<!DOCTYPE html>\n<html>\n",
      1,
      "this is no line of a calendar",
      "lines are NAME:VALUE, and those that continue one begin with a blank",
    ],
    [
      "an event outside",
      "BEGIN:VEVENT\nEND:VEVENT\n",
      1,
      "BEGIN:VEVENT stands outside a calendar",
      "the file must begin with BEGIN:VCALENDAR",
    ],
    [
      "a file that is cut",
      event("DTSTART:20260101").slice(0, 50),
      4,
      "this is no line of a calendar",
      "lines are NAME:VALUE, and those that continue one begin with a blank",
    ],
    [
      "an event without an end",
      "BEGIN:VCALENDAR\nBEGIN:VEVENT\nEND:VCALENDAR\n",
      3,
      "END:VCALENDAR ends nothing",
      "END:VEVENT is missing",
    ],
    [
      "a calendar without an end",
      "BEGIN:VCALENDAR\nVERSION:2.0\n",
      3,
      "END:VCALENDAR is missing",
      "is the file complete?",
    ],
    ["an event without a start", event("SUMMARY:x"), 2, "the event has no DTSTART", undefined],
    [
      "a date that does not exist",
      event("SUMMARY:x", "DTSTART;VALUE=DATE:20260230"),
      4,
      '"20260230" is no date',
      "such as 20261225, or 20261225T080000",
    ],
    [
      "a duration that is none",
      event("DTSTART:20260101", "DURATION:1 day"),
      4,
      '"1 day" is not a duration',
      "such as P1D or PT8H",
    ],
    [
      "a rule by the hour",
      event("DTSTART:20260101", "RRULE:FREQ=HOURLY"),
      4,
      "FREQ=HOURLY makes no days",
      "a calendar knows YEARLY, MONTHLY, WEEKLY and DAILY",
    ],
    [
      "a rule without a frequency",
      event("DTSTART:20260101", "RRULE:COUNT=3"),
      4,
      "the rule has no FREQ",
      "a calendar knows YEARLY, MONTHLY, WEEKLY and DAILY",
    ],
    [
      "a part that nobody knows",
      event("DTSTART:20260101", "RRULE:FREQ=DAILY;BYMOON=1"),
      4,
      "BYMOON is not a part of a rule",
      "a rule has INTERVAL, COUNT, BYMONTH, BYMONTHDAY, BYYEARDAY, BYWEEKNO, BYDAY, BYSETPOS, WKST and UNTIL",
    ],
    [
      "a part without a value",
      event("DTSTART:20260101", "RRULE:FREQ"),
      4,
      '"FREQ" is not a part of a rule',
      undefined,
    ],
    [
      "an interval of nothing",
      event("DTSTART:20260101", "RRULE:FREQ=DAILY;INTERVAL=0"),
      4,
      "INTERVAL=0 is not a whole number from 1 to 10000",
      undefined,
    ],
    [
      "a month that does not exist",
      event("DTSTART:20260101", "RRULE:FREQ=YEARLY;BYMONTH=13"),
      4,
      "BYMONTH=13 is not a whole number from 1 to 12",
      undefined,
    ],
    [
      "a weekday that does not exist",
      event("DTSTART:20260101", "RRULE:FREQ=YEARLY;BYDAY=XX"),
      4,
      "BYDAY=XX is not a weekday",
      "weekdays are MO, TU, WE, TH, FR, SA and SU",
    ],
    [
      "a change of all that follows",
      event("DTSTART:20260101", "RECURRENCE-ID;RANGE=THISANDFUTURE:20260101"),
      4,
      "RANGE=THISANDFUTURE is not understood",
      "export the calendar with single events",
    ],
    [
      "too many days",
      event("DTSTART;VALUE=DATE:19000101", "DTEND;VALUE=DATE:29991231"),
      2,
      "the file has more than 20000 days",
      undefined,
    ],
    [
      "too many events",
      `BEGIN:VCALENDAR\n${"BEGIN:VEVENT\nDTSTART:20260101\nEND:VEVENT\n".repeat(5001)}END:VCALENDAR\n`,
      15_002,
      "the file has more than 5000 events",
      undefined,
    ],
    [
      "rules without an end in sight",
      `BEGIN:VCALENDAR\n${"BEGIN:VEVENT\nDTSTART:00010101\nRRULE:FREQ=DAILY;COUNT=999999;BYMONTH=2;BYMONTHDAY=30\nEND:VEVENT\n".repeat(6)}END:VCALENDAR\n`,
      12,
      "the rules of the file have too many days",
      "give them an end, or a later start",
    ],
    [
      "long events that touch the same days again and again",
      `BEGIN:VCALENDAR\n${"BEGIN:VEVENT\nDTSTART:20200101\nDURATION:P9000W\nEND:VEVENT\n".repeat(5000)}END:VCALENDAR\n`,
      2526,
      "the events of the file have too many days",
      "give them an end, or a later start",
    ],
  ] as const) {
    test(what, () => {
      const to = what === "too many days" ? day("2299-12-31") : TO;
      const from = what === "too many days" ? day("1900-01-01") : FROM;
      expect(daysOfIcs(text, from, to)).toEqual({ ok: false, line, message, help });
    });
  }

  test("what a rule lists again and again counts once", () => {
    const rule = readRecurrence(
      new Map([
        ["FREQ", "MONTHLY"],
        ["BYMONTHDAY", "1,1,-1,1"],
        ["BYDAY", "MO,MO,1MO"],
      ]),
      1,
    );
    expect(rule.monthDays).toEqual([1, -1]);
    expect(rule.weekdays).toHaveLength(2);
  });

  test("rules that began long ago are cheap", () => {
    const many = `BEGIN:VCALENDAR\n${"BEGIN:VEVENT\nDTSTART;VALUE=DATE:16010101\nRRULE:FREQ=YEARLY\nEND:VEVENT\n".repeat(300)}END:VCALENDAR\n`;
    expect(daysOfIcs(many, FROM, TO)).toMatchObject({ ok: true });
  });
});
