/** Splits a crontab into classified lines: crontab(5) of Vixie cron and cronie, for users and for the system (with a user column). */
import { readEnvironmentLine } from "./environment-line.ts";

/** Whether a crontab has a user column. */
export type CrontabFormat = "user" | "system";

/** A job: when to run what. */
export interface JobLine {
  readonly kind: "job";
  /** Five fields, or one word that begins with `@`. */
  readonly times: readonly string[];
  /** Only in a system crontab. */
  readonly user: string | undefined;
  readonly command: string;
  /** What was dropped from the line. */
  readonly notes: readonly string[];
  /** The job is commented out. */
  readonly disabled: boolean;
}

/** The kind of a line. */
type LineContent =
  | { readonly kind: "blank" }
  | { readonly kind: "comment"; readonly says: string }
  | { readonly kind: "environment"; readonly name: string; readonly value: string }
  | JobLine
  | { readonly kind: "unreadable"; readonly why: string };

/** A line of a crontab. */
export interface CrontabLine {
  /** Counted from 1. */
  readonly number: number;
  /** The raw line, without its newline. */
  readonly text: string;
  readonly content: LineContent;
}

/** The example in the header of each new crontab on Debian. */
const DEBIAN_EXAMPLE = /^0 5 \* \* 1 tar -zcf \/var\/backups\/home\.tgz \/home\/$/;
const REPLACEMENT = "\ufffd";
/** Words in the header of a table of jobs, and in the drawing that explains the fields. */
const HEAD_WORDS = new Set(
  `m mi min mins minute minutes h hr hrs hour hours d dd dom day days mon month months dow weekday week w of the user username name
   command commands cmd job script program to be run executed execute or and is jan feb mar apr may jun jul aug sep oct nov dec
   sun tue wed thu fri sat sunday monday tuesday wednesday thursday friday saturday sec second seconds`.split(
    /\s+/,
  ),
);
/** Lines that lead from a field to its name, a range of values, or the fields themselves. */
const DRAWING = /[│┌└├─┬┼┴╭╰|]|[.+`]-|\d ?- ?\d|\* +\* +\*/;

/** Whether a comment belongs to the usual header above the jobs, which explains the fields, not a job. */
export function isTableHead(comment: string): boolean {
  const words = comment.toLowerCase().match(/[a-z]+/g) ?? [];
  return (
    words.length > 0 &&
    words.every((word) => HEAD_WORDS.has(word)) &&
    (words.length >= 4 || DRAWING.test(comment))
  );
}

/** Parses a crontab. Bytes that are not UTF-8 make only their own line unreadable. */
export function readCrontab(bytes: Uint8Array, format: CrontabFormat): CrontabLine[] {
  const lines = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes).split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines.map((raw, index) => {
    const text = raw.replace(/\r$/, "");
    return { number: index + 1, text, content: contentOf(text, format) };
  });
}

function contentOf(text: string, format: CrontabFormat): LineContent {
  const line = text.replace(/^[ \t]+/, "");
  if (line.trim() === "") return { kind: "blank" };
  if (line.includes(REPLACEMENT)) return { kind: "unreadable", why: "it is not UTF-8" };
  if (line.includes("\0")) return { kind: "unreadable", why: "it contains a NUL character" };
  if (line.startsWith("#")) {
    const says = line.replace(/^#+[ \t]?/, "");
    const job = DEBIAN_EXAMPLE.test(says.trim()) ? undefined : jobOf(says.trimStart(), format, true);
    return job?.kind === "job" && looksMeant(job) ? job : { kind: "comment", says: says.trimEnd() };
  }
  const environment = readEnvironmentLine(line);
  if (environment !== undefined) return { kind: "environment", ...environment };
  return jobOf(line, format, false);
}

function jobOf(line: string, format: CrontabFormat, disabled: boolean): JobLine | LineContent {
  // cronie and SUSE: the job is not written to the system log.
  let rest = line.replace(/^-(?=\S)/, "");
  const notes =
    rest === line
      ? []
      : ["The - before the times is dropped: it kept cron from writing the job to the system log."];
  const take = (): string => {
    const word = /^\S+/.exec(rest)?.[0] ?? "";
    rest = rest.slice(word.length).replace(/^[ \t]+/, "");
    return word;
  };
  const first = take();
  const times = first.startsWith("@") ? [first] : [first, take(), take(), take(), take()];
  if (times.includes(""))
    return {
      kind: "unreadable",
      why: "it is neither a comment, nor NAME=VALUE, nor five fields and a command",
    };
  const owner = format === "system" ? take() : undefined;
  const user = owner?.replace(/[:/].*/, "");
  if (owner !== user && owner !== undefined && user !== undefined)
    notes.push(
      `"${owner.slice(user.length)}" after the user is dropped: tasks have the group and class of their agent.`,
    );
  if (rest === "" || user === "") {
    return {
      kind: "unreadable",
      why: user === undefined ? "it has no command" : "it has no user or no command",
    };
  }
  if (user === undefined && rest.startsWith("*"))
    return {
      kind: "unreadable",
      why: "there is one field too many: cron does not accept a command that begins with *",
    };
  return { kind: "job", times, user, command: rest, notes, disabled };
}

/** Whether a comment that looks like a job is one, rather than prose. */
function looksMeant({ times }: JobLine): boolean {
  if (times.length === 1)
    return /^@(yearly|annually|monthly|weekly|daily|midnight|hourly)$/.test(times[0] ?? "");
  const field =
    /^(?:\*|\d{1,2}|[A-Za-z]{3})(?:[-~]\w{1,3})?(?:\/\d{1,2})?(?:,(?:\d{1,2}|[A-Za-z]{3})(?:-\w{1,3})?(?:\/\d{1,2})?)*$/;
  const [minute = "", hour = ""] = times;
  return times.every((text) => field.test(text)) && /^[\d*]/.test(minute) && /^[\d*]/.test(hour);
}

/**
 * Guesses whether a crontab has a user column when its path does not tell: it does if in each job the word in that place is the name
 * of a user, and at least one of these words cannot be a command.
 */
export function guessFormat(
  bytes: Uint8Array,
  isUser: (name: string) => boolean,
  isProgram: (name: string) => boolean,
): CrontabFormat {
  const words = readCrontab(bytes, "user").flatMap(({ content }) =>
    content.kind === "job" && !content.disabled ? [content.command.split(/[ \t]/, 1)[0] ?? ""] : [],
  );
  const allUsers = words.length > 0 && words.every((word) => isUser(word));
  return allUsers && words.some((word) => !isProgram(word)) ? "system" : "user";
}
