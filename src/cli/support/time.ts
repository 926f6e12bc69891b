/** Parses times as people type them: `2h ago`, `1h30m`, RFC 3339, epoch milliseconds. */
import { UsageError } from "../../errors.ts";

const UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};
const WORDS: Readonly<Record<string, string>> = {
  sec: "s",
  second: "s",
  min: "m",
  minute: "m",
  hr: "h",
  hour: "h",
  day: "d",
  week: "w",
};

/** A duration such as `90s`, `1h30m`, `2 days`, in ms; undefined when it is not one. */
export function parseSpan(text: string): number | undefined {
  const part = /(\d+(?:\.\d+)?)\s*([a-z]+)\s*/giy;
  const trimmed = text.trim();
  let total = 0;
  let end = 0;
  while (end < trimmed.length) {
    part.lastIndex = end;
    const match = part.exec(trimmed);
    if (match === null) return undefined;
    const word = (match[2] ?? "").toLowerCase();
    const unit = Object.hasOwn(UNITS, word) ? word : WORDS[word.replace(/s$/, "")];
    if (unit === undefined) return undefined;
    total += Number(match[1]) * (UNITS[unit] ?? 0);
    end = part.lastIndex;
  }
  return end === 0 ? undefined : total;
}

/**
 * Reads a duration given with an option, ms, not longer than `longestMs`.
 * @throws UsageError
 */
export function spanOption(
  text: string | undefined,
  flag: string,
  longestMs = Number.POSITIVE_INFINITY,
): number | undefined {
  if (text === undefined) return undefined;
  const span = parseSpan(text);
  if (span === undefined) {
    throw new UsageError(`${flag} ${text}: expected a duration.`, {
      hint: "For example 30s, 15m, 1h30m, 2d or 1w.",
    });
  }
  if (span > longestMs) {
    throw new UsageError(`${flag} ${text} is too long.`, {
      hint: `At most ${Math.floor(longestMs / 86_400_000)}d are possible.`,
    });
  }
  return span;
}

/**
 * A point in time to come, ms since the epoch; undefined when it is not one. A time of day is the next one; without an offset it is local
 * time.
 */
export function parseComing(text: string, nowMs: number): number | undefined {
  const match = /^(?:(today|tomorrow)\s+)?(\d{1,2}):(\d{2})(?::(\d{2}))?$/i.exec(text.trim());
  if (match === null) return parseInstant(text, nowMs);
  const [, day, ...time] = match;
  const [hours = 0, minutes = 0, seconds = 0] = time.map((part) => Number(part ?? 0));
  if (hours > 23 || minutes > 59 || seconds > 59) return undefined;
  const now = new Date(nowMs);
  const on = (days: number) =>
    new Date(now.getFullYear(), now.getMonth(), now.getDate() + days, hours, minutes, seconds).getTime();
  if (day !== undefined) return on(day.toLowerCase() === "tomorrow" ? 1 : 0);
  return on(0) > nowMs ? on(0) : on(1);
}

/** A point in time, ms since the epoch; undefined when it is not one. Without an offset it is local time. */
export function parseInstant(text: string, nowMs: number): number | undefined {
  const trimmed = text.trim();
  if (trimmed.toLowerCase() === "now") return nowMs;
  if (/^\d{9,}$/.test(trimmed)) return Number(trimmed);
  const ago = /^(.*\S)\s*ago$/i.exec(trimmed);
  if (ago !== null) {
    const span = parseSpan(ago[1] ?? "");
    return span === undefined ? undefined : nowMs - span;
  }
  const iso =
    /^(\d{4}-\d{2}-\d{2})(?:[Tt ](\d{2}:\d{2})(:\d{2}(?:\.\d{1,9})?)?\s*(Z|z|[+-]\d{2}:?\d{2})?)?$/.exec(
      trimmed,
    );
  if (iso === null) return undefined;
  const [, date, minutes = "00:00", seconds = ":00", zone = ""] = iso;
  const offset = zone.length === 5 ? `${zone.slice(0, 3)}:${zone.slice(3)}` : zone.toUpperCase();
  const instant = Date.parse(`${date}T${minutes}${seconds.slice(0, 7)}${offset}`);
  if (Number.isNaN(instant) || !existsDate(date ?? "")) return undefined;
  return instant;
}

/** Whether the date exists: the engine turns 31 February into a day in March. */
function existsDate(date: string): boolean {
  return new Date(`${date}T00:00:00Z`).toISOString().startsWith(date);
}

/**
 * Reads a point in time given with an option, ms since the epoch.
 * @throws UsageError
 */
export function instantOption(text: string | undefined, flag: string, nowMs: number): number | undefined {
  if (text === undefined) return undefined;
  const instant = parseInstant(text, nowMs);
  if (instant === undefined) {
    throw new UsageError(`${flag} ${text}: expected a time.`, {
      hint: "For example 2025-01-20T02:00:00Z, '2025-01-20 02:00' (local), '2h ago' or milliseconds since 1970.",
    });
  }
  return instant;
}

/**
 * Reads a point in time to come given with an option, ms since the epoch.
 * @param pastHint what to do if it has passed
 * @throws UsageError
 */
export function comingOption(
  text: string | undefined,
  flag: string,
  nowMs: number,
  pastHint: string,
): number | undefined {
  if (text === undefined) return undefined;
  const instant = parseComing(text, nowMs);
  if (instant === undefined) {
    throw new UsageError(`${flag} ${text} is not a time.`, {
      hint: "For example 02:00, 'tomorrow 02:00', '2025-01-20 02:00' (local time) or 2025-01-20T02:00:00Z.",
    });
  }
  if (instant <= nowMs) {
    throw new UsageError(`${flag} ${text} is in the past.`, { hint: pastHint });
  }
  return instant;
}
