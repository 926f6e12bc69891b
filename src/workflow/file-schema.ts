/**
 * A workflow file, described once: the checks, the types and the JSON Schema come from here. Values are those of
 * yaml-tree.ts: every scalar is a string as it was written, so that `1.10` in `args` reaches the program as `1.10`.
 */
import { z } from "zod";
import { didYouMean, nearest } from "../terminal/did-you-mean.ts";
import type { DiagnosticCode } from "./diagnostic.ts";
import { DURATION_PATTERN, parseDuration } from "./duration.ts";
import { IDENTIFIER } from "./model.ts";
import { BACKOFF_WORDS, RETRY_DEFAULTS } from "./retry.ts";
import { checkCron, isTimezone, timezoneNames } from "./schedule.ts";
import { parseTimestamp } from "./timestamp.ts";
import { TAG_KEY } from "./yaml-tree.ts";

/** What a check of ours says of a scalar; offsets are into its text. */
export interface Problem {
  readonly code: DiagnosticCode;
  readonly message: string;
  readonly help?: string | undefined;
  readonly start?: number;
  readonly end?: number;
}

/** In the JSON Schema, a scalar that may be written without quotes whatever it looks like. */
const ANY_SCALAR = { type: ["string", "number", "boolean"] } as const;

const LONGEST_NAME = 200;

/** A problem, reported through zod. */
function report(ctx: z.core.$RefinementCtx, problem: Problem): typeof z.NEVER {
  ctx.addIssue({ code: "custom", message: problem.message, params: { problem } });
  return z.NEVER;
}

/** Some text; programs, arguments and environment variables end at a NUL, so none may be inside. */
const text = () =>
  z
    .string()
    .superRefine((value, ctx) => {
      if (value.includes("\0")) report(ctx, { code: "E015", message: "contains a NUL character" });
    })
    .meta(ANY_SCALAR);

/** Some text that is not empty. */
const filled = () =>
  z
    .string()
    .superRefine((value, ctx) => {
      if (value.trim() === "") report(ctx, { code: "E015", message: "is empty" });
      else if (value.includes("\0")) report(ctx, { code: "E015", message: "contains a NUL character" });
    })
    .meta({ ...ANY_SCALAR, minLength: 1 });

/** A name for people: one line; it travels in log lines, whose fields a control character would break. */
const name = () =>
  z
    .string()
    .transform((value, ctx) => {
      const trimmed = value.trim();
      if (trimmed === "") return report(ctx, { code: "E015", message: "is empty", help: "give it a name" });
      if (/[\x00-\x1f\x7f-\x9f\u2028\u2029]/.test(trimmed)) {
        return report(ctx, { code: "E015", message: "contains a control character or a line break" });
      }
      if ([...trimmed].length > LONGEST_NAME) {
        return report(ctx, { code: "E015", message: `is longer than ${LONGEST_NAME} characters` });
      }
      return trimmed;
    })
    .meta({ ...ANY_SCALAR, minLength: 1, maxLength: LONGEST_NAME });

const flag = () =>
  z
    .string()
    .transform((value, ctx) => {
      if (value === "true" || value === "false") return value === "true";
      const said = /^(yes|on|y|1)$/i.test(value)
        ? "true"
        : /^(no|off|n|0)$/i.test(value)
          ? "false"
          : undefined;
      const near = said ?? nearest(value, ["true", "false"]);
      return report(ctx, {
        code: "E012",
        message: `must be true or false, not "${value}"`,
        help: near === undefined ? undefined : `did you mean ${near}?`,
      });
    })
    .meta({ type: "boolean" });

const whole = (min: number, max: number) =>
  z
    .string()
    .transform((value, ctx) => {
      if (!/^[+-]?\d{1,15}$/.test(value)) {
        return report(ctx, { code: "E012", message: `must be a whole number, not "${value}"` });
      }
      const number = Number(value);
      if (number < min) return report(ctx, { code: "E014", message: `must be at least ${min}` });
      if (number > max) return report(ctx, { code: "E014", message: `must be at most ${max}` });
      return number;
    })
    .meta({ type: "integer", minimum: min, maximum: max });

const LARGEST_BACKOFF = 100;

const backoff = () =>
  z
    .string()
    .transform((value, ctx) => {
      if (value === "constant" || value === "exponential") return BACKOFF_WORDS[value];
      if (!/^[+-]?\d+(\.\d+)?$/.test(value)) {
        return report(ctx, {
          code: "E012",
          message: `must be a number, "constant" or "exponential", not "${value}"`,
          help: didYouMean(value, ["constant", "exponential"]),
        });
      }
      const factor = Number(value);
      if (factor < 1) {
        return report(ctx, {
          code: "E014",
          message: "must be at least 1",
          help: "1 waits the same time each time",
        });
      }
      if (factor > LARGEST_BACKOFF)
        return report(ctx, { code: "E014", message: `must be at most ${LARGEST_BACKOFF}` });
      return factor;
    })
    .meta({
      type: ["number", "string"],
      anyOf: [{ type: "number", minimum: 1, maximum: LARGEST_BACKOFF }, { enum: Object.keys(BACKOFF_WORDS) }],
    });

