/** The workflows that the principal has loaded. */
import { z } from "zod";
import { Schedules } from "../../workflow/entry-fields.ts";
import { ParamDefinitions, TriggerDefinitions, WorkflowDefinition } from "../../workflow/model.ts";
import { Name, WaitMs } from "./common.ts";
import { ExpectationSummary } from "./expectations.ts";
import { Pause } from "./pauses.ts";

/** An entry of `LSWORKFLOWS`. */
export const WorkflowSummary = z.object({
  id: z.string(),
  name: z.string(),
  description: z.string().nullable(),
  path: z.string(),
  cron: z.string().nullable(),
  timezone: z.string().nullable(),
  /** RFC 3339, as in the file. */
  start_time: z.string().nullable(),
  start_time_ms: z.number().nullable(),
  catchup: z.enum(["none", "latest", "all"]),
  /** The last firing that became a run, or when this cron was first seen. */
  schedule_cursor_ms: z.number().nullable(),
  /** The zone that cron is read in: `timezone`, or the principal's. Older principals do not send it, nor the firings. */
  schedule_timezone: z.string().optional(),
  /** The firings around the time of the reply, by the principal's clock; null when there is none. */
  next_firing_ms: z.number().nullable().optional(),
  previous_firing_ms: z.number().nullable().optional(),
  params: ParamDefinitions,
  /** Names that its expressions read of the event that triggers it; null for all. Absent for none, and from older principals. */
  reads_event: z.array(z.string()).nullable().optional(),
  /** Events, besides cron, that trigger it. */
  on: TriggerDefinitions.optional(),
  /** The schedules of a workflow with several, or with one that is more than an expression; `cron` is null then. Absent for all others. */
  schedules: Schedules.optional(),
  tasks: z.number().int(),
  /** Its pause; absent if it is not paused, and from principals before protocol 4. */
  paused: Pause.optional(),
  /** What is expected of it, and what its runs have broken; absent for nothing, and from principals before protocol 5. */
  expectations: z.array(ExpectationSummary).optional(),
  /** The graph as clients of the original implementation need it; only REQ sockets get it. */
  dag: z.record(z.string(), z.unknown()).optional(),
  /** Why the current file does not load; the last valid version stays in use. */
  error: z.string().nullable(),
  /** Problems of its triggers: they can never fire, or never stop. Older principals do not send it. */
  trigger_problems: z.array(z.string()).optional(),
  /** The latest firing since its file last changed, if it was refused; otherwise null. Older principals do not send it. */
  refused: z
    .object({ trigger: z.string(), timestamp_ms: z.number(), message: z.string() })
    .nullable()
    .optional(),
});
export type WorkflowSummary = z.infer<typeof WorkflowSummary>;

/**
 * `WATCHWORKFLOWS`: answers when the reply to `LSWORKFLOWS` may have changed since `revision`, at the latest after `wait_ms`;
 * without a revision, at once.
 */
export const WatchWorkflows = z.object({
  revision: z.string().max(128).optional(),
  wait_ms: WaitMs.default(0),
});
export type WatchWorkflows = z.infer<typeof WatchWorkflows>;

export const WorkflowsRevision = z.object({ revision: z.string() });

export const GetWorkflow = z.object({ workflow_id: Name });

/** Who is told about what. */
const NotifyRule = z.object({
  /** Kinds of alerts; absent for all. */
  on: z.array(z.string()).optional(),
  /** Names of channels. */
  to: z.array(z.string()),
  after_failures: z.number().int().optional(),
});

export const WorkflowDetails = z.object({
  summary: WorkflowSummary,
  definition: WorkflowDefinition,
  source: z.string(),
  /** The next firings, at most five; older principals do not send them. */
  next_firings_ms: z.array(z.number()).optional(),
  /** Who is told about what, if the workflow and the defaults of its directory do not say it: what the workflow directory itself says. */
  notify: z.array(NotifyRule).optional(),
});
export type WorkflowDetails = z.infer<typeof WorkflowDetails>;
