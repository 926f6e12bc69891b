/**
 * The days of a calendar file (iCalendar, RFC 5545): those that its events touch. Dates count as they are written; zones of times are not
 * looked at. An event that lasts all day ends before its DTEND, as the format says. Cancelled events have no days.
 */
import { isTimezone } from "../host/timezones.ts";
import { type Day, readDay } from "./calendar.ts";
import { aheadMs } from "./expressions/dates.ts";
import { type IcsEvent, IcsProblem, type IcsProperty, readIcsEvents } from "./ics-lines.ts";
import { type Budget, readRecurrence, recurrenceDays, spend } from "./recurrence.ts";

/** Maximum size of a calendar file, bytes. */
export const MAX_ICS_BYTES = 1024 * 1024;
const MAX_EVENTS = 5000;
const MAX_DAYS = 20_000;
/** How many days rules may look at, and events may touch, all together. */
const MAX_STEPS = 3_000_000;
const DAY_MS = 86_400_000;

/** The days in order, or what is wrong, and in which line. */
export type IcsResult =
  | { readonly ok: true; readonly days: readonly Day[] }
  | {
      readonly ok: false;
      readonly line: number;
      readonly message: string;
      readonly help?: string | undefined;
    };

/** The days of a file from one day to another, both inclusive. Never throws. */
export function daysOfIcs(text: string, from: Day, to: Day): IcsResult {
  try {
    return { ok: true, days: daysOf(readIcsEvents(text, MAX_EVENTS), from, to) };
  } catch (error) {
    if (!(error instanceof IcsProblem)) throw error;
    return { ok: false, line: error.line, message: error.message, help: error.help };
  }
}

function daysOf(events: readonly IcsEvent[], from: Day, to: Day): Day[] {
  const read = events.map(readEvent);
  // An event with a RECURRENCE-ID replaces the occurrence of another one on that day.
  const replaced = new Map<string, Set<Day>>();
  for (const { uid, replaces } of read)
    if (replaces !== null) replaced.set(uid, (replaced.get(uid) ?? new Set()).add(replaces));
  const days = new Set<Day>();
  const budget = { left: MAX_STEPS };
  for (const event of read) {
    if (event.isCancelled) continue;
    const without = event.replaces === null ? replaced.get(event.uid) : undefined;
    for (const start of startsOf(event, from - event.length, to, budget)) {
      if (without?.has(start) === true) continue;
      const [first, last] = [Math.max(start, from), Math.min(start + event.length - 1, to)];
      // Many long events may touch the same days.
      spend(budget, Math.max(0, last - first), event.line, "events");
      for (let day = first; day <= last; day++) days.add(day);
      if (days.size > MAX_DAYS) throw new IcsProblem(event.line, `the file has more than ${MAX_DAYS} days`);
    }
  }
  return [...days].sort((a, b) => a - b);
}

interface Event {
  readonly line: number;
  readonly uid: string;
  readonly isCancelled: boolean;
  readonly start: Moment;
  /** Number of days that it touches. */
  readonly length: number;
  readonly rules: readonly IcsProperty[];
  /** Days on which it begins as well. */
  readonly also: readonly Day[];
  readonly except: ReadonlySet<Day>;
  /** The day of the occurrence that it stands for; null for none. */
  readonly replaces: Day | null;
}

/** A date, perhaps with a time of day. */
interface Moment {
  readonly day: Day;
  /** ms since midnight; null for a date. */
  readonly time: number | null;
  readonly isUtc: boolean;
  readonly zone: string | undefined;
}

function* startsOf(event: Event, from: Day, to: Day, budget: Budget): Iterable<Day> {
  const { start, rules, also, except } = event;
  if (rules.length === 0 && !except.has(start.day)) yield start.day;
  for (const day of also) if (!except.has(day)) yield day;
  for (const { value, line } of rules) {
    const parts = partsOf(value, line);
    const until = parts.has("UNTIL") ? untilOf(parts.get("UNTIL") ?? "", start, line) : to;
    const rule = readRecurrence(parts, line);
    // The first day counts, whatever the rule says.
    if (!except.has(start.day)) yield start.day;
    for (const day of recurrenceDays(rule, start.day, from, Math.min(to, until), budget, line))
      if (!except.has(day)) yield day;
  }
}

function partsOf(value: string, line: number): Map<string, string> {
  const parts = new Map<string, string>();
  for (const part of value.toUpperCase().split(";")) {
    const [name = "", text, ...more] = part.split("=");
    if (part === "") continue;
    if (text === undefined || more.length > 0)
      throw new IcsProblem(line, `"${clip(part)}" is not a part of a rule`);
    parts.set(name.trim(), text.trim());
  }
  return parts;
}

