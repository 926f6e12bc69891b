/** Describes common cron expressions in words; others are shown as they are. */
import { DAYS, MONTHS, shortName } from "./calendar-names.ts";

/** As cron numbers them: 0 and 7 are Sunday. */
const WEEKDAYS: readonly string[] = [...DAYS, "Sunday"];
const DAY_NAMES = DAYS.map((day) => shortName(day).toUpperCase());
const MONTH_NAMES = MONTHS.map((month) => shortName(month).toUpperCase());
const NICKNAMES: Readonly<Record<string, string>> = {
  "@yearly": "0 0 0 1 1 *",
  "@annually": "0 0 0 1 1 *",
  "@monthly": "0 0 0 1 * *",
  "@weekly": "0 0 0 * * 0",
  "@daily": "0 0 0 * * *",
  "@midnight": "0 0 0 * * *",
  "@hourly": "0 0 * * * *",
};

/** `0 0 2 * * MON-FRI` as "at 02:00, Monday to Friday". */
export function cronInWords(expression: string): string {
  const text = (NICKNAMES[expression.trim().toLowerCase()] ?? expression).trim();
  const fields = text.split(/\s+/);
  if (fields.length === 5) fields.unshift("0");
  const [second, minute, hour, day, month, weekday] = fields;
  if (second === undefined || minute === undefined || hour === undefined) return expression;
  if (day === undefined || month === undefined || weekday === undefined || fields.length !== 6)
    return expression;
  const when = timeInWords(second, minute, hour);
  const on = daysInWords(day, weekday);
  const of = monthsInWords(month);
  if (when === null || on === null || of === null) return expression;
  const daily = /^at \d/.test(when) && on === "" && of === "" ? "every day " : "";
  return `${daily}${[when, on, of].filter(Boolean).join(", ")}`;
}

function timeInWords(second: string, minute: string, hour: string): string | null {
  const step = (field: string) => /^(?:\*|0)\/(\d+)$/.exec(field)?.[1];
  const every = (n: string, unit: string) => (n === "1" ? `every ${unit}` : `every ${n} ${unit}s`);
  const seconds = step(second);
  if (hour === "*" && minute === "*") {
    if (second === "*") return "every second";
    if (seconds !== undefined) return every(seconds, "second");
    return /^\d+$/.test(second)
      ? second === "0"
        ? "every minute"
        : `every minute at second ${second}`
      : null;
  }
  const suffix = second === "0" ? "" : /^\d+$/.test(second) ? `:${second.padStart(2, "0")}` : null;
  if (suffix === null) return null;
  const within = hour === "*" ? "" : hoursInWords(hour);
  const minutes = step(minute);
  if (minutes !== undefined || minute === "*") {
    if (within === null || suffix !== "") return null;
    return [minutes === undefined ? "every minute" : every(minutes, "minute"), within]
      .filter(Boolean)
      .join(" ");
  }
  const hours = step(hour);
  if (hours !== undefined && /^\d+$/.test(minute)) {
    return `${every(hours, "hour")} at minute ${minute}${suffix === "" ? "" : ` and second ${second}`}`;
  }
  if (hour === "*" && /^\d+(,\d+)*$/.test(minute)) {
    if (minute === "0" && suffix === "") return "every hour";
    return `every hour at minute ${list(minute.split(","))}`;
  }
  if (/^\d+(,\d+)*$/.test(hour) && /^\d+(,\d+)*$/.test(minute)) {
    const times = hour
      .split(",")
      .flatMap((h) => minute.split(",").map((m) => `${h.padStart(2, "0")}:${m.padStart(2, "0")}${suffix}`));
    return times.length > 6 ? null : `at ${list(times)}`;
  }
  if (within !== null && /^\d+$/.test(minute)) return `at minute ${minute} of every hour ${within}`;
  return null;
}

function hoursInWords(hour: string): string | null {
  const range = /^(\d+)-(\d+)$/.exec(hour);
  if (range?.[1] !== undefined && range[2] !== undefined) {
    return `from ${range[1].padStart(2, "0")}:00 to ${range[2].padStart(2, "0")}:59`;
  }
  if (/^\d+(,\d+)*$/.test(hour)) return `in the hour ${list(hour.split(","))}`;
  return null;
}

function daysInWords(day: string, weekday: string): string | null {
  const anyDay = day === "*" || day === "?";
  const anyWeekday = weekday === "*" || weekday === "?";
  if (anyDay && anyWeekday) return "";
  const ofMonth = anyDay ? "" : dayOfMonth(day);
  const ofWeek = anyWeekday ? "" : named(weekday, WEEKDAYS, DAY_NAMES, 0);
  if (ofMonth === null || ofWeek === null) return null;
  return [ofMonth, ofWeek].filter(Boolean).join(" or ");
}

function dayOfMonth(day: string): string | null {
  if (day === "L") return "on the last day of the month";
  if (/^\d+(,\d+)*$/.test(day)) return `on day ${list(day.split(","))} of the month`;
  const range = /^(\d+)-(\d+)$/.exec(day);
  return range === null ? null : `on days ${range[1]} to ${range[2]} of the month`;
}

function monthsInWords(month: string): string | null {
  if (month === "*") return "";
  const words = named(month, MONTHS, MONTH_NAMES, 1);
  return words === null ? null : `in ${words}`;
}

function named(
  field: string,
  names: readonly string[],
  short: readonly string[],
  first: number,
): string | null {
  const one = (part: string): string | undefined => {
    const index = short.indexOf(part.toUpperCase());
    if (index !== -1) return names[index];
    return /^\d+$/.test(part) ? names[Number(part) - first] : undefined;
  };
  const parts = field.split(",").map((part) => {
    const [from, to, more] = part.split("-");
    if (from === undefined || more !== undefined) return undefined;
    const start = one(from);
    if (to === undefined) return start;
    const end = one(to);
    return start === undefined || end === undefined ? undefined : `${start} to ${end}`;
  });
  return parts.some((part) => part === undefined) ? null : list(parts as string[]);
}

function list(words: readonly string[]): string {
  if (words.length < 2) return words[0] ?? "";
  return `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}
