/** The days of recurrence rules of calendars (RRULE of RFC 5545). Times within a day are not looked at. */
import type { Day } from "./calendar.ts";
import { IcsProblem } from "./ics-lines.ts";

/** A rule. */
export interface Recurrence {
  readonly frequency: "YEARLY" | "MONTHLY" | "WEEKLY" | "DAILY";
  readonly interval: number;
  readonly count: number | undefined;
  readonly months: readonly number[];
  readonly monthDays: readonly number[];
  readonly yearDays: readonly number[];
  readonly weeks: readonly number[];
  /** Sunday is 0; the nth of the month or year, 0 for each. */
  readonly weekdays: readonly { readonly day: number; readonly nth: number }[];
  readonly positions: readonly number[];
  /** The first day of a week; Sunday is 0. */
  readonly weekStart: number;
}

const WEEKDAYS = ["SU", "MO", "TU", "WE", "TH", "FR", "SA"];
const DAY_MS = 86_400_000;
/** Parts that decide about times of a day. */
const OF_TIMES = new Set(["BYHOUR", "BYMINUTE", "BYSECOND", "UNTIL"]);

/**
 * Reads a rule; its `UNTIL` is the caller's affair.
 * @throws IcsProblem
 */
export function readRecurrence(parts: ReadonlyMap<string, string>, line: number): Recurrence {
  const fail = (message: string, help?: string): never => {
    throw new IcsProblem(line, message, help);
  };
  const frequency = parts.get("FREQ") ?? "";
  if (frequency !== "YEARLY" && frequency !== "MONTHLY" && frequency !== "WEEKLY" && frequency !== "DAILY")
    return fail(
      frequency === "" ? "the rule has no FREQ" : `FREQ=${frequency} makes no days`,
      "a calendar knows YEARLY, MONTHLY, WEEKLY and DAILY",
    );
  const known = [
    "FREQ",
    "INTERVAL",
    "COUNT",
    "BYMONTH",
    "BYMONTHDAY",
    "BYYEARDAY",
    "BYWEEKNO",
    "BYDAY",
    "BYSETPOS",
    "WKST",
  ];
  for (const name of parts.keys())
    if (!known.includes(name) && !OF_TIMES.has(name) && !name.startsWith("X-"))
      fail(`${name} is not a part of a rule`, `a rule has ${known.slice(1).join(", ")} and UNTIL`);
  const number = (name: string, fallback: number, max: number): number => {
    const text = parts.get(name);
    const value = text === undefined ? fallback : Number(text);
    const isValid = Number.isSafeInteger(value) && value >= 1 && value <= max;
    return isValid ? value : fail(`${name}=${text} is not a whole number from 1 to ${max}`);
  };
  const numbers = (name: string, max: number, isSigned: boolean): number[] =>
    listed(parts, name).map((text) => {
      const value = /^[+-]?\d+$/.test(text) ? Number(text) : 0;
      const isValid = value !== 0 && Math.abs(value) <= max && (isSigned || value > 0);
      return isValid
        ? value
        : fail(`${name}=${text} is not a whole number ${isSigned ? `from -${max}` : "from 1"} to ${max}`);
    });
  const weekday = (text: string, name: string): number => {
    const day = WEEKDAYS.indexOf(text);
    return day >= 0
      ? day
      : fail(`${name}=${text} is not a weekday`, "weekdays are MO, TU, WE, TH, FR, SA and SU");
  };
  const weekdays = listed(parts, "BYDAY").map((text) => {
    const [, nth = "", day = text] = /^([+-]?\d{1,2})?([A-Z]{2})$/.exec(text) ?? [];
    return { day: weekday(day, "BYDAY"), nth: Number(nth) };
  });
  return {
    frequency,
    interval: number("INTERVAL", 1, 10_000),
    count: parts.has("COUNT") ? number("COUNT", 1, 1_000_000) : undefined,
    months: numbers("BYMONTH", 12, false),
    monthDays: numbers("BYMONTHDAY", 31, true),
    yearDays: numbers("BYYEARDAY", 366, true),
    weeks: numbers("BYWEEKNO", 53, true),
    weekdays,
    positions: numbers("BYSETPOS", 366, true),
    weekStart: weekday(parts.get("WKST") ?? "MO", "WKST"),
  };
}

/** What a part lists, each once: it is looked at for each day. */
function listed(parts: ReadonlyMap<string, string>, name: string): string[] {
  return [...new Set(parts.get(name)?.split(","))];
}

/** How many days may still be looked at: rules are read in a process of which others wait. */
export interface Budget {
  left: number;
}

/** Looks at days. @throws IcsProblem if the budget is used up */
export function spend(budget: Budget, days: number, line: number, what = "rules"): void {
  budget.left -= days;
  if (budget.left < 0)
    throw new IcsProblem(
      line,
      `the ${what} of the file have too many days`,
      "give them an end, or a later start",
    );
}

/**
 * The days of a rule that begins at `start`, in order, up to `to`; without a count those before `from` may be left out.
 * @throws IcsProblem if the budget is used up
 */
export function* recurrenceDays(
  rule: Recurrence,
  start: Day,
  from: Day,
  to: Day,
  budget: Budget,
  line: number,
): Iterable<Day> {
  let count = rule.count ?? Number.POSITIVE_INFINITY;
  for (let n = firstPeriod(rule, start, from); count > 0; n++) {
    const period = periodOf(rule, start, n);
    if (period.from > to) return;
    // A period without days costs as well.
    spend(budget, 1 + (period.to - period.from), line);
    for (const day of daysIn(rule, start, period)) {
      if (day < start) continue;
      if (day > to || count <= 0) return;
      count--;
      yield day;
    }
  }
}

