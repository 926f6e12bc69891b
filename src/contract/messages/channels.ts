/** Channels: where alerts are sent. */
import { z } from "zod";
import { CHANNEL_NAME } from "../../workflow/channels.ts";

/** `TESTCHANNEL`: sends a message to a channel now. */
export const TestChannel = z.object({
  channel: z.string().regex(CHANNEL_NAME, "is not a name of a channel"),
  /** The client's, random: whoever asks again with the same one is told of the same message. */
  test_id: z.string().regex(/^[A-Za-z0-9-]{8,64}$/, "it must be 8 to 64 letters, digits or -"),
  /** How long the reply may wait for the end, ms. */
  wait_ms: z.number().int().min(0).max(60_000).default(0),
});

/** Reply to `TESTCHANNEL`. */
export const ChannelTested = z.object({
  channel: z.string(),
  /** `mail`, `slack` and so on; null for a kind that the principal does not know. */
  kind: z.string().nullable(),
  state: z.enum(["SENDING", "SENT", "FAILED"]),
  /** Why it failed; null if it did not. */
  error: z.string().nullable(),
  /** What to do about it, if there is something to say. */
  hint: z.string().nullable(),
  /** Whether alerts that fail like this are given up at once; others are sent again later. */
  permanent: z.boolean(),
  /** How long it took, or has taken, ms. */
  took_ms: z.number(),
});
export type ChannelTested = z.infer<typeof ChannelTested>;
