/** The scalars of workflow files: how each is written, validated and stored. */
import { z } from "zod";
import { isTimezone, timezoneNames } from "../host/timezones.ts";
import { didYouMean, nearest } from "../terminal/did-you-mean.ts";
import { DURATION_PATTERN, formatDuration, MAX_DURATION_MS, parseDuration } from "./duration.ts";
import { type Field, scalar } from "./field.ts";
import { PARAM_TYPES, type ParamType } from "./param-types.ts";
import { checkCron } from "./schedule.ts";
import { parseTimestamp } from "./timestamp.ts";

/** In the JSON Schema, a scalar that may be written without quotes whatever it looks like. */
const ANY_SCALAR = { type: ["string", "number", "boolean"] };
/** What the JSON Schema says of a text that a file may have as a list or a mapping, too. */
export const ANY_VALUE = {
  type: ["string", "number", "boolean", "array", "object"],
} as unknown as z.GlobalMeta;

const LONGEST_NAME = 200;
/** As agents accept it. */
const LONGEST_LABEL = 256;
const LARGEST_BACKOFF = 100;
const BACKOFF_WORDS = new Map([
  ["constant", 1],
  ["exponential", 2],
]);

/** Any text. */
export const anyText = () => scalar(z.string(), ANY_SCALAR, (text) => text);

/** Text without NUL: programs, arguments and environment variables would end at one. */
export const text = () =>
  scalar(z.string(), ANY_SCALAR, (value, refuse) =>
    value.includes("\0") ? refuse("E015", "contains a NUL character") : value,
  );

/** Non-empty text. */
export const filled = () =>
  scalar(z.string(), { ...ANY_SCALAR, minLength: 1 }, (value, refuse) => {
    if (value.trim() === "") return refuse("E015", "is empty");
    return value.includes("\0") ? refuse("E015", "contains a NUL character") : value;
  });

/** A script, in which expressions are refused: `$${{` is the text `${{`, as elsewhere. */
export const script = () =>
  scalar(z.string(), { ...ANY_SCALAR, minLength: 1 }, (value, refuse) => {
    if (value.trim() === "") return refuse("E015", "is empty");
    if (value.includes("\0")) return refuse("E015", "contains a NUL character");
    return value.replaceAll("$${{", () => "${{");
  });

/** A display name: one line, because it is part of log lines, whose fields a control character would break. */
export const name = () =>
  scalar(z.string(), { ...ANY_SCALAR, minLength: 1, maxLength: LONGEST_NAME }, (value, refuse) => {
    const trimmed = value.trim();
    if (trimmed === "") return refuse("E015", "is empty", "give it a name");
    if (/[\x00-\x1f\x7f-\x9f\u2028\u2029]/.test(trimmed)) {
      return refuse("E015", "contains a control character or a line break");
    }
    return [...trimmed].length > LONGEST_NAME
      ? refuse("E015", `is longer than ${LONGEST_NAME} characters`)
      : trimmed;
  });

/** The value of a label. */
export const labelValue = () =>
  scalar(z.string(), { ...ANY_SCALAR, minLength: 1, maxLength: LONGEST_LABEL }, (value, refuse) => {
    if (value.trim() === "") return refuse("E015", "is empty", "write the value that an agent must have");
    if (/[\x00-\x1f\x7f]/.test(value)) return refuse("E015", "contains a control character or a line break");
    return value.length > LONGEST_LABEL
      ? refuse("E015", `is longer than ${LONGEST_LABEL} characters`)
      : value;
  });

/** true or false. */
export const flag = () =>
  scalar(
    z.boolean(),
    { type: "boolean" },
    (value, refuse) => {
      if (value === "true" || value === "false") return value === "true";
      const said = /^(yes|on|y|1)$/i.test(value)
        ? "true"
        : /^(no|off|n|0)$/i.test(value)
          ? "false"
          : undefined;
      const near = said ?? nearest(value, ["true", "false"]);
      const help = near === undefined ? undefined : `did you mean ${near}?`;
      return refuse("E012", `must be true or false, not "${value}"`, help);
    },
    { noun: "true or false" },
  );

