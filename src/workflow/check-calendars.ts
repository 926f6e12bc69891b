/** Finds schedules whose calendar does not exist, which is visible only with the settings of the workflow directory. */
import { didYouMean } from "../terminal/did-you-mean.ts";
import type { Calendar } from "./calendar.ts";
import type { Finding } from "./diagnostic.ts";
import { nextFiring } from "./firings.ts";
import type { IssuePath } from "./issues.ts";
import type { Entry } from "./schedules.ts";

/** A problem of an entry of `cron`. */
export interface CalendarProblem extends Pick<Finding, "code" | "message" | "help"> {
  readonly path: IssuePath;
}

/** The entries of a workflow whose calendar is not among these. */
export function checkCalendars(
  schedules: readonly Entry[] | undefined,
  calendars: ReadonlyMap<string, Calendar>,
): CalendarProblem[] {
  if (schedules === undefined) return [];
  return schedules.flatMap(({ calendar: name }, n): CalendarProblem[] => {
    if (name === undefined || calendars.has(name)) return [];
    const near = didYouMean(name, calendars.keys());
    const where = "calendars are in _cdktr.yml of the workflow directory";
    const help =
      near === undefined ? `an entry that names it does not fire; ${where}` : `${near} C${where.slice(1)}`;
    return [{ code: "W021", message: `there is no calendar "${name}"`, help, path: ["cron", n, "calendar"] }];
  });
}

/** The entries of a workflow that never fire, because their calendar has none of their days. @param nowMs the time */
export function checkDays(
  schedules: readonly Entry[] | undefined,
  calendars: ReadonlyMap<string, Calendar>,
  nowMs: number,
): CalendarProblem[] {
  return (schedules ?? []).flatMap((entry, n): CalendarProblem[] => {
    const calendar = calendars.get(entry.calendar ?? "");
    if (calendar === undefined) return [];
    const endless = { ...entry, start_time_ms: null, end_time_ms: undefined };
    const context = { zone: entry.timezone ?? "UTC", calendar, offsetMs: 0 };
    if (nextFiring(endless, context, nowMs) !== null) return [];
    const message = `it never fires: the calendar "${entry.calendar}" has none of its days in the next 10 years`;
    const help = "check both; 'cdktr docs scheduling' has what a calendar may list";
    return [{ code: "W019", message, help, path: ["cron", n, "calendar"] }];
  });
}
