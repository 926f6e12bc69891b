import { describe, expect, test } from "bun:test";
import type { LogLine } from "../../src/contract/log-line.ts";
import { LogBuffer, MAX_LINES, NO_FILTER } from "../../src/tui/logs/log-buffer.ts";
import { jumpToTime, newLogView, nextMatch, parseMoment, scrollLog } from "../../src/tui/logs/log-view.ts";
import { line, NOW } from "./fixtures.ts";

const lines = (from: number, to: number): LogLine[] =>
  Array.from({ length: to - from }, (_, i) => line(from + i));
const texts = (buffer: LogBuffer) => buffer.shown.map((shown) => shown.payload);

describe("history and live lines are joined without gap or double", () => {
  test("wherever the subscription began", () => {
    const all = lines(0, 30);
    for (let subscribed = 0; subscribed <= 20; subscribed++) {
      // The history was read when 20 lines were there; more came live before its answer, and after.
      const buffer = new LogBuffer();
      for (const one of all.slice(subscribed, 25)) buffer.append(one);
      buffer.merge(all.slice(0, 20));
      for (const one of all.slice(25)) buffer.append(one);
      expect(texts(buffer)).toEqual(all.map((one) => one.payload));
    }
  });

  test("equal lines in one millisecond are counted, not told apart", () => {
    const same = Array.from({ length: 5 }, () => line(1));
    const buffer = new LogBuffer();
    for (const one of same.slice(2)) buffer.append(one);
    buffer.merge(same.slice(0, 4));
    // Three came live, of which the history has all that it can have: one more is to be confirmed at most.
    expect(buffer.size).toBe(4);
    buffer.merge(same);
    expect(buffer.size).toBe(5);
    expect(buffer.merge(same)).toBe(0);
  });

  test("what was missed while the connection was lost is filled in, in its place", () => {
    const all = lines(0, 30);
    const buffer = new LogBuffer();
    buffer.merge(all.slice(0, 10));
    for (const one of all.slice(10, 15)) buffer.append(one);
    for (const one of all.slice(20, 28)) buffer.append(one);
    expect(buffer.merge(all.slice(9))).toBe(7);
    expect(texts(buffer)).toEqual(all.map((one) => one.payload));
  });

  test("the order of the database counts, and lines that it does not have yet stay", () => {
    const [a, b, c, d, e] = lines(0, 5) as [LogLine, LogLine, LogLine, LogLine, LogLine];
    const buffer = new LogBuffer();
    // As they come live from two agents; the database does not have c yet, and has two of the same time in another order.
    const twin = { ...b, payload: "twin" };
    for (const one of [b, a, twin, e, c]) buffer.append(one);
    expect(buffer.merge([a, twin, b, d, e])).toBe(1);
    expect(texts(buffer)).toEqual([a, twin, b, c, d, e].map((one) => one.payload));
    const { version } = buffer;
    expect(buffer.merge([a, twin, b])).toBe(0);
    expect(buffer.merge([])).toBe(0);
    expect(buffer.version).toBe(version);
  });

  test("older lines go in front, and those that are here already are passed over", () => {
    const all = lines(0, 20);
    const buffer = new LogBuffer();
    buffer.merge(all.slice(10));
    expect(buffer.merge(all.slice(5, 11))).toBe(5);
    expect(texts(buffer)).toEqual(all.slice(5).map((one) => one.payload));
  });
});

test("filters: task, level, text; all of them at once, also for lines that come later", () => {
  const buffer = new LogBuffer();
  buffer.merge(lines(0, 30));
  buffer.setFilter({ ...NO_FILTER, task: "Task orders" });
  expect(buffer.shown).toHaveLength(10);
  buffer.setFilter({ task: "Task orders", level: "ERROR", text: "ROW" });
  expect(buffer.shown).toHaveLength(0);
  buffer.setFilter({ task: "Task orders", level: "ERROR", text: "row" });
  expect(texts(buffer)).toEqual([line(27).payload]);
  buffer.append(line(57));
  buffer.append(line(58));
  expect(texts(buffer)).toEqual([line(27).payload, line(57).payload]);
  buffer.setFilter(NO_FILTER);
  expect(buffer.shown).toHaveLength(32);
});

