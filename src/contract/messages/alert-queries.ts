/** Alerts that queries find. */
import { z } from "zod";

/** An entry of `LSALERTQUERIES`: an alert file in use. */
export const AlertQueryStatus = z.object({
  /** Path of the file, relative to the workflow directory. */
  file: z.string(),
  name: z.string(),
  severity: z.string(),
  /** Channels that it names. */
  to: z.array(z.string()),
  every_ms: z.number(),
  /** When it was last evaluated, ms since the epoch; null for never. */
  evaluated_at_ms: z.number().nullable(),
  /** When it is evaluated next, ms since the epoch; null while that is not known. */
  next_ms: z.number().nullable(),
  /** Rows that counted then. */
  rows: z.number().int(),
  /** Those that are alerts. */
  raised: z.number().int(),
  /** Those that are not there for long enough yet, or are more than the file allows. */
  pending: z.number().int(),
  /** Why it could not be evaluated; null if it could. */
  error: z.string().nullable(),
  /** Why nobody may be told: a channel that it names does not exist. Null if all do. */
  problem: z.string().nullable(),
});
export type AlertQueryStatus = z.infer<typeof AlertQueryStatus>;
