/** Times that schedules share in a forecast. */
import { expect, test } from "bun:test";
import { Beats } from "../../../src/principal/forecast/beats.ts";
import { calendarOf } from "../../../src/workflow/calendar.ts";

const NOW = Date.parse("2026-01-05T00:00:00Z");

/** Times of each second, on all days, and how often it was asked whether a day counts. */
function eachSecond() {
  const days = calendarOf({});
  const asked = { times: 0 };
  const counting = {
    ...days,
    has: (day: number) => {
      asked.times++;
      return days.has(day);
    },
  };
  const entry = {
    cron: "* * * * * *",
    timezone: null,
    start_time_ms: null,
    catchup: "none",
    calendar: "days",
  } as const;
  return { beats: new Beats(NOW, new Map([["days", counting]])), entry, asked };
}

for (const [jitter, offsetMs] of [
  ["no jitter", 0],
  ["some ms", 1],
  ["seconds", 5000],
  ["exactly a step", 300_000],
  ["hours", 7 * 3_600_000 + 123],
  ["a day", 86_400_000],
] as const)
  test(`a firing each second with ${jitter} is found without a look at those of a whole day`, () => {
    const { beats, entry, asked } = eachSecond();
    const cursor = beats.cursor(entry, "UTC", offsetMs);
    const first = cursor.next();
    const at_ms = Math.floor((NOW - offsetMs) / 1000 + 1) * 1000;
    expect(first).toEqual({ at_ms, fires_ms: at_ms + offsetMs });
    expect(cursor.next()?.at_ms).toBe(at_ms + 1000);
    expect(asked.times).toBeLessThan(310);
  });

test("schedules with nearly the same jitter share their times", () => {
  const { beats, entry, asked } = eachSecond();
  beats.cursor(entry, "UTC", 4000).next();
  const { times } = asked;
  beats.cursor(entry, "UTC", 3000).next();
  expect(asked.times - times).toBeLessThan(3);
});
