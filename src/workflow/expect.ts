/** `expect`: what people rely on. A run that breaks it is late; a workflow of which no run keeps it has missed it. */
import { z } from "zod";
import { hasAnyDay } from "./calendar.ts";
import { formatDuration } from "./duration.ts";
import { Block, Field, type Problem, scalar, type ValueOf } from "./field.ts";
import { days } from "./root-fields.ts";
import { duration, timezone } from "./scalars.ts";

/** The rules, in the order in which they are shown. */
export const EXPECT_RULES = ["start_within", "max_duration", "finish_by", "at_least_every"] as const;
export type ExpectRule = (typeof EXPECT_RULES)[number];

/** The longest time between two successes, ms: more than a year, for what runs once a year. */
const LONGEST_PERIOD_MS = 400 * 86_400_000;

/** A time of day, stored as `06:00` or `06:00:30`. */
const timeOfDay = () =>
  scalar(
    z.string().regex(/^\d{2}:\d{2}(:\d{2})?$/),
    { pattern: "^([01]?\\d|2[0-3]):[0-5]\\d(:[0-5]\\d)?$" },
    (value, refuse) => {
      const [, hour = "", minute = "", second = ""] =
        /^(\d{1,2}):(\d{2})(?::(\d{2}))?$/.exec(value.trim()) ?? [];
      if (hour === "" || Number(hour) > 23 || Number(minute) > 59 || Number(second) > 59)
        return refuse("E120", `must be a time of day, not "${value}"`, helpOfTime(value.trim()));
      return `${hour.padStart(2, "0")}:${minute}${second === "" || second === "00" ? "" : `:${second}`}`;
    },
    { noun: "a time of day", help: 'such as "06:00"' },
  );

/** What to write instead of another way to say a time. */
function helpOfTime(value: string): string {
  if (/^24:00(:00)?$/.test(value)) return 'the end of a day is the start of the next one: "00:00"';
  const [, hour = "", minute = "00", half = ""] =
    /^(\d{1,2})(?::(\d{2}))? ?([ap])\.?m\.?$/i.exec(value) ?? [];
  const hours = (Number(hour) % 12) + (half.toLowerCase() === "p" ? 12 : 0);
  if (hour !== "" && Number(hour) >= 1 && Number(hour) <= 12 && Number(minute) < 60)
    return `write "${String(hours).padStart(2, "0")}:${minute}"`;
  return 'write hours and minutes, such as "06:00"; a time zone goes into {time: "06:00", timezone: Europe/London}';
}

const FinishByMapping = new Block({
  time: timeOfDay().describe("The time of day"),
  timezone: timezone()
    .sparse()
    .describe("IANA name of its time zone; by default that of the workflow, or of its schedules"),
  days: days()
    .sparse()
    .describe("The days on which it counts, such as MON-FRI; by default all with a firing before it"),
});

/** A time of day by which a run must have completed. */
export type FinishBy = ValueOf<typeof FinishByMapping>;

function finishBy(): Field<FinishBy> {
  const mapping = FinishByMapping.file.superRefine((value, ctx) => {
    const { days } = value as FinishBy;
    if (days === undefined || hasAnyDay({ include: days })) return;
    const problem: Problem = { code: "E120", message: "has no day at all" };
    ctx.addIssue({ code: "custom", message: problem.message, params: { problem } });
  });
  const file = z.union([timeOfDay().file.transform((time): FinishBy => ({ time })), mapping]);
  return new Field(
    file as unknown as z.ZodType<FinishBy>,
    FinishByMapping.stored as unknown as z.ZodType<FinishBy>,
    {
      ...FinishByMapping.traits,
      noun: "a time of day",
      help: 'such as "06:00", or {time: "06:00", timezone: Europe/London}',
    },
  );
}

const Mapping = new Block({
  start_within: duration(1)
    .help("such as start_within: 10m")
    .sparse()
    .as("start_within_ms")
    .describe("A run that has not started this long after it should have is late"),
  max_duration: duration(1)
    .help("such as max_duration: 2h")
    .sparse()
    .as("max_duration_ms")
    .describe("A run that takes longer, with all its attempts, is late; it goes on"),
  finish_by: finishBy()
    .sparse()
    .describe("Time of day by which the run of the last firing before it must have completed"),
  at_least_every: duration(1, LONGEST_PERIOD_MS)
    .help("such as at_least_every: 26h")
    .sparse()
    .as("at_least_every_ms")
    .describe("The longest time between the ends of two runs that completed"),
});

/** What is expected of a workflow and of its runs, as it is stored. */
export type Expect = ValueOf<typeof Mapping>;

/** The value of `expect`: a mapping with at least one rule. */
export function expectations(): Field<Expect | undefined> {
  const file = Mapping.file.superRefine((value, ctx) => {
    if (Object.keys(value).length > 0 || ctx.issues.length > 0) return;
    const help = 'remove it, or write what is expected, such as {max_duration: 2h, finish_by: "06:00"}';
    const problem: Problem = { code: "E120", message: "is empty", help };
    ctx.addIssue({ code: "custom", message: problem.message, params: { problem } });
  });
  return new Field(
    file as unknown as z.ZodType<Expect>,
    Mapping.stored as unknown as z.ZodType<Expect>,
    Mapping.traits,
  )
    .help('such as {max_duration: 2h, finish_by: "06:00", start_within: 10m, at_least_every: 26h}')
    .sparse();
}

/**
 * A rule in words, as a promise: `completed by 06:00 (Europe/London)`.
 * @param zone that of the workflow, if it is known
 */
export function ruleInWords(rule: ExpectRule, expect: Expect, zone?: string): string | null {
  switch (rule) {
    case "start_within":
      return expect.start_within_ms === undefined
        ? null
        : `starts within ${formatDuration(expect.start_within_ms)}`;
    case "max_duration":
      return expect.max_duration_ms === undefined
        ? null
        : `takes at most ${formatDuration(expect.max_duration_ms)}`;
    case "finish_by": {
      const { time, timezone = zone, days } = expect.finish_by ?? {};
      if (time === undefined) return null;
      const on = days === undefined ? "" : ` on ${days.join(", ")}`;
      return `completed by ${time}${on}${timezone === undefined ? "" : ` (${timezone})`}`;
    }
    case "at_least_every":
      return expect.at_least_every_ms === undefined
        ? null
        : `completes at least every ${formatDuration(expect.at_least_every_ms)}`;
  }
}