/** A year, month, week or day; `to` is exclusive. */
interface Period {
  readonly from: Day;
  readonly to: Day;
}

/** The number of the first period that may have days from `from` on. */
function firstPeriod({ frequency, interval, count }: Recurrence, start: Day, from: Day): number {
  if (count !== undefined || from <= start) return 0;
  const longest = { YEARLY: 366, MONTHLY: 31, WEEKLY: 7, DAILY: 1 }[frequency];
  return Math.max(0, Math.floor((from - start) / (longest * interval)) - 1);
}

function periodOf({ frequency, interval, weekStart }: Recurrence, start: Day, n: number): Period {
  const { year, month, weekday } = fieldsOf(start);
  switch (frequency) {
    case "YEARLY": {
      const at = year + n * interval;
      return { from: dayAt(at, 0, 1), to: dayAt(at + 1, 0, 1) };
    }
    case "MONTHLY": {
      const at = month + n * interval;
      return { from: dayAt(year, at, 1), to: dayAt(year, at + 1, 1) };
    }
    case "WEEKLY": {
      const from = start - ((weekday - weekStart + 7) % 7) + n * interval * 7;
      return { from, to: from + 7 };
    }
    case "DAILY":
      return { from: start + n * interval, to: start + n * interval + 1 };
  }
}

/** The days of the rule in a period, in order. */
function daysIn(rule: Recurrence, start: Day, period: Period): Day[] {
  const days: Day[] = [];
  // A week of BYWEEKNO may begin in the year before, and end in the one after.
  const [from, to] = rule.weeks.length > 0 ? [period.from - 6, period.to + 6] : [period.from, period.to];
  for (let day = from; day < to; day++) if (fits(rule, start, period, day)) days.push(day);
  if (rule.positions.length === 0) return days;
  const chosen = rule.positions.map((n) => days[n > 0 ? n - 1 : days.length + n]);
  return [...new Set(chosen.filter((day) => day !== undefined))].sort((a, b) => a - b);
}

function fits(rule: Recurrence, start: Day, period: Period, day: Day): boolean {
  const { frequency, months, monthDays, yearDays, weeks, weekdays } = rule;
  const { year, month, date, weekday } = fieldsOf(day);
  const first = fieldsOf(start);
  if (months.length > 0 && !months.includes(month + 1)) return false;
  if (weeks.length > 0 && !isInWeeks(rule, period, day)) return false;
  if (yearDays.length > 0) {
    const [begin, end] = [dayAt(year, 0, 1), dayAt(year + 1, 0, 1)];
    if (!yearDays.includes(day - begin + 1) && !yearDays.includes(day - end)) return false;
  }
  if (monthDays.length > 0) {
    const end = dayAt(year, month + 1, 1);
    if (!monthDays.includes(date) && !monthDays.includes(day - end)) return false;
  }
  if (weekdays.length > 0) {
    const ofMonth = frequency === "MONTHLY" || (frequency === "YEARLY" && months.length > 0);
    const counts = frequency !== "WEEKLY" && frequency !== "DAILY" && weeks.length === 0;
    if (
      !weekdays.some(
        (each) => each.day === weekday && (!counts || each.nth === 0 || isNth(each.nth, day, ofMonth)),
      )
    )
      return false;
  }
  // What the rule does not say is as at its start.
  if (weekdays.length + monthDays.length + yearDays.length > 0) return true;
  switch (frequency) {
    case "YEARLY":
      if (weeks.length > 0) return weekday === first.weekday;
      return date === first.date && (months.length > 0 || month === first.month);
    case "MONTHLY":
      return date === first.date;
    case "WEEKLY":
      return weekday === first.weekday;
    case "DAILY":
      return true;
  }
}

/** Whether a day is the nth of its weekday in its month or year; from the end if `nth` is negative. */
function isNth(nth: number, day: Day, ofMonth: boolean): boolean {
  const { year, month } = fieldsOf(day);
  const [from, to] = ofMonth
    ? [dayAt(year, month, 1), dayAt(year, month + 1, 1)]
    : [dayAt(year, 0, 1), dayAt(year + 1, 0, 1)];
  return nth > 0 ? Math.floor((day - from) / 7) + 1 === nth : Math.floor((to - 1 - day) / 7) + 1 === -nth;
}

/** Whether a day is in one of the weeks of the year of a period. The first week is that with at least four days of the year. */
function isInWeeks({ weeks, weekStart }: Recurrence, period: Period, day: Day): boolean {
  const firstWeek = (from: Day): Day => {
    const back = (fieldsOf(from).weekday - weekStart + 7) % 7;
    return back <= 3 ? from - back : from - back + 7;
  };
  const [begin, end] = [firstWeek(period.from), firstWeek(period.to)];
  if (day < begin || day >= end) return false;
  const [week, all] = [Math.floor((day - begin) / 7) + 1, Math.round((end - begin) / 7)];
  return weeks.includes(week) || weeks.includes(week - all - 1);
}

function dayAt(year: number, month: number, date: number): Day {
  const at = new Date(0);
  at.setUTCFullYear(year, month, date);
  return at.getTime() / DAY_MS;
}

function fieldsOf(day: Day): { year: number; month: number; date: number; weekday: number } {
  const at = new Date(day * DAY_MS);
  return {
    year: at.getUTCFullYear(),
    month: at.getUTCMonth(),
    date: at.getUTCDate(),
    weekday: at.getUTCDay(),
  };
}
