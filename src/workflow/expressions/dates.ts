/** Calendar fields of a point in time, and dates as text. */
import { isTimezone } from "../../host/timezones.ts";
import { DAYS, MONTHS, shortName } from "../../terminal/calendar-names.ts";

/** What a clock and a calendar show; month, day and yearday start at 1, weekday at 0 for Sunday. */
export interface DateFields {
  readonly year: number;
  readonly month: number;
  readonly day: number;
  readonly hour: number;
  readonly minute: number;
  readonly second: number;
  readonly millisecond: number;
  readonly weekday: number;
  readonly yearday: number;
  readonly zone: string;
  /** How far the clock is ahead of UTC, minutes. */
  readonly aheadMinutes: number;
}

const OFFSET = /^([+-]?)(\d{1,2}):(\d{2})$/;
const DAY_MS = 86_400_000;
const KEPT = 50;
const formatters = new Map<string, Intl.DateTimeFormat>();

/** Whether this names a time zone, or is an offset such as `+02:00`. */
export function isZone(zone: string): boolean {
  const [, , hours, minutes] = OFFSET.exec(zone) ?? [];
  return hours === undefined ? isTimezone(zone) : Number(hours) < 24 && Number(minutes) < 60;
}

/** What a clock shows in a zone. @param ms since the epoch */
export function dateFields(ms: number, zone: string): DateFields {
  const ahead = aheadMs(ms, zone);
  const shown = new Date(ms + ahead);
  const yearStart = new Date(0);
  yearStart.setUTCFullYear(shown.getUTCFullYear(), 0, 1);
  return {
    year: shown.getUTCFullYear(),
    month: shown.getUTCMonth() + 1,
    day: shown.getUTCDate(),
    hour: shown.getUTCHours(),
    minute: shown.getUTCMinutes(),
    second: shown.getUTCSeconds(),
    millisecond: shown.getUTCMilliseconds(),
    weekday: shown.getUTCDay(),
    yearday: Math.floor((shown.getTime() - yearStart.getTime()) / DAY_MS) + 1,
    zone,
    aheadMinutes: Math.trunc(ahead / 60_000),
  };
}

/** How far the clocks of a zone are ahead of UTC at this time, ms. */
export function aheadMs(ms: number, zone: string): number {
  if (zone === "UTC") return 0;
  const [, sign, hours, minutes] = OFFSET.exec(zone) ?? [];
  if (hours !== undefined) return (Number(hours) * 60 + Number(minutes)) * 60_000 * (sign === "-" ? -1 : 1);
  let formatter = formatters.get(zone);
  if (formatter === undefined) {
    formatter = new Intl.DateTimeFormat("en-US", {
      timeZone: zone,
      calendar: "gregory",
      hourCycle: "h23",
      era: "short",
      year: "numeric",
      month: "numeric",
      day: "numeric",
      hour: "numeric",
      minute: "numeric",
      second: "numeric",
    });
    if (formatters.size >= KEPT) formatters.clear();
    formatters.set(zone, formatter);
  }
  const parts = new Map(formatter.formatToParts(ms).map(({ type, value }) => [type, value]));
  const number = (type: Intl.DateTimeFormatPartTypes): number => Number(parts.get(type) ?? 0);
  const year = parts.get("era") === "BC" ? 1 - number("year") : number("year");
  const local = new Date(0);
  local.setUTCFullYear(year, number("month") - 1, number("day"));
  local.setUTCHours(number("hour"), number("minute"), number("second"));
  return local.getTime() - Math.floor(ms / 1000) * 1000;
}

/** A date as text, in a format of strftime whose parts are all known. @param ms since the epoch */
export function formatDate(format: string, ms: number, at: DateFields): string {
  const two = (value: number): string => String(value).padStart(2, "0");
  const four = (value: number): string => String(value).padStart(4, "0");
  const part = (letter: string): string => {
    switch (letter) {
      case "Y":
        return four(at.year);
      case "m":
        return two(at.month);
      case "d":
        return two(at.day);
      case "H":
        return two(at.hour);
      case "M":
        return two(at.minute);
      case "S":
        return two(at.second);
      case "F":
        return `${four(at.year)}-${two(at.month)}-${two(at.day)}`;
      case "T":
        return `${two(at.hour)}:${two(at.minute)}:${two(at.second)}`;
      case "y":
        return two(at.year % 100);
      case "j":
        return String(at.yearday).padStart(3, "0");
      case "e":
        return String(at.day).padStart(2, " ");
      case "a":
        return shortName(DAYS[at.weekday] ?? "");
      case "A":
        return DAYS[at.weekday] ?? "";
      case "b":
        return shortName(MONTHS[at.month - 1] ?? "");
      case "B":
        return MONTHS[at.month - 1] ?? "";
      case "u":
        return String(at.weekday === 0 ? 7 : at.weekday);
      case "w":
        return String(at.weekday);
      case "G":
        return four(weekOf(at).year);
      case "V":
        return two(weekOf(at).week);
      case "s":
        return String(Math.floor(ms / 1000));
      case "z":
        return offsetText(at.aheadMinutes);
      case "Z":
        return at.zone;
      default:
        return letter;
    }
  };
  return format.replace(/%([\s\S])/g, (_, letter: string) => part(letter));
}

function offsetText(minutes: number): string {
  const size = Math.abs(minutes);
  const two = (value: number): string => String(value).padStart(2, "0");
  return `${minutes < 0 ? "-" : "+"}${two(Math.floor(size / 60))}${two(size % 60)}`;
}

/** The week by ISO 8601: it starts on Monday, and belongs to the year of its Thursday. */
function weekOf({ year, month, day, weekday }: DateFields): { year: number; week: number } {
  const thursday = new Date(0);
  thursday.setUTCFullYear(year, month - 1, day + 4 - (weekday === 0 ? 7 : weekday));
  const start = new Date(0);
  start.setUTCFullYear(thursday.getUTCFullYear(), 0, 1);
  return {
    year: thursday.getUTCFullYear(),
    week: Math.floor((thursday.getTime() - start.getTime()) / DAY_MS / 7) + 1,
  };
}
