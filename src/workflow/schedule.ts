/**
 * Determines when a workflow fires. Cron expressions have five fields (minute, hour, day of month, month, day of week), or six starting
 * with the second; names (`MON`, `JAN`), `L`, `W`, `#`, `?` and shortcuts such as `@daily` work as in croner, Sunday is 0 or 7, and when
 * both day fields are restricted, a day that matches either one fires.
 *
 * Daylight saving. A schedule with one fixed time of day (`30 1 * * *`) always fires exactly once a day: if the clock skips that local
 * time, it fires right after the jump (01:30 becomes 02:00 in London); if the time occurs twice, it fires the first time. Any other
 * schedule (a list, a range, a step or `*` in second, minute or hour) follows the clock: skipped local times do not fire, repeated ones
 * fire twice.
 */
import { Cron, CronPattern } from "croner";
import { dropOldest } from "../recent.ts";

/** The parts of a workflow's definition that decide when it fires. */
export interface Schedule {
  readonly cron: string | null;
  /** IANA name; null for the zone of this process. */
  readonly timezone: string | null;
  /** No firing before this time (one exactly at it counts). */
  readonly start_time_ms: number | null;
}

/** A parsed expression. After any time from `fromMs` on and before `nextMs`, it fires at `nextMs`. */
interface Parsed {
  readonly cron: Cron;
  fromMs: number;
  nextMs: number;
}

/** Number of parsed expressions that are kept: croner needs 80 KB for each, because it has a list of all years, and 100 us to make one. */
const KEPT = 250;
const parsed = new Map<string, Parsed>();

/** A cache: the same few expressions are used again and again, by thousands of workflows at once. */
function parsedOf(expression: string, timezone: string | null): Parsed {
  const key = `${timezone ?? ""}\n${expression}`;
  let found = parsed.get(key);
  if (found === undefined) {
    const cron = new Cron(expression, {
      mode: "5-or-6-parts",
      paused: true,
      ...(timezone === null ? {} : { timezone }),
    });
    found = { cron, fromMs: 0, nextMs: 0 };
    parsed.set(key, found);
    dropOldest(parsed, KEPT);
  }
  return found;
}

/**
 * The first firing after `afterMs` (ms since the epoch, exclusive), or `null` when there is none.
 * @throws TypeError or RangeError from croner when the expression or the zone is invalid (those of a parsed definition are valid).
 */
export function nextFiring(schedule: Schedule, afterMs: number): number | null {
  if (schedule.cron === null) return null;
  const from = schedule.start_time_ms === null ? afterMs : Math.max(afterMs, schedule.start_time_ms - 1);
  const known = parsedOf(schedule.cron, schedule.timezone);
  if (from >= known.fromMs && from < known.nextMs) return known.nextMs;
  const next = known.cron.nextRun(new Date(from))?.getTime() ?? null;
  if (next !== null) [known.fromMs, known.nextMs] = [from, next];
  return next;
}

/** The last firing at or before `atMs` (ms since the epoch), or `null` when there was none since `start_time`. */
export function previousFiring(schedule: Schedule, atMs: number): number | null {
  if (schedule.cron === null) return null;
  const [firing] = parsedOf(schedule.cron, schedule.timezone).cron.previousRuns(
    1,
    new Date(Math.floor(atMs) + 1),
  );
  const ms = firing?.getTime() ?? null;
  if (ms === null || (schedule.start_time_ms !== null && ms < schedule.start_time_ms)) return null;
  return ms;
}

/** What is wrong with a cron expression, and where (offsets in the expression). */
export interface CronProblem {
  readonly message: string;
  readonly help: string;
  readonly start: number;
  readonly end: number;
}

const FIELDS = [
  { name: "second", range: "0 to 59" },
  { name: "minute", range: "0 to 59" },
  { name: "hour", range: "0 to 23" },
  { name: "day of month", range: "1 to 31, or L for the last day" },
  { name: "month", range: "1 to 12, or JAN to DEC" },
  { name: "day of week", range: "0 to 7 (Sunday is 0 and 7), or SUN to SAT" },
] as const;

const KEPT_VALID = 1000;
const valid = new Set<string>();

/** Checks a cron expression; `null` when it is valid and will ever fire. */
export function checkCron(expression: string): CronProblem | null {
  if (valid.has(expression)) return null;
  const problem = findProblem(expression);
  if (problem === null) {
    if (valid.size >= KEPT_VALID) valid.clear();
    valid.add(expression);
  }
  return problem;
}

function findProblem(expression: string): CronProblem | null {
  const whole = { start: 0, end: expression.length };
  if (expression.trim().startsWith("@")) {
    try {
      new CronPattern(expression.trim());
      return null;
    } catch {
      return {
        ...whole,
        message: `"${expression.trim()}" is not a schedule`,
        help: "the shortcuts are @yearly, @monthly, @weekly, @daily and @hourly",
      };
    }
  }
  const fields = [...expression.matchAll(/\S+/g)];
  if (fields.length !== 5 && fields.length !== 6) {
    return {
      ...whole,
      message: `has ${fields.length === 1 ? "1 field" : `${fields.length} fields`}, not 5 or 6`,
      help:
        fields.length === 7
          ? "a schedule has no field for the year; see 'cdktr docs migration'"
          : 'write "minute hour day-of-month month day-of-week", or the same with the second in front',
    };
  }
  const names = FIELDS.slice(FIELDS.length - fields.length);
  for (const [index, field] of fields.entries()) {
    const { name, range } = names[index] ?? FIELDS[0];
    const reason = fieldProblem(field[0], index, fields.length);
    if (reason === null) continue;
    return {
      message: `"${field[0]}" is not valid for the ${name}`,
      help: `${reason}; the ${name} is ${range}`,
      start: field.index,
      end: field.index + field[0].length,
    };
  }
  try {
    const cron = new Cron(expression, { mode: "5-or-6-parts", paused: true, timezone: "UTC" });
    if (cron.nextRun(new Date(0)) !== null) return null;
    return {
      ...whole,
      message: "never fires",
      help: "no date has both this day of month and this month",
    };
  } catch (error) {
    return { ...whole, message: "is not a schedule", help: reasonOf(error) };
  }
}

/** Why a field is wrong when all others are `*`. */
function fieldProblem(field: string, index: number, count: number): string | null {
  const isDayField = index === count - 1 || index === count - 3;
  if (field.includes("?") && !(isDayField && field === "?")) {
    return '"?" is only allowed alone, as the day of month or the day of week';
  }
  const pattern = Array.from({ length: count }, (_, i) => (i === index ? field : "*")).join(" ");
  try {
    new CronPattern(pattern, "UTC", { mode: "5-or-6-parts" });
    return null;
  } catch (error) {
    return reasonOf(error);
  }
}

function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const reason = text.replace(/^CronPattern: /, "").replace(/^Syntax error, /, "");
  return reason.charAt(0).toLowerCase() + reason.slice(1).replace(/\.$/, "");
}
