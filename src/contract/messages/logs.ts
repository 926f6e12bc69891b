/** Log lines: history and live log. */
import { z } from "zod";
import { LOG_LEVELS, LogRow } from "../log-line.ts";
import { Name } from "./common.ts";

const TIME_RULE = "it must be a whole number of ms since the epoch, or empty";

/** A whole number of ms since the epoch, as text. */
const TimeText = z
  .string()
  .regex(/^-?\d{1,16}$/, TIME_RULE)
  .transform(Number)
  .refine(Number.isSafeInteger, TIME_RULE);

/** `SEARCHLOGS`: lines in order; with `limit` only the newest. */
export const SearchLogs = z.object({
  workflow_id: Name.optional(),
  workflow_instance_id: Name.optional(),
  /** Task name or task run id. */
  task: Name.optional(),
  level: z.enum(LOG_LEVELS).optional(),
  since_ms: z.number().optional(),
  until_ms: z.number().optional(),
  /** RE2 regular expression, searched in the payload. */
  grep: z.string().max(4096).optional(),
  limit: z.number().int().min(1).max(1_000_000).optional(),
  /** Continues after this position, the `next` of the previous page. */
  after: z.number().int().optional(),
});
export type SearchLogs = z.infer<typeof SearchLogs>;

/** A page of `SEARCHLOGS`: `next` is null when nothing follows. */
export const LogPage = z.object({
  rows: z.array(LogRow),
  next: z.number().nullable(),
  /** What is missing from the page and why, while the history is incomplete. */
  warning: z.string().nullable(),
});
export type LogPage = z.infer<typeof LogPage>;

/** A `~` and a name that only one subscriber uses. */
export const PROBE = /^~[\w-]{16,63}$/;

/**
 * `ISSUBSCRIBED`: whether the publisher of the live log knows a subscription to this probe, a prefix that no workflow id has.
 * Subscriptions of a connection arrive in order, so the earlier ones are active then too.
 */
export const IsSubscribed = z.object({ probe: z.string().regex(PROBE) });
export type IsSubscribed = z.infer<typeof IsSubscribed>;

export const Subscribed = z.object({ subscribed: z.boolean() });

/** `QUERYLOGS`: omitted fields do not filter. */
export const QueryLogs = z.object({
  end_ms: TimeText.optional(),
  start_ms: TimeText.optional(),
  workflow_id: z.string().optional(),
  workflow_instance_id: z.string().optional(),
  verbose: z
    .string()
    // The original implementation's clients send v.
    .regex(/^(true|1|v|false|0)$/i, "it must be true, false or empty")
    .transform((text) => /^(true|1|v)$/i.test(text))
    .optional(),
});
