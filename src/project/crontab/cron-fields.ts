/**
 * Parses the times of a crontab line like Vixie cron (entry.c of Debian's cron 3.0pl1, of ISC cron 4.1 and of cronie) and translates
 * them into the `cron` of a workflow. What these programs reject is rejected here too: such a line has never fired.
 */

/** The times of a line cannot be expressed in a workflow. */
export class CronFieldError extends Error {}

/** The times of a line, as a workflow's schedule. */
export interface CronTimes {
  /** Five fields. */
  readonly expression: string;
  /** The times of day, in minutes, if they are fixed by cron's rules: neither hour nor minute begins with `*`. Otherwise empty. */
  readonly fixed: readonly number[];
  /** Notes for the reader of the workflow. */
  readonly notes: readonly string[];
}

interface Field {
  readonly name: string;
  readonly low: number;
  readonly high: number;
  readonly names?: readonly string[];
}

const FIELDS: readonly Field[] = [
  { name: "minute", low: 0, high: 59 },
  { name: "hour", low: 0, high: 23 },
  { name: "day of the month", low: 1, high: 31 },
  {
    name: "month",
    low: 1,
    high: 12,
    names: ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
  },
  {
    name: "day of the week",
    low: 0,
    high: 7,
    names: ["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
  },
];

/** The shortcuts, as cron defines them. */
const SHORT: Readonly<Record<string, string>> = {
  "@yearly": "0 0 1 1 *",
  "@annually": "0 0 1 1 *",
  "@monthly": "0 0 1 * *",
  "@weekly": "0 0 * * 0",
  "@daily": "0 0 * * *",
  "@midnight": "0 0 * * *",
  "@hourly": "0 * * * *",
  // FreeBSD only.
  "@every_minute": "*/1 * * * *",
};

/** The five fields of a shortcut; undefined if it has none. */
export function shortForm(word: string): string | undefined {
  return Object.hasOwn(SHORT, word) ? SHORT[word] : undefined;
}

/** A parsed field. */
interface ReadField {
  readonly values: ReadonlySet<number>;
  /** As written in a workflow. */
  readonly text: string;
  /** It begins with `*`: then both day fields must match, otherwise either one. */
  readonly star: boolean;
  readonly notes: readonly string[];
}

/**
 * Parses five fields.
 * @param random returns the next number in [0, 1), for `~`
 * @throws CronFieldError naming the invalid field and the reason
 */
export function readTimes(fields: readonly string[], random: () => number): CronTimes {
  const [minute, hour, day, month, weekday] = FIELDS.map((field, i) =>
    readField(fields[i] ?? "", field, random),
  );
  if (!minute || !hour || !day || !month || !weekday)
    throw new CronFieldError("it has fewer than five fields");
  const days = bothDays(day, weekday);
  return {
    expression: [minute.text, hour.text, days.day, month.text, days.weekday].join(" "),
    fixed:
      minute.star || hour.star
        ? []
        : [...hour.values].flatMap((h) => [...minute.values].map((m) => h * 60 + m)),
    notes: [minute, hour, day, month, weekday].flatMap(({ notes }) => notes),
  };
}

/** Combines the two day fields: cron requires both to match when one begins with `*`, a workflow only when that one is just `*`. */
function bothDays(day: ReadField, weekday: ReadField): { day: string; weekday: string } {
  const everyDay = day.values.size === 31;
  const everyWeekday = [0, 1, 2, 3, 4, 5, 6].every((value) => weekday.values.has(value));
  if (day.star || weekday.star) {
    if (everyDay) return { day: "*", weekday: everyWeekday ? "*" : weekday.text };
    if (everyWeekday) return { day: day.text, weekday: "*" };
    // croner's syntax for "and".
    return { day: day.text, weekday: `+${weekday.text}` };
  }
  if (everyDay || everyWeekday) return { day: "*", weekday: "*" };
  return { day: day.text, weekday: weekday.text };
}

function readField(text: string, field: Field, random: () => number): ReadField {
  const values = new Set<number>();
  const parts: string[] = [];
  const notes: string[] = [];
  for (const element of text.split(",")) {
    const read = readElement(element, field, text, random);
    for (const value of read.values) values.add(value);
    parts.push(read.text);
    if (read.note !== undefined) notes.push(read.note);
  }
  if (field.high === 7) {
    if (values.has(7)) values.add(0);
    values.delete(7);
  }
  return { values, text: parts.includes("*") ? "*" : parts.join(","), star: text.startsWith("*"), notes };
}

function readElement(
  element: string,
  field: Field,
  whole: string,
  random: () => number,
): { values: number[]; text: string; note?: string } {
  const wrong = (why: string) => new CronFieldError(`${field.name} "${whole}": ${why}`);
  if (element.includes("~")) {
    const match = /^(\w*)~(\w*)$/.exec(element);
    if (match === null)
      throw wrong("a random range with a step is read differently by different cron programs");
    const low = match[1] ? numberOf(match[1], field, wrong) : field.low;
    const high = match[2]
      ? numberOf(match[2], field, wrong)
      : Math.min(field.high, field.low === 0 && field.high === 7 ? 6 : field.high);
    if (low > high) throw wrong("the range runs backwards");
    const value = low + Math.floor(random() * (high - low + 1));
    return {
      values: [value],
      text: String(value),
      note: `The ${field.name} was ${element}: cron picks a random value at start; ${value} was picked permanently.`,
    };
  }
  const match = /^(?:(\*)|(\w+)(?:-(\w+))?)(?:\/(\w+))?$/.exec(element);
  if (match === null) throw wrong("cron does not support this syntax");
  const [, star, first, last, stepText] = match;
  const low = star === undefined ? numberOf(first ?? "", field, wrong) : field.low;
  const high = star !== undefined ? field.high : last === undefined ? low : numberOf(last, field, wrong);
  if (low > high) throw wrong("the range runs backwards: cron rejects it or never runs it");
  if (stepText !== undefined && star === undefined && last === undefined) {
    throw wrong(
      `a step after a single value is refused by some cron programs and read as ${low}-${field.high}/${stepText} by others; write it explicitly`,
    );
  }
  if (stepText !== undefined && !/^\d{1,4}$/.test(stepText)) throw wrong("the step is not a number");
  const step = stepText === undefined ? 1 : Number(stepText);
  if (step === 0) throw wrong("a step of 0, which cron itself rejects");
  const values: number[] = [];
  for (let value = low; value <= high; value += step) values.push(value);
  return { values, text: said(values, { low, high, step, field, star: star !== undefined, first, last }) };
}

/** An element in the syntax of a workflow: unchanged if both read it alike, otherwise as a list of values. */
function said(
  values: readonly number[],
  of: {
    low: number;
    high: number;
    step: number;
    field: Field;
    star: boolean;
    first: string | undefined;
    last: string | undefined;
  },
): string {
  const { low, high, step, field, star } = of;
  const isWeekday = field.high === 7;
  if (star && step === 1) return "*";
  if (values.length === 1) return shown(of.first, isWeekday && low === 7 ? 0 : low);
  if (star && !isWeekday) return `*/${step}`;
  if (!star && step === 1 && !(isWeekday && high === 7))
    return `${shown(of.first, low)}-${shown(of.last, high)}`;
  if (!star && !(isWeekday && high === 7)) return `${shown(of.first, low)}-${shown(of.last, high)}/${step}`;
  // No two programs agree on steps over a week with Sunday at both ends.
  return [...new Set(values.map((value) => value % 7))].sort((a, b) => a - b).join(",");
}

/** A name as it was written, anything else as a number. */
function shown(written: string | undefined, value: number): string {
  return written !== undefined && /^[a-z]+$/i.test(written) ? written.toUpperCase() : String(value);
}

function numberOf(text: string, field: Field, wrong: (why: string) => CronFieldError): number {
  const named = field.names?.indexOf(text.toLowerCase()) ?? -1;
  if (named !== -1) return named + field.low;
  if (!/^\d{1,4}$/.test(text)) throw wrong(`"${text}" is not a ${field.name}`);
  const value = Number(text);
  if (value < field.low || value > field.high)
    throw wrong(`${value} is not between ${field.low} and ${field.high}`);
  return value;
}
