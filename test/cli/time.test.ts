import { expect, test } from "bun:test";
import {
  comingOption,
  instantOption,
  parseComing,
  parseInstant,
  parseSpan,
  spanOption,
} from "../../src/cli/support/time.ts";
import { UsageError } from "../../src/errors.ts";

const NOW = Date.UTC(2025, 0, 20, 12);

test.each([
  ["1h", 3_600_000],
  ["90s", 90_000],
  ["1h30m", 5_400_000],
  ["1h 30m", 5_400_000],
  ["1.5h", 5_400_000],
  ["2 days", 172_800_000],
  ["1w", 604_800_000],
  ["250ms", 250],
  ["10 Minutes", 600_000],
])("the span %p is %p ms", (text, ms) => expect(parseSpan(text)).toBe(ms));

test.each(["", "h", "1", "1x", "1h x", "-1h", "constructor"])("%p is no span", (text) => {
  expect(parseSpan(text)).toBeUndefined();
  expect(() => spanOption(text, "--last")).toThrow(UsageError);
});

test("a span that is too long is refused in the words of the option", () => {
  expect(spanOption("366d", "--next", 366 * 86_400_000)).toBe(366 * 86_400_000);
  for (const text of ["367d", `${"9".repeat(30)}d`])
    expect(() => spanOption(text, "--next", 366 * 86_400_000)).toThrow(`--next ${text} is too long.`);
});

test.each([
  ["now", NOW],
  ["2h ago", NOW - 7_200_000],
  ["1737374400000", 1_737_374_400_000],
  ["2025-01-20T02:00:00Z", Date.UTC(2025, 0, 20, 2)],
  ["2025-01-20T02:00:00+02:00", Date.UTC(2025, 0, 20, 0)],
  ["2025-01-20T02:00:00+0200", Date.UTC(2025, 0, 20, 0)],
  ["2025-01-20 02:00Z", Date.UTC(2025, 0, 20, 2)],
  ["2025-01-20T02:00:00.123456Z", Date.UTC(2025, 0, 20, 2, 0, 0, 123)],
  ["2025-01-20T02:00", new Date(2025, 0, 20, 2).getTime()],
  ["2025-01-20", new Date(2025, 0, 20).getTime()],
])("the time %p", (text, ms) => expect(parseInstant(text, NOW)).toBe(ms));

test.each([
  "",
  "yesterday",
  "2025-02-30",
  "2025-13-01T00:00Z",
  "25:00",
  "ago",
  "1h",
  "12345678",
  "2025-01-20T25:00Z",
])("%p is no time", (text) => {
  expect(parseInstant(text, NOW)).toBeUndefined();
  expect(() => instantOption(text, "--since", NOW)).toThrow(UsageError);
});

/** The 20th of January 2025 at 12:00, local time. */
const NOON = new Date(2025, 0, 20, 12).getTime();
const on = (day: number, ...time: number[]) => new Date(2025, 0, day, ...time).getTime();

test.each([
  ["13:30", on(20, 13, 30)],
  ["12:00", on(21, 12)],
  ["02:00", on(21, 2)],
  ["2:00:30", on(21, 2, 0, 30)],
  ["today 02:00", on(20, 2)],
  ["Tomorrow  02:00", on(21, 2)],
  ["2025-01-25 02:00", on(25, 2)],
  ["2025-01-25T02:00:00Z", Date.UTC(2025, 0, 25, 2)],
])("the coming time %p", (text, ms) => expect(parseComing(text, NOON)).toBe(ms));

test.each([
  ["25:00", "--at 25:00 is not a time."],
  ["12:60", "--at 12:60 is not a time."],
  ["soon", "--at soon is not a time."],
  ["today 11:59", "--at today 11:59 is in the past."],
  ["2025-01-19", "--at 2025-01-19 is in the past."],
])("%p does not come any more", (text, message) => {
  expect(() => comingOption(text, "--at", NOON, "Without --at and --in, a run starts at once.")).toThrow(
    message,
  );
});