/** A whole number. */
export const whole = (min: number, max: number) =>
  scalar(
    z.number().int().min(min),
    { type: "integer", minimum: min, maximum: max },
    (value, refuse) => {
      if (!/^[+-]?\d{1,15}$/.test(value)) return refuse("E012", `must be a whole number, not "${value}"`);
      const number = Number(value);
      if (number < min) return refuse("E014", `must be at least ${min}`);
      return number > max ? refuse("E014", `must be at most ${max}`) : number;
    },
    { noun: "a whole number" },
  );

/** The factor by which delays grow. */
export const backoff = () =>
  scalar(
    z.number().min(1),
    {
      type: ["number", "string"],
      anyOf: [{ type: "number", minimum: 1, maximum: LARGEST_BACKOFF }, { enum: [...BACKOFF_WORDS.keys()] }],
    },
    (value, refuse) => {
      const word = BACKOFF_WORDS.get(value);
      if (word !== undefined) return word;
      if (!/^[+-]?\d+(\.\d+)?$/.test(value)) {
        return refuse(
          "E012",
          `must be a number, "constant" or "exponential", not "${value}"`,
          didYouMean(value, BACKOFF_WORDS.keys()),
        );
      }
      const factor = Number(value);
      if (factor < 1) return refuse("E014", "must be at least 1", "1 keeps the delay constant");
      return factor > LARGEST_BACKOFF ? refuse("E014", `must be at most ${LARGEST_BACKOFF}`) : factor;
    },
    {
      noun: 'a number, "constant" or "exponential"',
      write: (factor) => [...BACKOFF_WORDS].find(([, value]) => value === factor)?.[0] ?? factor,
    },
  );

/** A number from 0 to 1. */
export const fraction = () =>
  scalar(
    z.number().min(0).max(1),
    { type: "number", minimum: 0, maximum: 1 },
    (value, refuse) => {
      const percent = /^(\d{1,3}(?:\.\d+)?) ?%$/.exec(value)?.[1];
      if (percent !== undefined)
        return refuse(
          "E012",
          `must be a number from 0 to 1, not "${value}"`,
          `write ${Number(percent) / 100}`,
        );
      if (!/^[+-]?(\d+(\.\d*)?|\.\d+)$/.test(value))
        return refuse("E012", `must be a number from 0 to 1, not "${value}"`);
      const number = Number(value);
      return number < 0 || number > 1 ? refuse("E014", `must be a number from 0 to 1, not ${value}`) : number;
    },
    { noun: "a number from 0 to 1" },
  );

const LEAST_CPU = 0.01;
const MOST_CPU = 4096;

/** A number of processors. */
export const processors = () =>
  scalar(
    z.number().min(LEAST_CPU).max(MOST_CPU),
    { type: "number", minimum: LEAST_CPU, maximum: MOST_CPU },
    (value, refuse) => {
      const thousandths = /^(\d{1,7})m$/.exec(value)?.[1];
      if (!/^\+?(\d+(\.\d*)?|\.\d+)$/.test(value)) {
        const help = thousandths === undefined ? "such as 0.5 or 2" : `write ${Number(thousandths) / 1000}`;
        return refuse("E012", `must be a number of processors, not "${value}"`, help);
      }
      const number = Number(value);
      if (number < LEAST_CPU) return refuse("E014", `must be at least ${LEAST_CPU}`);
      return number > MOST_CPU ? refuse("E014", `must be at most ${MOST_CPU}`) : number;
    },
    { noun: "a number of processors" },
  );

