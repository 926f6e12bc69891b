/** The audit log: who did what. */
import { z } from "zod";
import { Instant, WaitMs } from "./common.ts";

/** Text that a column must have; `*` stands for any characters. */
const Pattern = z.string().min(1).max(512);

/** `LSAUDIT`: omitted fields do not filter; the newest rows that match, in order. */
export const ListAudit = z.object({
  since_ms: Instant.optional(),
  until_ms: Instant.optional(),
  actor: Pattern.optional(),
  action: Pattern.optional(),
  subject: Pattern.optional(),
  /** Only what was refused, or only what was done. */
  refused: z.boolean().optional(),
  limit: z.number().int().min(1).max(10_000).default(100),
  /** That of the reply before: with it, the reply waits up to `wait_ms` for further rows, whether or not they match. */
  revision: z.string().max(128).optional(),
  wait_ms: WaitMs.default(0),
});
export type ListAudit = z.infer<typeof ListAudit>;

/** A row of `audit_log`. */
export const AuditEntry = z.object({
  timestamp_ms: z.number(),
  /** Name of the key, or system user; null if nobody is known. */
  actor: z.string().nullable(),
  /** Role of the key; null without keys. */
  role: z.string().nullable(),
  action: z.string(),
  subject: z.string().nullable(),
  /** JSON object. */
  detail: z.string().nullable(),
  /** `done`, or `refused: ` and the reason. */
  outcome: z.string(),
  /** An address, or `local`. */
  source: z.string().nullable(),
});
export type AuditEntry = z.infer<typeof AuditEntry>;

/** The reply: rows in order, the oldest first. */
export const AuditPage = z.object({
  rows: z.array(AuditEntry),
  /** There are older ones that match, too. */
  more: z.boolean(),
  revision: z.string(),
  /** What is missing and why, while the history is incomplete. */
  warning: z.string().nullable(),
});
export type AuditPage = z.infer<typeof AuditPage>;
