/** Alerts, and whether those who are to know of them were told. */
import { z } from "zod";

/** `LSALERTS`. */
export const ListAlerts = z.object({
  /** Those that are not over, those that a channel could not be told of, or all. */
  which: z.enum(["open", "dead", "all"]).default("all"),
  kind: z.string().max(100).optional(),
  workflow_id: z.string().max(1000).optional(),
  limit: z.number().int().min(1).max(1000).default(100),
});
export type ListAlerts = z.output<typeof ListAlerts>;

/** That a channel is told of an alert, or of its end. */
const Delivery = z.object({
  channel: z.string(),
  about: z.string(),
  /** `PENDING`, `SENDING`, `SENT`, `DEAD` or `DISMISSED`. */
  state: z.string(),
  attempts: z.number().int(),
  /** When it is sent, ms since the epoch; null unless it is PENDING. */
  due_ms: z.number().nullable(),
  /** Identifies its message. */
  message_id: z.string().nullable(),
  /** Why the last attempt failed. */
  error: z.string().nullable(),
  changed_at_ms: z.number(),
});

/** An entry of `LSALERTS`. */
export const AlertSummary = z.object({
  alert_id: z.string(),
  kind: z.string(),
  /** At most one with it is open. */
  key: z.string(),
  workflow_id: z.string().nullable(),
  workflow_instance_id: z.string().nullable(),
  /** What happened, in one line. */
  subject: z.string(),
  raised_at_ms: z.number(),
  /** Null while it is open. */
  resolved_at_ms: z.number().nullable(),
  deliveries: z.array(Delivery),
});
export type AlertSummary = z.infer<typeof AlertSummary>;

/** `GETALERT`: its id, or the beginning of it. */
export const GetAlert = z.object({ alert_id: z.string().min(4).max(100) });

/** Reply to `GETALERT`. */
export const AlertDetails = AlertSummary.extend({
  /** Particulars, which depend on the kind. */
  facts: z.record(z.string(), z.unknown()),
});
export type AlertDetails = z.infer<typeof AlertDetails>;

/** `RETRYALERT`: sends again what was given up, of one alert, or of all without one. */
export const RetryAlert = z.object({ alert_id: z.string().min(4).max(100).optional() });

/** Reply to `RETRYALERT`. */
export const AlertRetried = z.object({
  /** How many deliveries are sent again. */
  deliveries: z.number().int(),
});

/** `DISMISSALERT`: what waits, or was given up, is not sent: of one alert, of one channel, or of one alert to one channel. */
export const DismissAlert = z
  .object({
    alert_id: z.string().min(4).max(100).optional(),
    channel: z.string().min(1).max(200).optional(),
  })
  .refine(({ alert_id, channel }) => alert_id !== undefined || channel !== undefined, {
    message: "needs alert_id or channel",
  });
export type DismissAlert = z.output<typeof DismissAlert>;

/** Reply to `DISMISSALERT`. */
export const AlertDismissed = z.object({
  /** How many deliveries are not sent. One that is being sent right now stays. */
  deliveries: z.number().int(),
});

/** An entry of `LSCHANNELS`. */
export const ChannelSummary = z.object({
  channel: z.string(),
  /** `mail`, `slack` and so on; null if it is not in `_cdktr.yml`, or of a kind that the principal does not know. */
  kind: z.string().nullable(),
  /** Whether it is in `_cdktr.yml`. */
  exists: z.boolean(),
  /** Deliveries that wait, and those that were given up. */
  pending: z.number().int(),
  dead: z.number().int(),
  /** When it sends next, ms since the epoch; null if nothing waits. */
  next_ms: z.number().nullable(),
  /** When a message arrived last; null if none has that is still known. */
  last_sent_ms: z.number().nullable(),
  /** Why its last attempt failed; null if it did not. */
  error: z.string().nullable(),
});
export type ChannelSummary = z.infer<typeof ChannelSummary>;
