/**
 * Calendars: sets of local days on which a schedule may fire. A calendar has a day if one of its `include` items does (without any: always)
 * and none of its `exclude` items does.
 */
import { aheadMs } from "./expressions/dates.ts";

/** A local date, as the number of days since 1970-01-01. */
export type Day = number;

/** What a calendar in `_cdktr.yml` lists. */
export interface CalendarSpec {
  /** Items such as `MON-FRI`, `2026-12-25`, `12-25` (each year) and `2026-07-20..2026-08-03`, which {@link readItem} has accepted. */
  readonly include?: readonly string[] | undefined;
  readonly exclude?: readonly string[] | undefined;
}

/** The days of calendar files. */
export interface FileDays {
  /** Null: no file says which days are in it. */
  readonly include: readonly Day[] | null;
  readonly exclude: readonly Day[];
}

/** A set of days. */
export interface Calendar {
  /** What it is made of, as plain JSON: {@link calendarOf} makes the same of it. */
  readonly source: { readonly items: CalendarSpec; readonly files: FileDays };
  has(day: Day): boolean;
  /** The first day after this one that is in it; null if there is none within 10 years. */
  nextDay(day: Day): Day | null;
  /** The last day before this one that is in it; null if there is none within 10 years. */
  previousDay(day: Day): Day | null;
}

const DAY_MS = 86_400_000;
/** How far the next day of a calendar may be, in days. */
const FAR_DAYS = 3660;
const NO_FILES: FileDays = { include: null, exclude: [] };

/** The calendar of these items and days of files. */
export function calendarOf(items: CalendarSpec, files: FileDays = NO_FILES): Calendar {
  const { include, exclude } = items;
  const hasAll = include === undefined && files.include === null;
  const isIncluded = hasAll ? () => true : setOf(include ?? [], files.include ?? []);
  const isExcluded = setOf(exclude ?? [], files.exclude);
  const has = (day: Day): boolean => isIncluded(day) && !isExcluded(day);
  const search = (from: Day, step: 1 | -1): Day | null => {
    for (let n = 1; n <= FAR_DAYS; n++) if (has(from + n * step)) return from + n * step;
    return null;
  };
  const source = { items, files };
  return { source, has, nextDay: (day) => search(day, 1), previousDay: (day) => search(day, -1) };
}

/** The local date at a time. @param ms since the epoch @param zone IANA name */
export function dayOf(ms: number, zone: string): Day {
  return Math.floor((ms + aheadMs(ms, zone)) / DAY_MS);
}

/** The first instant of a local date, ms since the epoch; that of the next one if the clock skips all of it. @param zone IANA name */
export function startOfDay(day: Day, zone: string): number {
  const midnight = day * DAY_MS;
  const starts = [-DAY_MS, 0, DAY_MS]
    .map((away) => midnight - aheadMs(midnight + away, zone))
    .filter((at) => dayOf(at, zone) >= day && dayOf(at - 1, zone) < day);
  if (starts.length > 0) return Math.min(...starts);
  // The clock jumps over midnight from some time before to some time after it.
  let [before, after] = [midnight - 2 * DAY_MS, midnight + 2 * DAY_MS];
  while (after - before > 1) {
    const middle = Math.floor((before + after) / 2);
    if (dayOf(middle, zone) < day) before = middle;
    else after = middle;
  }
  return after;
}

/** The day of a date such as `2026-12-25`; null if there is no such date. */
export function readDay(text: string): Day | null {
  const ms = /^\d{4}-\d{2}-\d{2}$/.test(text) ? Date.parse(text) : Number.NaN;
  // 30 February comes back as another date, or as none.
  return Number.isNaN(ms) || textOfDay(ms / DAY_MS) !== text ? null : ms / DAY_MS;
}

/** A day as a date such as `2026-12-25`. */
export function textOfDay(day: Day): string {
  return new Date(day * DAY_MS).toISOString().slice(0, 10);
}

/** What is wrong with an item of a calendar. */
export interface ItemProblem {
  readonly message: string;
  readonly help?: string | undefined;
}

/** Checks an item of a calendar, and returns it in its normal spelling. */
export function readItem(text: string): string | ItemProblem {
  const item = parseItem(text.trim().toUpperCase());
  return "message" in item ? item : item.text;
}

