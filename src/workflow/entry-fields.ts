/** How schedules are written in a workflow file: a text, a mapping, or a list of these. */
import { z } from "zod";
import {
  Block,
  Field,
  type NameCheck,
  named,
  oneOf,
  Parts,
  type Problem,
  VARIABLE_NAME,
  type ValueOf,
} from "./field.ts";
import { MAX_SCHEDULES } from "./limits.ts";
import { type ParamRules, readParam } from "./param-types.ts";
import { CALENDAR_NAME } from "./root-fields.ts";
import { cron, duration, formed, text, timestamp, timezone } from "./scalars.ts";
import type { Entry } from "./schedules.ts";

/** The longest jitter of a schedule, ms. */
const MAX_JITTER_MS = 86_400_000;

const CATCHUP = ["none", "latest", "all"] as const;

/** The policy for missed firings; its description and its default are those of its place. */
export const catchup = () => oneOf(...CATCHUP);

/** Names of parameters are checked with the parameters, see check-schedules.ts. */
const anyName = (): NameCheck => () => null;

const NEW = {
  end_time: timestamp().sparse().as("end_time_ms").describe("No firing at this instant or after it"),
  catchup_window: duration(1)
    .help("such as 6h")
    .sparse()
    .as("catchup_window_ms")
    .describe("Missed firings that are older than this are not caught up"),
  calendar: formed(
    CALENDAR_NAME,
    "is not the name of a calendar",
    'name one of calendars: in "_cdktr.yml" of the workflow directory',
  )
    .sparse()
    .describe("Name of a calendar in _cdktr.yml: it fires on its days only"),
  jitter: duration(1, MAX_JITTER_MS)
    .help("such as 5m")
    .sparse()
    .as("jitter_ms")
    .describe("Shifts all its firings by a fixed part of this, which depends on the id of the workflow"),
  params: named(VARIABLE_NAME, anyName, text().help("such as params: {full: true}"))
    .sparse()
    .describe("Parameters of its runs"),
};

/** An entry as a file has it. */
const EntryOfFile = new Block(
  {
    cron: cron().describe("When it fires: 5 fields, or 6 if the first one is the second"),
    timezone: timezone().sparse().describe("IANA name of its time zone; by default that of the workflow"),
    start_time: timestamp()
      .sparse()
      .as("start_time_ms")
      .describe("No firing before this instant; by default that of the workflow"),
    catchup: catchup()
      .sparse()
      .describe("What happens to its missed firings; by default what the workflow says"),
    ...NEW,
  },
  "A schedule with settings of its own",
);
/** An entry as it is stored. */
const StoredEntry = new Block({
  cron: cron(),
  timezone: timezone().optional(),
  start_time: timestamp().optional().as("start_time_ms"),
  catchup: catchup().default("latest"),
  ...NEW,
});

/** The stored form of the entries of a workflow. */
export const Schedules: z.ZodType<Entry[]> = z.array(StoredEntry.stored) as z.ZodType<Entry[]>;

type FileEntry = ValueOf<typeof EntryOfFile>;

const oneEntry = z.union([cron().file.transform((text): FileEntry => ({ cron: text })), EntryOfFile.file]);

/**
 * The value of `cron`: a text, which is stored there, or entries, which become `schedules`: {@link withSchedules} fills in what they leave to
 * the workflow.
 */
export function schedule(): Field<string> {
  const entries = z.array(oneEntry).superRefine((all, ctx) => {
    const problem = problemOf(all.length);
    if (problem !== null) ctx.addIssue({ code: "custom", message: problem.message, params: { problem } });
  });
  const file = z.union([
    cron().file,
    EntryOfFile.file.transform((entry) => new Parts({ cron: null, schedules: [entry] })),
    entries.transform((all) => new Parts({ cron: null, schedules: all })),
  ]) as unknown as z.ZodType<string>;
  const traits = {
    ...cron().traits,
    noun: "a schedule or a list of schedules",
    keys: EntryOfFile.traits.keys ?? {},
    listEntry: new Field(oneEntry, z.unknown() as never, {
      keys: EntryOfFile.traits.keys ?? {},
      noun: "a schedule",
      help: 'such as "0 2 * * *", or {cron: "0 2 * * *", timezone: Europe/London}',
    }),
  };
  return new Field(file, cron().stored, traits);
}

function problemOf(count: number): Problem | null {
  if (count === 0) {
    const message = "must be a schedule or a list of schedules, not an empty list";
    return { code: "E044", message, help: 'remove it, or write cron: "0 2 * * *"' };
  }
  if (count <= MAX_SCHEDULES) return null;
  const help = `at most ${MAX_SCHEDULES} are allowed; a schedule may have lists and ranges, such as "0 6-18 * * MON-FRI"`;
  return { code: "E044", message: `has ${count} entries`, help };
}

/** What a file says of its schedules. */
export interface FileSchedules {
  readonly cron: string | null;
  readonly timezone: string | null;
  readonly start_time_ms: number | null;
  readonly catchup: Entry["catchup"];
  readonly on?: unknown;
  readonly params: Readonly<Record<string, ParamRules>>;
  readonly schedules?: readonly Entry[] | undefined;
}

/** The entries of a file; what one leaves out is what the workflow says. */
export function entriesOfFile(file: FileSchedules): Entry[] {
  return (file.schedules ?? []).map((entry) => completed(entry, file));
}

/**
 * The contents of a file with complete schedules. One entry that uses nothing but what
 * a text can have is stored as that text.
 */
export function withSchedules<F extends FileSchedules>(file: F): F {
  if (file.schedules === undefined) return file;
  const all = entriesOfFile(file);
  const [only, ...others] = all;
  // The catchup of the workflow is also about its events.
  const isOld =
    only !== undefined &&
    others.length === 0 &&
    Object.keys(only).length === 4 &&
    (file.on === undefined || only.catchup === file.catchup);
  if (!isOld) return { ...file, schedules: all };
  const { schedules: _, ...rest } = file;
  return { ...rest, ...only } as unknown as F;
}

function completed(entry: Partial<Entry> & Pick<Entry, "cron">, file: FileSchedules): Entry {
  const { cron, timezone, start_time_ms, catchup, params, ...more } = entry;
  return {
    cron,
    timezone: timezone ?? file.timezone,
    start_time_ms: start_time_ms ?? file.start_time_ms,
    catchup: catchup ?? file.catchup,
    ...more,
    ...(params === undefined || Object.keys(params).length === 0
      ? {}
      : { params: spelled(params, file.params) }),
  };
}

/** Values in the spelling of their types, so that equal ones are the same text. */
function spelled(
  params: NonNullable<Entry["params"]>,
  declared: FileSchedules["params"],
): Record<string, string> {
  return Object.fromEntries(
    Object.entries(params).map(([name, value]) => {
      const read = readParam(Object.hasOwn(declared, name) ? (declared[name] ?? {}) : {}, value);
      return [name, read.ok ? read.text : value];
    }),
  );
}