/** The last day on which an occurrence may begin. A time in UTC is compared with those of the event, if its zone is known. */
function untilOf(text: string, start: Moment, line: number): Day {
  const until = readMoment(text, {}, line);
  if (until.time === null || start.time === null) return until.day;
  let at = until.day * DAY_MS + until.time;
  if (until.isUtc && !start.isUtc) {
    if (start.zone === undefined || !isTimezone(start.zone)) return until.day;
    at += aheadMs(at, start.zone);
  }
  const day = Math.floor(at / DAY_MS);
  return at - day * DAY_MS >= start.time ? day : day - 1;
}

function readEvent({ properties, line }: IcsEvent): Event {
  const one = (name: string): IcsProperty | undefined =>
    properties.find((property) => property.name === name);
  const all = (name: string): IcsProperty[] => properties.filter((property) => property.name === name);
  const start = one("DTSTART");
  if (start === undefined) throw new IcsProblem(line, "the event has no DTSTART");
  const first = momentOf(start);
  const replaces = one("RECURRENCE-ID");
  if (replaces?.parameters.RANGE !== undefined)
    throw new IcsProblem(
      replaces.line,
      "RANGE=THISANDFUTURE is not understood",
      "export the calendar with single events",
    );
  return {
    line,
    uid: one("UID")?.value ?? "",
    isCancelled: one("STATUS")?.value.trim().toUpperCase() === "CANCELLED",
    start: first,
    length: lengthOf(first, one("DTEND"), one("DURATION")),
    rules: all("RRULE"),
    also: all("RDATE").flatMap(daysIn),
    except: new Set(all("EXDATE").flatMap(daysIn)),
    replaces: replaces === undefined ? null : momentOf(replaces).day,
  };
}

/** The dates of a list; of a period, that of its start. */
function daysIn({ value, parameters, line }: IcsProperty): Day[] {
  const texts = value.split(",").map((text) => text.split("/")[0]?.trim() ?? "");
  return texts.filter((text) => text !== "").map((text) => readMoment(text, parameters, line).day);
}

/** The number of days that an event touches; at least one. */
function lengthOf(start: Moment, end: IcsProperty | undefined, duration: IcsProperty | undefined): number {
  const from = start.day * DAY_MS + (start.time ?? 0);
  let to = from;
  if (end !== undefined) {
    const moment = momentOf(end);
    to = moment.day * DAY_MS + (moment.time ?? 0);
  } else if (duration !== undefined) to = from + durationMs(duration);
  // An end at midnight is that of the day before.
  return Math.max(1, Math.ceil(to / DAY_MS) - start.day);
}

function durationMs({ value, line }: IcsProperty): number {
  const found =
    /^\+?P(?:(\d{1,5})W)?(?:(\d{1,5})D)?(?:T(?:(\d{1,7})H)?(?:(\d{1,7})M)?(?:(\d{1,9})S)?)?$/.exec(
      value.trim(),
    );
  if (found === null) throw new IcsProblem(line, `"${clip(value)}" is not a duration`, "such as P1D or PT8H");
  const [weeks = 0, days = 0, hours = 0, minutes = 0, seconds = 0] = found
    .slice(1)
    .map((text) => Number(text ?? 0));
  return ((weeks * 7 + days) * 24 + hours) * 3_600_000 + minutes * 60_000 + seconds * 1000;
}

function momentOf({ value, parameters, line }: IcsProperty): Moment {
  return readMoment(value.trim(), parameters, line);
}

function readMoment(text: string, { TZID: zone }: IcsProperty["parameters"], line: number): Moment {
  const [, year, month, date, hours, minutes, seconds, utc] =
    /^(\d{4})(\d{2})(\d{2})(?:T(\d{2})(\d{2})(\d{2})?(Z)?)?$/i.exec(text) ?? [];
  const day = year === undefined ? null : readDay(`${year}-${month}-${date}`);
  if (day === null)
    throw new IcsProblem(line, `"${clip(text)}" is no date`, "such as 20261225, or 20261225T080000");
  const time =
    hours === undefined
      ? null
      : (Number(hours) * 60 + Number(minutes)) * 60_000 + Number(seconds ?? 0) * 1000;
  return { day, time, isUtc: utc !== undefined, zone };
}

function clip(text: string): string {
  return text.length > 40 ? `${text.slice(0, 40).toWellFormed()}…` : text;
}