/** Whether items, without files, leave any day at all. */
export function hasAnyDay(spec: CalendarSpec): boolean {
  const calendar = calendarOf(spec);
  const last = Date.UTC(2200, 0) / DAY_MS;
  for (let day = 0; day < last; day++) if (calendar.has(day)) return true;
  return false;
}

/** Sunday is 0. */
const WEEKDAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/** An item; each part is inclusive. */
type Item = { readonly text: string } & (
  | { readonly kind: "weekdays"; readonly days: readonly number[] }
  | { readonly kind: "dates"; readonly from: Day; readonly to: Day }
  /** Month × 100 + day. From the end of a year to the start of the next if `from` is the larger one. */
  | { readonly kind: "yearly"; readonly from: number; readonly to: number }
);

const HELP = "such as MON-FRI, 2026-12-25, 12-25, 2026-07-20..2026-08-03";

function parseItem(text: string): Item | ItemProblem {
  const [first = "", last = first, ...more] = text.split(/\s*\.\.\s*/);
  if (more.length === 0 && /^\d/.test(first)) return parseDates(text, first, last);
  const [from = "", to = from, ...others] = text.split(/\s*-\s*/);
  const [start, end] = [weekday(from), weekday(to)];
  if (start < 0 || end < 0 || others.length > 0)
    return { message: `"${text}" is neither a weekday, a date nor a range`, help: HELP };
  const count = ((end - start + 7) % 7) + 1;
  const days = Array.from({ length: count }, (_, n) => (start + n) % 7);
  return { kind: "weekdays", days, text: start === end ? nameOf(start) : `${nameOf(start)}-${nameOf(end)}` };
}

function weekday(text: string): number {
  return WEEKDAYS.findIndex((name, n) => text === name || text === LONG_NAMES[n]);
}

const LONG_NAMES = ["SUNDAY", "MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY"];

function nameOf(day: number): string {
  return WEEKDAYS[day] ?? "";
}

function parseDates(text: string, first: string, last: string): Item | ItemProblem {
  const isYearly = /^\d{2}-\d{2}$/.test(first) && /^\d{2}-\d{2}$/.test(last);
  const isDated = /^\d{4}-\d{2}-\d{2}$/.test(first) && /^\d{4}-\d{2}-\d{2}$/.test(last);
  if (!isYearly && !isDated)
    return { message: `"${text}" is neither a weekday, a date nor a range`, help: HELP };
  // 29 February is a day of some years.
  for (const date of [first, last])
    if (readDay(isYearly ? `2024-${date}` : date) === null) return { message: `${date} is no date` };
  const spelled = first === last ? first : `${first}..${last}`;
  if (isYearly) {
    const [from, to] = [Number(first.replace("-", "")), Number(last.replace("-", ""))];
    return { kind: "yearly", from, to, text: spelled };
  }
  const [from, to] = [readDay(first) ?? 0, readDay(last) ?? 0];
  if (to < from) return { message: `${spelled} ends before it begins`, help: `write ${last}..${first}` };
  return { kind: "dates", from, to, text: spelled };
}

/** Whether a day is one of these. */
function setOf(items: readonly string[], days: readonly Day[]): (day: Day) => boolean {
  const weekdays = new Set<number>();
  const single = new Set<Day>(days);
  const ranges: { from: Day; to: Day }[] = [];
  const yearly: { from: number; to: number }[] = [];
  for (const text of items) {
    const item = parseItem(text);
    if ("message" in item) continue;
    if (item.kind === "weekdays") for (const day of item.days) weekdays.add(day);
    else if (item.kind === "yearly") yearly.push(item);
    else if (item.from === item.to) single.add(item.from);
    else ranges.push(item);
  }
  return (day) =>
    // 1970-01-01 was a Thursday.
    weekdays.has((((day + 4) % 7) + 7) % 7) ||
    single.has(day) ||
    ranges.some(({ from, to }) => from <= day && day <= to) ||
    (yearly.length > 0 && isYearly(day, yearly));
}

function isYearly(day: Day, items: readonly { readonly from: number; readonly to: number }[]): boolean {
  const date = new Date(day * DAY_MS);
  const at = (date.getUTCMonth() + 1) * 100 + date.getUTCDate();
  return items.some(({ from, to }) => (from <= to ? from <= at && at <= to : at >= from || at <= to));
}