const duration = (minMs: number, max?: { readonly ms: number; readonly text: string }) =>
  z
    .string()
    .transform((value, ctx) => {
      const result = parseDuration(value);
      if (!result.ok) return report(ctx, { code: "E043", message: result.message, help: result.help });
      if (result.ms < minMs) return report(ctx, { code: "E043", message: "must be longer than 0" });
      if (max !== undefined && result.ms > max.ms)
        return report(ctx, { code: "E043", message: `must not be longer than ${max.text}` });
      return result.ms;
    })
    .meta({ pattern: DURATION_PATTERN });

const cron = () =>
  z.string().transform((value, ctx) => {
    const problem = checkCron(value);
    if (problem !== null) return report(ctx, { code: "E040", ...problem });
    return value.trim().replace(/\s+/g, " ");
  });

const timezone = () =>
  z.string().superRefine((value, ctx) => {
    if (isTimezone(value)) return;
    const near = nearest(value, timezoneNames());
    report(ctx, {
      code: "E041",
      message: `"${value}" is not a time zone this system knows`,
      help:
        near === undefined ? "write an IANA name such as Europe/London or UTC" : `did you mean "${near}"?`,
    });
  });

const timestamp = () =>
  z
    .string()
    .transform((value, ctx) => {
      const result = parseTimestamp(value);
      if (!result.ok) return report(ctx, { code: "E042", message: result.message, help: result.help });
      return result.ms;
    })
    .meta({ format: "date-time" });

/** May be left out or left empty; null then. */
const optional = <T extends z.ZodType>(schema: T) => schema.nullish().transform((value) => value ?? null);

/** May be left out or left empty; `fallback` then, which the JSON Schema shows as `shown`. */
const withDefault = <T extends z.ZodType>(schema: T, fallback: z.output<T>, shown: unknown = fallback) =>
  schema
    .nullish()
    .transform((value): z.output<T> => value ?? fallback)
    .meta({ default: shown });

/**
 * A mapping that knows exactly these keys. The message of an unknown key is the list of those that are known:
 * parse.ts makes the suggestion from it.
 */
const block = <S extends z.ZodRawShape>(shape: S) =>
  z.strictObject(shape, {
    error: (issue) => (issue.code === "unrecognized_keys" ? Object.keys(shape).join(" ") : undefined),
  });

/**
 * A mapping with names of the user's choice. parse.ts checks the names: zod would leave out the checks of an
 * entry whose key is wrong.
 */
const named = <T extends z.ZodType>(pattern: string, schema: T) =>
  z.record(z.string().meta({ pattern }), schema);

/** Names of environment variables and parameters. */
export const VARIABLE_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

const env = () =>
  withDefault(named(VARIABLE_NAME.source, text()), {}).describe(
    "Environment variables of the tasks; those of a task win over those of the workflow",
  );

const workingDirectory = () =>
  optional(filled()).describe("Directory to run in; a relative one starts at the agent's working directory");

const args = () =>
  withDefault(z.array(text()), []).describe("Arguments, each as it is: no shell is involved");

/** Under `!Subprocess`. */
const SubprocessFile = block({
  [TAG_KEY]: z.literal("Subprocess"),
  cmd: filled().describe("The program: a path, or a name that is looked up in PATH"),
  args: args(),
  working_directory: workingDirectory(),
}).describe("!Subprocess: runs a program");

/** Under `!UvPython`. */
const UvPythonFile = block({
  [TAG_KEY]: z.literal("UvPython"),
  script_path: filled().describe("The Python script"),
  args: args(),
  packages: withDefault(z.array(filled()), []).describe('Requirements, such as "pandas>=2.3.1"'),
  is_uv_project: withDefault(flag(), false).describe(
    "Runs in the uv project at the working directory, with the packages of that project",
  ),
  working_directory: workingDirectory(),
  uv_path: optional(filled()).describe("The uv program; by default the one in PATH"),
}).describe("!UvPython: runs a Python script with uv");

/** The tags that a task's config may have. */
export const TASK_TAGS = ["Subprocess", "UvPython"] as const;

const RetryFile = block({
  max_attempts: whole(1, 1000).describe("Tries in all, the first one included"),
  delay: withDefault(duration(0), 1000, RETRY_DEFAULTS.delay).describe("Wait before the second try"),
  backoff: withDefault(backoff(), RETRY_DEFAULTS.backoff, "constant").describe(
    "Each further wait is so many times the one before; constant is 1, exponential is 2",
  ),
});

