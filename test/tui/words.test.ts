import { expect, test } from "bun:test";
import { cronInWords } from "../../src/terminal/cron-words.ts";
import { mergeRuns } from "../../src/tui/feeds/merge-runs.ts";
import { age, count, duration, kibibytes, moment, until } from "../../src/tui/format.ts";
import { matcher } from "../../src/tui/lists/filter.ts";
import { editLine, newEditor } from "../../src/tui/overlays/line-editor.ts";
import { NOW, run } from "./fixtures.ts";

test.each([
  ["0 0 2 * * *", "every day at 02:00"],
  ["30 4 * * MON-FRI", "at 04:30, Monday to Friday"],
  ["0 */15 * * * *", "every 15 minutes"],
  ["*/10 * * * * *", "every 10 seconds"],
  ["* * * * *", "every minute"],
  ["0 0 * * * *", "every hour"],
  ["15 * * * *", "every hour at minute 15"],
  ["0 0 */6 * * *", "every 6 hours at minute 0"],
  ["0 0,30 8,20 * * *", "every day at 08:00, 08:30, 20:00 and 20:30"],
  ["0 0 9 1 * *", "at 09:00, on day 1 of the month"],
  ["0 0 9 L * *", "at 09:00, on the last day of the month"],
  ["0 0 9 1 JAN,JUL *", "at 09:00, on day 1 of the month, in January and July"],
  ["0 0 9 * * 0", "at 09:00, Sunday"],
  ["0 */5 9-17 * * 1-5", "every 5 minutes from 09:00 to 17:59, Monday to Friday"],
  ["@daily", "every day at 00:00"],
  ["@hourly", "every hour"],
  // What has no simple words stays what it is.
  ["0 0 9 15W * *", "0 0 9 15W * *"],
  ["0 1-5/2 * * * *", "0 1-5/2 * * * *"],
  ["nonsense", "nonsense"],
])("cron %p is %p", (expression, words) => {
  expect(cronInWords(expression)).toBe(words);
});

test("times and sizes", () => {
  expect([850, 4200, 59_000, 59_999, 192_000, 7_500_000, 273_600_000].map(duration)).toEqual([
    "850ms",
    "4.2s",
    "59s",
    "1m00s",
    "3m12s",
    "2h05m",
    "3d04h",
  ]);
  expect([0, 59_999, 60_000, 3_600_000, 172_800_000].map(age)).toEqual(["0s", "59s", "1m", "1h", "2d"]);
  expect([until(500), until(240_000)]).toEqual(["now", "in 4m"]);
  expect([moment(NOW, NOW), moment(NOW - 86_400_000, NOW)]).toEqual(["10:00:00", "Tue 3 Mar 10:00"]);
  expect([812, 45_678, 1_300_000].map(kibibytes)).toEqual(["812K", "45M", "1.2G"]);
  expect([count(1, "run"), count(10_000, "run")]).toEqual(["1 run", "10,000 runs"]);
});

test("a filter's words must all occur, those with ! must not", () => {
  const matches = matcher("etl FAIL !weekly");
  expect(matches("etl.daily FAILED")).toBe(true);
  expect(matches("etl.weekly FAILED")).toBe(false);
  expect(matches("etl.daily COMPLETED")).toBe(false);
  expect(matcher("  ")("anything")).toBe(true);
  expect(matcher("!")("anything")).toBe(true);
});

test("runs are merged newest first; a page without news changes nothing", () => {
  const known = mergeRuns([], [run(1, "RUNNING"), run(2, "COMPLETED")]);
  expect(mergeRuns(known, [run(1, "RUNNING")], [run(2, "COMPLETED")])).toBe(known);
  const next = mergeRuns(known, [run(0, "PENDING")], [run(1, "COMPLETED")]);
  expect(next.map((one) => one.status)).toEqual(["PENDING", "COMPLETED", "COMPLETED"]);
  expect(known.map((one) => one.status)).toEqual(["RUNNING", "COMPLETED"]);
});

test("typing a line", () => {
  const editor = newEditor("one two");
  const keys = (...names: string[]) => names.map((name) => editLine(editor, name));
  keys("CTRL_W", "x", "é", "東", "LEFT", "BACKSPACE");
  expect(editor).toEqual({ text: "one x東", cursor: 5 });
  keys("HOME", "DELETE", "END", "!", "CTRL_A", "A");
  expect(editor.text).toBe("Ane x東!");
  expect(keys("UP", "F5", "CTRL_C", "ALT_X")).toEqual([false, false, false, false]);
  keys("CTRL_E", "CTRL_U");
  expect(editor).toEqual({ text: "", cursor: 0 });
});