/** A duration, stored in ms. @param maxMs may be longer than any timer can wait */
export const duration = (minMs: number, maxMs?: number): Field<number> =>
  scalar(
    z.number().int().min(minMs),
    { pattern: DURATION_PATTERN },
    (value, refuse) => {
      const result = parseDuration(value, Math.max(MAX_DURATION_MS, maxMs ?? 0));
      if (!result.ok) return refuse("E043", result.message, result.help);
      if (result.ms < minMs)
        return refuse(
          "E043",
          minMs <= 1 ? "must be longer than 0" : `must be at least ${formatDuration(minMs)}`,
        );
      return maxMs !== undefined && result.ms > maxMs
        ? refuse("E043", `must not be longer than ${formatDuration(maxMs)}`)
        : result.ms;
    },
    {
      noun: "a duration",
      help: 'such as "90s", "5m" or "1h30m"',
      write: (ms) => formatDuration(Number(ms)),
    },
  );

/** Words of other tools and languages for types of parameters. */
const OTHER_TYPES = new Map<string, ParamType>([
  ["str", "string"],
  ["text", "string"],
  ["integer", "int"],
  ["long", "int"],
  ["float", "number"],
  ["double", "number"],
  ["decimal", "number"],
  ["boolean", "bool"],
  ["flag", "bool"],
  ["day", "date"],
  ["datetime", "date"],
  ["timestamp", "date"],
  ["list", "json"],
  ["array", "json"],
  ["object", "json"],
  ["map", "json"],
  ["dict", "json"],
]);

/** The type of a parameter. */
export const paramType = () =>
  scalar(
    z.string(),
    { enum: [...PARAM_TYPES] },
    (value, refuse) => {
      const known = PARAM_TYPES.find((type) => type === value);
      if (known !== undefined) return known;
      const meant = OTHER_TYPES.get(value.toLowerCase()) ?? nearest(value, PARAM_TYPES);
      return refuse(
        "E070",
        `must be ${PARAM_TYPES.map((type) => `"${type}"`)
          .join(", ")
          .replace(/, ("[^"]*")$/, " or $1")}, not "${value}"`,
        meant === undefined ? undefined : `did you mean "${meant}"?`,
      );
    },
    { noun: "a type of parameters", help: "one of string, int, number, bool, date and json" },
  );

/** A cron expression. */
export const cron = () =>
  scalar(
    z.string(),
    {},
    (value, refuse) => {
      const problem = checkCron(value);
      if (problem !== null) return refuse("E040", problem.message, problem.help, problem);
      return value.trim().replace(/\s+/g, " ");
    },
    { noun: "a cron expression", help: 'such as "0 2 * * *", every day at 02:00' },
  );

/** The IANA name of a time zone. */
export const timezone = () =>
  scalar(
    z.string(),
    {},
    (value, refuse) => {
      if (isTimezone(value)) return value;
      const near = nearest(value, timezoneNames());
      return refuse(
        "E041",
        `"${value}" is not a known time zone`,
        near === undefined ? "write an IANA name such as Europe/London or UTC" : `did you mean "${near}"?`,
      );
    },
    { noun: "the name of a time zone", help: "such as Europe/London" },
  );

/** A point in time, stored in ms since the epoch. */
export const timestamp = () =>
  scalar(
    z.number().int(),
    { format: "date-time" },
    (value, refuse) => {
      const result = parseTimestamp(value);
      return result.ok ? result.ms : refuse("E042", result.message, result.help);
    },
    { noun: "a date and time", help: "such as 2025-01-20T02:00:00+00:00" },
  );

/** Text in a fixed format. */
export const formed = (pattern: RegExp, message: string, help: string) =>
  scalar(z.string(), { type: "string", pattern: pattern.source }, (value, refuse) =>
    pattern.test(value) ? value : refuse("E014", message, help),
  );

/** A path or a glob that stays below the directory of the workflow file. */
export const fileGlob = () =>
  scalar(z.string(), { type: "string", minLength: 1, maxLength: 1024 }, (value, refuse) => {
    if (value.trim() === "") return refuse("E014", "is empty", "write a path or a glob, such as scripts/**");
    const leaves = value.startsWith("/") || value.split("/").includes("..");
    if (leaves || value.length > 1024 || value.includes("\0"))
      return refuse(
        "E090",
        `must stay below the directory of the workflow file: "${value.slice(0, 60)}"`,
        "put the files there; a path starts at the directory of the workflow file",
      );
    return value;
  });
