/** `pools:` and `calendars:` of the workflow directory, as they are written, and schedules that name them. */
import { describe, expect, test } from "bun:test";
import { calendarOf } from "../../src/workflow/calendar.ts";
import { checkCalendars, checkDays } from "../../src/workflow/check-calendars.ts";
import { parseSettings } from "../../src/workflow/settings-file.ts";

function settingsOf(text: string) {
  const result = parseSettings(text, "_cdktr.yml", true);
  return result.ok
    ? result.settings
    : result.diagnostics.map(({ code, line, column, message, help }) =>
        [`${code} ${line}:${column}: ${message}`, ...(help === null ? [] : [help])].join(" → "),
      );
}

const DAYS = "such as MON-FRI, 2026-12-25, 12-25, 2026-07-20..2026-08-03";

describe("settings of the workflow directory", () => {
  for (const [text, settings] of [
    ["pools: {warehouse: 4, closed: 0}", { pools: { warehouse: 4, closed: 0 } }],
    ["pools: {}", { pools: {} }],
    ["calendars: {c: {include: MON-FRI}}", { calendars: { c: { include: ["MON-FRI"] } } }],
    [
      "calendars: {c: {include: [sat, 12-24..01-02], exclude: 2026-12-25}}",
      { calendars: { c: { include: ["SAT", "12-24..01-02"], exclude: ["2026-12-25"] } } },
    ],
    ["calendars: {c: {}}", { calendars: { c: {} } }],
    ["calendars: {c: {ics: ./a/b.ics}}", { calendars: { c: { ics: [{ file: "a/b.ics", as: "exclude" }] } } }],
    [
      "calendars: {c: {ics: [a.ics, {file: b.ics, as: include}]}}",
      {
        calendars: {
          c: {
            ics: [
              { file: "a.ics", as: "exclude" },
              { file: "b.ics", as: "include" },
            ],
          },
        },
      },
    ],
    ["calendars: {c: {ics: {file: b.ics, as: include}, exclude: MON-SUN}}", undefined],
  ] as const) {
    test(text, () => {
      if (settings === undefined) expect(Array.isArray(settingsOf(text))).toBe(false);
      else expect(settingsOf(text)).toEqual(settings as never);
    });
  }

  for (const [text, ...problems] of [
    [
      "pools: {x: many}",
      'E094 1:12: "x" in pools must be a whole number of slots from 0 to 100000, not "many"',
    ],
    ["pools: {x: -1}", 'E094 1:12: "x" in pools must be a whole number of slots from 0 to 100000, not "-1"'],
    [
      "pools: {x: 1.5}",
      'E094 1:12: "x" in pools must be a whole number of slots from 0 to 100000, not "1.5"',
    ],
    [
      "pools: {x: 100001}",
      'E094 1:12: "x" in pools must be a whole number of slots from 0 to 100000, not "100001"',
    ],
    [
      'pools: {"a b": 1}',
      'E094 1:9: "a b" is not a valid name for a pool → use letters, digits, _, - and ., at most 200',
    ],
    ["pools: [x]", 'E012 1:1: "pools" must be a mapping, not a list'],
    [
      "pools: {x: '${{ 1 }}'}",
      "E064 1:12: expressions are not allowed in the settings of a directory → write the value itself",
      'E094 1:12: "x" in pools must be a whole number of slots from 0 to 100000, not "${{ 1 }}"',
    ],
    [
      `pools: {${Array.from({ length: 1001 }, (_, n) => `p${n}: 1`).join(", ")}}`,
      "E094 1:1: there are 1001 pools; at most 1000 are allowed",
    ],
    [
      "calendars: {c: {include: MON-FRU}}",
      `E045 1:26: "include" in c of calendars: "MON-FRU" is neither a weekday, a date nor a range → ${DAYS}`,
    ],
    [
      "calendars: {c: {include: [2026-02-30]}}",
      'E045 1:27: entry 1 of "include" in c of calendars: 2026-02-30 is no date',
    ],
    [
      "calendars: {c: [MON]}",
      'E012 1:13: "c" in calendars must be a mapping, not a list → such as workdays: {include: [MON-FRI]}',
    ],
    [
      "calendars: {c: {exclude: MON-SUN}}",
      'E045 1:13: calendar "c" has no day at all → exclude fewer days, or include some',
    ],
    [
      "calendars: {c d: {}}",
      'E045 1:13: "c d" is not a valid name for a calendar → use letters, digits, _, - and ., at most 100',
    ],
    [
      "calendars: {c: {ics: ../x.ics}}",
      'E045 1:22: "ics" in c of calendars must be the path of a file below the workflow directory → such as holidays.ics',
    ],
    [
      "calendars: {c: {ics: /etc/x.ics}}",
      'E045 1:22: "ics" in c of calendars must be the path of a file below the workflow directory → such as holidays.ics',
    ],
    [
      "calendars: {c: {ics: [x.txt]}}",
      'E045 1:23: entry 1 of "ics" in c of calendars must be the path of a file whose name ends in .ics → hidden files are not read',
    ],
    [
      "calendars: {c: {ics: .x.ics}}",
      'E045 1:22: "ics" in c of calendars must be the path of a file whose name ends in .ics → hidden files are not read',
    ],
    [
      "calendars: {c: {ics: {file: x.ics, as: holiday}}}",
      'E014 1:40: "as" in ics of c of calendars must be "include" or "exclude", not "holiday"',
    ],
    ["polls: {x: 1}", 'E010 1:1: unknown key "polls" → did you mean "pools"?'],
  ] as const) {
    test(text.slice(0, 60), () => expect(settingsOf(text)).toEqual([...problems] as never));
  }
});

describe("a schedule", () => {
  const entry = { cron: "0 2 * * FRI", timezone: null, start_time_ms: null, catchup: "latest" } as const;
  const calendars = new Map([
    ["workdays", calendarOf({ include: ["MON-FRI"] })],
    ["weekend", calendarOf({ include: ["SAT", "SUN"] })],
  ]);

  test("whose calendar does not exist is told", () => {
    const problems = checkCalendars(
      [
        entry,
        { ...entry, calendar: "workday" },
        { ...entry, calendar: "workdays" },
        { ...entry, calendar: "xyz" },
      ],
      calendars,
    );
    expect(problems).toEqual([
      {
        code: "W021",
        message: 'there is no calendar "workday"',
        help: 'did you mean "workdays"? Calendars are in _cdktr.yml of the workflow directory',
        path: ["cron", 1, "calendar"],
      },
      {
        code: "W021",
        message: 'there is no calendar "xyz"',
        help: "an entry that names it does not fire; calendars are in _cdktr.yml of the workflow directory",
        path: ["cron", 3, "calendar"],
      },
    ]);
  });

  test("whose calendar has none of its days is told", () => {
    const entries = ["workdays", "weekend", "gone"].map((calendar) => ({ ...entry, calendar }));
    expect(checkDays(entries, calendars, Date.UTC(2026, 0, 1))).toEqual([
      {
        code: "W019",
        message: 'it never fires: the calendar "weekend" has none of its days in the next 10 years',
        help: "check both; 'cdktr docs scheduling' has what a calendar may list",
        path: ["cron", 1, "calendar"],
      },
    ]);
  });
});
