/** Workflows as the principal has loaded them. */
import { z } from "zod";
import { ParamDefinitions, TriggerDefinitions, WorkflowDefinition } from "../../workflow/model.ts";
import { WaitMs } from "./common.ts";

/** A workflow as `LSWORKFLOWS` lists it. */
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
  /** When the file was first seen with this cron, or the last firing that became a run. */
  schedule_cursor_ms: z.number().nullable(),
  params: ParamDefinitions,
  /** Events, beside cron, that run it. */
  on: TriggerDefinitions.optional(),
  tasks: z.number().int(),
  /** Why the file as it is now does not load; the last valid version is in force. */
  error: z.string().nullable(),
});
export type WorkflowSummary = z.infer<typeof WorkflowSummary>;

/**
 * `WATCHWORKFLOWS`: answers at once when `LSWORKFLOWS` may have another answer than at `revision`, else after `wait_ms`.
 * Without a revision it tells the present one.
 */
export const WatchWorkflows = z.object({
  revision: z.string().max(128).optional(),
  wait_ms: WaitMs.default(0),
});
export type WatchWorkflows = z.infer<typeof WatchWorkflows>;

export const WorkflowsRevision = z.object({ revision: z.string() });

/** `GETWORKFLOW`. */
export const GetWorkflow = z.object({ workflow_id: z.string() });

export const WorkflowDetails = z.object({
  summary: WorkflowSummary,
  definition: WorkflowDefinition,
  source: z.string(),
});
export type WorkflowDetails = z.infer<typeof WorkflowDetails>;