test("search: small letters match capitals, capitals only themselves; later lines are searched too", () => {
  const buffer = new LogBuffer();
  buffer.append(line(0, { payload: "Error one" }));
  buffer.append(line(1, { payload: "no error" }));
  buffer.setSearch("error");
  expect(buffer.matches).toEqual([0, 1]);
  buffer.setSearch("Error");
  expect(buffer.matches).toEqual([0]);
  buffer.append(line(2, { payload: "Error two" }));
  expect(buffer.matches).toEqual([0, 2]);
});

test("next and previous match go around, and show the line", () => {
  const view = newLogView({ kind: "all" });
  view.height = 10;
  view.buffer.merge(lines(0, 100));
  view.buffer.setSearch("row 3");
  expect(view.buffer.matches[0]).toBe(3);
  expect(nextMatch(view, -1)).toBe(true);
  expect(view.match).toBe(39);
  expect(view.follow).toBe(false);
  expect(view.top).toBeLessThanOrEqual(39);
  nextMatch(view, 1);
  expect(view.match).toBe(3);
  view.buffer.setSearch("not there");
  expect(nextMatch(view, 1)).toBe(false);
});

test("scrolling up pauses, reaching the end follows again", () => {
  const view = newLogView({ kind: "all" });
  view.height = 10;
  view.buffer.merge(lines(0, 100));
  scrollLog(view, -5);
  expect([view.follow, view.top]).toEqual([false, 85]);
  view.buffer.append(line(101));
  expect(view.top).toBe(85);
  scrollLog(view, 100);
  expect(view.follow).toBe(true);
});

test("more lines than are kept: the oldest go, and what is counted stays right", () => {
  const buffer = new LogBuffer();
  buffer.setSearch("row 1");
  for (let i = 0; i < MAX_LINES + 1; i++) buffer.append(line(i % 1000));
  expect(buffer.size).toBeLessThanOrEqual(MAX_LINES);
  expect(buffer.dropped + buffer.shown.length).toBe(MAX_LINES + 1);
  for (const index of buffer.matches.slice(0, 50)) expect(buffer.shown[index]?.text).toContain("row 1");
});

test("times as people type them", () => {
  expect(parseMoment("-5m", NOW)).toBe(NOW - 300_000);
  expect(parseMoment("09:58:30", NOW)).toBe(NOW - 90_000);
  // Later than now: it was yesterday.
  expect(parseMoment("23:00", NOW)).toBe(NOW - 11 * 3_600_000);
  expect(parseMoment("2026-03-01 10:00", NOW)).toBe(NOW - 3 * 86_400_000);
  for (const wrong of ["", "noon", "25:00", "10:61", "-5", "10"]) expect(parseMoment(wrong, NOW)).toBeNull();
});

test("jumping to a time shows the first line from then on", () => {
  const view = newLogView({ kind: "all" });
  view.height = 10;
  view.buffer.merge(lines(0, 100));
  jumpToTime(view, line(50).timestamp_ms);
  expect([view.follow, view.top]).toEqual([false, 50]);
  jumpToTime(view, NOW * 2);
  expect(view.top).toBe(90);
});

test("searching letter by letter finds what searching at once finds", () => {
  const words = ["a.b*c", "A.B*C", "a+b", "(x) [y] {z} ^$|\\", "aXb"];
  const buffer = new LogBuffer();
  for (let i = 0; i < 200; i++) buffer.append(line(i, { payload: `${words[i % words.length]} ${i}` }));
  for (const text of ["a.b*c 1", "A.B", "(x) [y] {z} ^$|\\", "ax", "1", "b*"]) {
    const whole = new LogBuffer();
    whole.merge(buffer.all);
    whole.setSearch(text);
    for (let i = 1; i <= text.length; i++) buffer.setSearch(text.slice(0, i));
    expect([text, buffer.matches]).toEqual([text, whole.matches]);
    buffer.setSearch("");
  }
});
