/** Schemas that messages of several subjects use. */
import { z } from "zod";
import { HIGHEST_PRIORITY } from "../../workflow/limits.ts";
import { IDENTIFIER } from "../../workflow/model.ts";
import { RUN_STATUSES } from "../../workflow/status.ts";
import { FIRST_PROTOCOL } from "../version.ts";

export const Identifier = z.string().min(1).max(256).regex(IDENTIFIER);
/** The name of something that may not exist. An empty name is a mistake of the client. */
export const Name = z.string().min(1, "is empty");
/** ms since the epoch; at most the last instant that a `Date` can represent. */
export const Instant = z.number().int().nonnegative().max(8.64e15);
export const Count = z.number().int().nonnegative();
export const Text = z.string().max(64 * 1024);
export const Status = z.enum(RUN_STATUSES);
/**
 * A slice of a run: the tasks of it that one agent executes. A run that one agent executes as a whole is its slice 0, which is the only
 * one that peers of protocol 1 know.
 */
export const Slice = z.number().int().min(0).max(0x7fff_ffff).default(0);
/** From 0 to 9, which goes first. */
export const Priority = z.number().int().min(0).max(HIGHEST_PRIORITY);
/** How long a long poll waits, ms. */
export const WaitMs = z.number().int().min(0).max(60_000);

/** The protocol versions that a peer speaks; see version.ts. A peer that does not send them speaks the first. */
export const Protocol = z
  .object({ version: z.number().int().positive(), oldest: z.number().int().positive() })
  .default(FIRST_PROTOCOL);

/** A request without arguments, or a reply without content. */
export const Nothing = z.object({});
