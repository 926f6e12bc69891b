/** What the messages of several subjects are made of. */
import { z } from "zod";
import { IDENTIFIER } from "../../workflow/model.ts";
import { RUN_STATUSES } from "../../workflow/status.ts";
import { FIRST_PROTOCOL } from "../version.ts";

export const Identifier = z.string().min(1).max(256).regex(IDENTIFIER);
/** ms since the epoch. */
export const Instant = z.number().int().nonnegative();
export const Count = z.number().int().nonnegative();
export const Text = z.string().max(64 * 1024);
export const Status = z.enum(RUN_STATUSES);
/** How long a long poll may wait, ms. */
export const WaitMs = z.number().int().min(0).max(60_000);

/** The versions of the protocol that a peer speaks, see version.ts. A peer that does not say speaks the first. */
export const Protocol = z
  .object({ version: z.number().int().positive(), oldest: z.number().int().positive() })
  .default(FIRST_PROTOCOL);

/** A request without arguments, and a reply that says only that it is done. */
export const Nothing = z.object({});
