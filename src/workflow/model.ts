/**
 * The model of a workflow: what a file becomes once it is read and checked. This is also the form in which a
 * definition is stored with a run and travels to an agent, so it is plain JSON: durations in ms, instants as ms since the epoch.
 */
import { z } from "zod";

/** Ids of workflows (dotted path) and tasks: no white space, no control characters, safe in a log frame. */
export const IDENTIFIER = /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/;

/** Runs a program with arguments; no shell is involved. */
export const SubprocessConfig = z.object({
  type: z.literal("Subprocess"),
  cmd: z.string(),
  args: z.array(z.string()),
  /** Relative paths start at the agent's working directory. */
  working_directory: z.string().nullable(),
});

/** Runs a Python script with `uv run`. */
export const UvPythonConfig = z.object({
  type: z.literal("UvPython"),
  script_path: z.string(),
  args: z.array(z.string()),
  /** PEP 508 requirements, one `--with` each. */
  packages: z.array(z.string()),
  /** Plain `uv run SCRIPT` inside the project at the working directory. */
  is_uv_project: z.boolean(),
  working_directory: z.string().nullable(),
  uv_path: z.string().nullable(),
});

/** What a task does; further task types are further members. */
export const TaskConfig = z.discriminatedUnion("type", [SubprocessConfig, UvPythonConfig]);

/** How often and how soon a failed task is tried again. */
export const RetryPolicy = z.object({
  /** Tries in all, the first one included. */
  max_attempts: z.number().int().min(1),
  /** Wait before the second try, ms. */
  delay_ms: z.number().int().min(0),
  /** Each further wait is this many times the one before. */
  backoff: z.number().min(1),
});

export const TaskDefinition = z.object({
  id: z.string().regex(IDENTIFIER),
  name: z.string(),
  description: z.string().nullable(),
  depends: z.array(z.string()),
  config: TaskConfig,
  retry: RetryPolicy,
  timeout_ms: z.number().int().positive().nullable(),
  env: z.record(z.string(), z.string()),
});

/** A parameter of a workflow; without a default it must be given at each trigger. */
export const ParamDefinition = z.object({
  description: z.string().nullable(),
  default: z.string().nullable(),
});

/** Events, beside cron, that run a workflow. */
export const TriggerDefinitions = z.object({
  webhook: z
    .object({
      path: z.string(),
      /** `env:VARIABLE`, `file:PATH` or `none`: where the listener finds the secret. */
      secret: z.string(),
      method: z.enum(["POST", "PUT", "GET"]),
      /** How far the timestamp of a signed request may be from now, ms. */
      tolerance_ms: z.number().int().positive().default(300_000),
    })
    .nullable(),
  file: z
    .object({
      glob: z.string(),
      events: z.array(z.enum(["created", "changed", "deleted"])),
      settle_ms: z.number().int().positive(),
      /** What becomes of changes that were made while nobody watched. */
      catchup: z.enum(["all", "none"]).default("all"),
    })
    .nullable(),
  workflow: z
    .object({
      id: z.string(),
      status: z.array(z.enum(["COMPLETED", "FAILED", "CRASHED", "CANCELLED"])),
    })
    .nullable(),
});

export const WorkflowDefinition = z.object({
  id: z.string().regex(IDENTIFIER),
  name: z.string(),
  description: z.string().nullable(),
  cron: z.string().nullable(),
  /** IANA name; null means the principal's own. */
  timezone: z.string().nullable(),
  /** No firing before this instant. */
  start_time_ms: z.number().int().nullable(),
  /** What happens to firings missed while the principal was down. */
  catchup: z.enum(["none", "latest", "all"]),
  /** Left out when there are none. */
  on: TriggerDefinitions.optional(),
  /** What happens to a run whose agent died. */
  failover: z.enum(["rerun", "never"]),
  timeout_ms: z.number().int().positive().nullable(),
  env: z.record(z.string(), z.string()),
  params: z.record(z.string(), ParamDefinition),
  /** In the order of the file. */
  tasks: z.array(TaskDefinition).min(1),
});

export type SubprocessConfig = z.infer<typeof SubprocessConfig>;
export type UvPythonConfig = z.infer<typeof UvPythonConfig>;
export type TaskConfig = z.infer<typeof TaskConfig>;
export type RetryPolicy = z.infer<typeof RetryPolicy>;
export type TaskDefinition = z.infer<typeof TaskDefinition>;
export type ParamDefinition = z.infer<typeof ParamDefinition>;
export type TriggerDefinitions = z.infer<typeof TriggerDefinitions>;
export type WorkflowDefinition = z.infer<typeof WorkflowDefinition>;
