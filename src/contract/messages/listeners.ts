/** The state of listeners. */
import { z } from "zod";
import { Count, Instant } from "./common.ts";

/** `backing off`: it failed and will be restarted. */
export const ListenerState = z.enum(["running", "backing off", "stopped"]);
export type ListenerState = z.infer<typeof ListenerState>;

/** The state of a listener, and its counts since its process started. */
export const ListenerStatus = z.object({
  name: z.string().min(1).max(256),
  state: ListenerState,
  /** Its last failure; null while it runs. */
  error: z.string().max(4096).nullable(),
  restarts: Count,
  /** Triggers that the listener fired. */
  fired: Count,
  /** Triggers that became runs. */
  delivered: Count,
  /** Triggers that are lost: refused, or accepted neither by the disk nor by the principal. */
  failed: Count,
  /** Triggers that were dropped as too late. */
  dropped: Count,
  /** Triggers that wait on the listener's disk. */
  buffered: Count,
  /** Size of the buffer file, bytes. */
  buffer_bytes: Count,
  /** When the last trigger was fired. */
  last_trigger_ms: Instant.nullable(),
  /** Since when the principal has not accepted triggers; null while it does. */
  principal_away_since_ms: Instant.nullable(),
});
export type ListenerStatus = z.infer<typeof ListenerStatus>;

/** `REPORTLISTENERS`: all listeners of a process, every few seconds and whenever the state of one changes. */
export const ReportListeners = z.object({
  /** Random; new for every process. */
  source_id: z.string().min(1).max(64),
  host: z.string().max(256),
  pid: z.number().int(),
  listeners: z.array(ListenerStatus).max(100),
});
export type ReportListeners = z.infer<typeof ReportListeners>;

/** An entry of `LSLISTENERS`. `lost`: its process stopped reporting without saying that it ends. */
export const ListenerSummary = ListenerStatus.extend({
  state: z.enum([...ListenerState.options, "lost"]),
  host: z.string(),
  pid: z.number(),
  last_report_ms: z.number(),
});
export type ListenerSummary = z.infer<typeof ListenerSummary>;

const Headers = z.record(z.string(), z.string());

/** A request that arrived for a webhook at a member of an installation that does not lead. */
export const DeliverWebhook = z.object({
  method: z.string().regex(/^[A-Z]{1,32}$/, "it must be a method of HTTP"),
  /** With its query. */
  url: z
    .string()
    .max(64 * 1024)
    .startsWith("/"),
  headers: Headers,
  /** In base64. */
  body: z.base64(),
  /** The address that it came from. */
  peer: z.string().max(256),
  /** The same when the request is passed on again. */
  delivery_key: z.string().max(128).optional(),
});
export type DeliverWebhook = z.infer<typeof DeliverWebhook>;

/** The answer to it. */
export const WebhookAnswer = z.object({ status: z.number().int(), headers: Headers, body: z.string() });
export type WebhookAnswer = z.infer<typeof WebhookAnswer>;
