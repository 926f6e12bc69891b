/** How listeners are. */
import { z } from "zod";
import { Count, Instant } from "./common.ts";

/** `backing off`: it failed and is started again soon. */
export const ListenerState = z.enum(["running", "backing off", "stopped"]);
export type ListenerState = z.infer<typeof ListenerState>;

/** How a listener is, and what it has done since its process started. */
export const ListenerStatus = z.object({
  name: z.string().min(1).max(256),
  state: ListenerState,
  /** Why it failed last; null while it runs. */
  error: z.string().max(4096).nullable(),
  /** How often it was started again. */
  restarts: Count,
  /** Triggers that were asked for. */
  fired: Count,
  /** Triggers that became runs. */
  delivered: Count,
  /** Triggers that are gone: refused, or neither the disk nor the principal took them. */
  failed: Count,
  /** Triggers that were dropped because they were too late. */
  dropped: Count,
  /** Triggers that wait on the listener's disk. */
  buffered: Count,
  /** Bytes of the file in which they wait. */
  buffer_bytes: Count,
  /** When the last one was asked for; null when none was. */
  last_trigger_ms: Instant.nullable(),
  /** Since when the principal does not take triggers; null while it does. */
  principal_away_since_ms: Instant.nullable(),
});
export type ListenerStatus = z.infer<typeof ListenerStatus>;

/** `REPORTLISTENERS`: all listeners of a process, every few seconds and whenever the state of one changes. */
export const ReportListeners = z.object({
  /** Random, new with every start of the process. */
  source_id: z.string().min(1).max(64),
  host: z.string().max(256),
  pid: z.number().int(),
  listeners: z.array(ListenerStatus).max(100),
});
export type ReportListeners = z.infer<typeof ReportListeners>;

/** A listener as `LSLISTENERS` lists it. `lost`: its process has not reported for a while, and did not say that it ends. */
export const ListenerSummary = ListenerStatus.extend({
  state: z.enum([...ListenerState.options, "lost"]),
  host: z.string(),
  pid: z.number(),
  last_report_ms: z.number(),
});
export type ListenerSummary = z.infer<typeof ListenerSummary>;
