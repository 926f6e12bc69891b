/** Pauses of workflows. */
import { z } from "zod";
import { Instant, Name } from "./common.ts";

/** The longest reason of a pause, in characters. */
const LONGEST_REASON = 1024;
/** The longest pause that ends by itself, ms. */
export const LONGEST_PAUSE_MS = 10 * 366 * 24 * 3_600_000;

/** A workflow whose schedules and events make no runs for now. Runs that people ask for are held. */
export const Pause = z.object({
  at_ms: z.number(),
  /** Who paused it, or changed that last: the name of a key, or without keys of the user; null for nobody. */
  by: z.string().nullable(),
  reason: z.string().nullable(),
  /** When it ends by itself, ms since the epoch; null for never. */
  until_ms: z.number().nullable(),
  /** Whether its `auto_pause` did: `reason` is what happened. */
  auto: z.boolean(),
});
export type Pause = z.infer<typeof Pause>;

/** `PAUSEWORKFLOW`: of a workflow that is paused already it changes the end, and the reason if one is given. */
export const PauseWorkflow = z.object({
  workflow_id: Name,
  reason: z
    .string()
    .max(LONGEST_REASON)
    .regex(/^[^\x00-\x1f\x7f]*$/, "has more than one line, or a control character")
    .optional(),
  /** When it ends by itself; by default never. */
  until_ms: Instant.optional(),
  /** The same as a time from now, ms; of both, `until_ms` counts. */
  for_ms: z.number().int().positive().max(LONGEST_PAUSE_MS).optional(),
});
export type PauseWorkflow = z.infer<typeof PauseWorkflow>;

/** Reply to `PAUSEWORKFLOW`. */
export const WorkflowPaused = z.object({
  workflow_id: z.string(),
  paused: Pause,
  /** Whether it was paused before. */
  was_paused: z.boolean(),
  /** Number of its runs that begin only when it is resumed. */
  held_runs: z.number().int(),
  /** Number of its runs that have begun and go on. */
  begun_runs: z.number().int(),
});
export type WorkflowPaused = z.infer<typeof WorkflowPaused>;

/** `RESUMEWORKFLOW`: one that is not paused stays as it is. */
export const ResumeWorkflow = z.object({ workflow_id: Name });

/** Reply to `RESUMEWORKFLOW`. */
export const WorkflowResumed = z.object({
  workflow_id: z.string(),
  was_paused: z.boolean(),
  /** Number of its runs that were held and go on. */
  held_runs: z.number().int(),
  /** Number of missed events that are runs now. */
  event_runs: z.number().int(),
  /** Missed firings of its schedules, at most 100 of each, and how many of them run now; absent without a schedule. */
  firings: z
    .object({
      missed: z.number().int(),
      run: z.number().int(),
      /** Absent if its schedules differ in that. */
      catchup: z.enum(["none", "latest", "all"]).optional(),
    })
    .optional(),
});
export type WorkflowResumed = z.infer<typeof WorkflowResumed>;
