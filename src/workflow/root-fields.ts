/** The keys of the settings of the workflow directory itself: `pools` and `calendars`. */
import { z } from "zod";
import { type CalendarSpec, readItem } from "./calendar.ts";
import { Block, Field, type NameCheck, named, oneOf, scalar } from "./field.ts";
import { POOL_NAME, problemOfPoolName } from "./pool.ts";

/** The largest size of a pool, in slots. */
const LARGEST_POOL = 100_000;

/** Names of calendars. */
export const CALENDAR_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$/;

const calendarNames = (): NameCheck => (name) => {
  if (CALENDAR_NAME.test(name)) return null;
  const shown = JSON.stringify(name.length > 60 ? `${name.slice(0, 60)}…` : name);
  return {
    code: "E045",
    message: `${shown} is not a valid name for a calendar`,
    help: "use letters, digits, _, - and ., at most 100",
  };
};

/** The number of slots of a pool; 0 closes it. */
const poolSize = () =>
  scalar(z.number().int(), { type: "integer", minimum: 0, maximum: LARGEST_POOL }, (text, refuse) => {
    const size = /^\+?\d{1,15}$/.test(text.trim()) ? Number(text) : Number.NaN;
    if (size <= LARGEST_POOL) return size;
    const shown = JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
    return refuse("E094", `must be a whole number of slots from 0 to ${LARGEST_POOL}, not ${shown}`);
  });

/** The sizes of pools. */
export const pools = () =>
  named(POOL_NAME, () => problemOfPoolName, poolSize().help("such as pools: {warehouse: 4}")).sparse();

const ITEMS_HELP = "such as [MON-FRI, 2026-12-25, 12-25, 2026-07-20..2026-08-03]";

/** A weekday, a date, a day of each year, or a range of one of these. */
const item = () =>
  scalar(z.string(), {}, (text, refuse) => {
    const read = readItem(text);
    return typeof read === "string" ? read : refuse("E045", read.message, read.help);
  });

/** One or several, stored as a list. @param forms in which one is written */
function oneOrList<T>(one: Field<T>, forms: readonly z.ZodType<T>[], noun: string, help: string): Field<T[]> {
  const single = forms.map((form) => form.transform((value) => [value]));
  const file = z.union([...single, z.array(one.file).min(1)]);
  return new Field(file as unknown as z.ZodType<T[]>, z.array(one.stored), {
    noun,
    help,
    ...(one.traits.keys === undefined ? {} : { keys: one.traits.keys }),
    listEntry: one,
  });
}

/** One or several days, see readItem in calendar.ts. */
export const days = () => oneOrList(item(), [item().file], "a list of days", ITEMS_HELP);

/** A file with days of a calendar. */
export interface CalendarFile {
  /** Relative to the workflow directory. */
  readonly file: string;
  readonly as: "include" | "exclude";
}

const icsPath = () =>
  scalar(z.string(), {}, (text, refuse) => {
    const path = text.trim().replace(/^(\.\/)+/, "");
    const parts = path.split("/");
    if (path.startsWith("/") || parts.includes("..") || parts.includes("") || path.includes("\0"))
      return refuse(
        "E045",
        "must be the path of a file below the workflow directory",
        "such as holidays.ics",
      );
    if (parts.some((part) => part.startsWith(".")) || !path.endsWith(".ics"))
      return refuse(
        "E045",
        "must be the path of a file whose name ends in .ics",
        "hidden files are not read",
      );
    return path;
  });

const IcsFile = new Block({
  file: icsPath()
    .help("such as holidays.ics")
    .describe("Path of the file, relative to the workflow directory"),
  as: oneOf("include", "exclude")
    .default("exclude")
    .describe("Whether the days of its events are in the calendar, or not"),
});
const ICS_FORMS = [
  icsPath().file.transform((file): CalendarFile => ({ file, as: "exclude" })),
  IcsFile.file as z.ZodType<CalendarFile>,
];
const ICS_HELP = "such as holidays.ics, or {file: fairs.ics, as: include}";
const icsFile = new Field(z.union(ICS_FORMS), IcsFile.stored as z.ZodType<CalendarFile>, {
  ...IcsFile.traits,
  noun: "the path of a file",
  help: ICS_HELP,
});

const Calendar = new Block(
  {
    include: days()
      .sparse()
      .describe(
        "The days that are in it: weekdays, dates, days of each year, and ranges of these; by default all",
      ),
    exclude: days().sparse().describe("The days that are not in it, whatever includes them"),
    ics: oneOrList(icsFile, ICS_FORMS, "the path of a file, or a list of files", ICS_HELP)
      .sparse()
      .describe(
        "Files in the format iCalendar, whose events are days that are not in it, or with as: include, that are",
      ),
  },
  "Days on which schedules may fire",
);

/** What `_cdktr.yml` says of a calendar. */
export interface CalendarSettings extends CalendarSpec {
  readonly ics?: readonly CalendarFile[] | undefined;
}

/** Calendars, by name. */
export const calendars = () =>
  named(
    CALENDAR_NAME,
    calendarNames,
    (Calendar as unknown as Field<CalendarSettings>).help("such as workdays: {include: [MON-FRI]}"),
  )
    .help("such as calendars: {workdays: {include: [MON-FRI], exclude: [2026-12-25]}}")
    .sparse();