const TaskFile = block({
  name: name().describe("Name for people"),
  description: optional(text()),
  depends: withDefault(z.array(z.string().meta(ANY_SCALAR)), []).describe(
    "Ids of the tasks that must have completed before",
  ),
  config: z
    .discriminatedUnion(TAG_KEY, [SubprocessFile, UvPythonFile])
    .describe("What the task does; its tag says which kind it is"),
  retry: optional(RetryFile).describe("How often and how soon a failed task is tried again"),
  timeout: optional(duration(1)).describe("A try that takes longer is stopped and has failed"),
  env: env(),
});

const ParamFile = z
  .union([
    text(),
    z.null(),
    block({
      description: optional(text()),
      default: optional(text()).describe("Without one, the parameter must be given at each trigger"),
    }),
  ])
  .transform((param) => {
    if (param === null || typeof param === "string") return { description: null, default: param };
    return param;
  });

/** A scalar of a fixed form. */
const formed = (pattern: RegExp, message: string, help: string) =>
  z
    .string()
    .superRefine((value, ctx) => {
      if (!pattern.test(value)) report(ctx, { code: "E014", message, help });
    })
    .meta({ pattern: pattern.source });

const WebhookFile = block({
  path: formed(
    /^\/[A-Za-z0-9._~/-]{1,200}$/,
    "is not the path of a URL",
    'begin with "/" and go on with letters, digits and . _ ~ - /',
  ).describe("Path of the URL"),
  secret: formed(
    /^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+|none)$/,
    "must say where the secret is",
    "write env:VARIABLE, file:PATH, or none: secrets themselves do not belong into workflow files",
  ).describe("Where the secret is with which senders sign: env:VARIABLE, file:PATH, or none"),
  method: withDefault(z.enum(["POST", "PUT", "GET"]), "POST").describe("Method of the request"),
  tolerance: withDefault(duration(1, { ms: 86_400_000, text: "1d" }), 300_000, "5m").describe(
    "How far X-Cdktr-Timestamp of a request may be from now",
  ),
}).describe("Runs the workflow when an HTTP request comes");

const FileTriggerFile = block({
  glob: filled().describe("Files to watch; a relative one starts at the listener's working directory"),
  events: withDefault(z.array(z.enum(["created", "changed", "deleted"])).min(1), [
    "created",
    "changed",
  ]).describe("What must happen to them"),
  settle: withDefault(duration(1), 500, "500ms").describe("How long a file must be quiet before it counts"),
  catchup: withDefault(z.enum(["all", "none"]), "all").describe(
    "What becomes of changes that were made while no listener ran: all count when it starts, or none",
  ),
}).describe("Runs the workflow when files appear, change or go");

const AfterWorkflowFile = block({
  id: formed(
    IDENTIFIER,
    "is not the id of a workflow",
    "write its path with dots: etl/daily.yml is etl.daily",
  ).describe("Id of the other workflow"),
  status: withDefault(z.array(z.enum(["COMPLETED", "FAILED", "CRASHED", "CANCELLED"])).min(1), [
    "COMPLETED",
  ]).describe("How its run must have ended"),
}).describe("Runs the workflow after a run of another one");

const OnFile = block({
  webhook: optional(WebhookFile),
  file: optional(FileTriggerFile),
  workflow: optional(AfterWorkflowFile),
});

/** A whole workflow file. */
export const WorkflowFile = block({
  name: name().describe("Name for people"),
  description: optional(text()),
  cron: optional(cron()).describe("When it fires: 5 fields, or 6 with the second first"),
  timezone: optional(timezone()).describe(
    "IANA name of the zone that cron is meant in; by default the principal's",
  ),
  start_time: optional(timestamp()).describe("No firing before this instant"),
  catchup: withDefault(z.enum(["none", "latest", "all"]), "latest").describe(
    "What happens to firings that were missed while the principal was down",
  ),
  on: optional(OnFile).describe("Further events that run it; cdktr docs listeners"),
  failover: withDefault(z.enum(["rerun", "never"]), "rerun").describe(
    "What happens to a run whose agent died: it goes to another agent, or not",
  ),
  timeout: optional(duration(1)).describe("A run that takes longer is stopped and has failed"),
  env: env(),
  params: withDefault(named(VARIABLE_NAME.source, ParamFile), {}).describe(
    "Parameters of a run; tasks find them as CDKTR_PARAM_NAME",
  ),
  tasks: named(IDENTIFIER.source, TaskFile).meta({ minProperties: 1 }).describe("The tasks, by id"),
}).describe("A cdktr workflow");

/** A workflow file that passed the checks. */
export type WorkflowFile = z.output<typeof WorkflowFile>;
export type TaskFile = z.output<typeof TaskFile>;
