/**
 * How a member of an installation with several principals passes a request on to the leader: as a message of two frames, of which the
 * first says who asks, and the second is the request as it came. The reply is that to the request, or {@link NOT_LEADER}.
 */
import { z } from "zod";
import { SEPARATOR } from "./wire.ts";

const VERB = `FORWARD${SEPARATOR}`;

/** Who sent a request, as the member found out. */
export const Forwarded = z.object({
  /** The public key with which it came. */
  public_key: z.string().optional(),
  /** The user whose process it is, where there are no keys. */
  user: z.string().optional(),
  /** The address of the connection. */
  address: z.string().optional(),
  is_plain: z.boolean().optional(),
  is_nameless: z.boolean().optional(),
  /** The idempotency key of the request, should it have none of its own. */
  key: z.string().optional(),
  /** How long ago the request had arrived when it was passed on, ms; absent for a moment. */
  held_ms: z.number().optional(),
});
export type Forwarded = z.infer<typeof Forwarded>;

/** The reply of a member that does not lead. */
export const NOT_LEADER = new TextEncoder().encode("NOTLEADER");

const decoder = new TextDecoder("utf-8", { fatal: true });

/** The first frame. */
export function encodeForwarded(forwarded: Forwarded): string {
  return VERB + JSON.stringify(forwarded);
}

/** What the first frame of a message says; null when it does not begin a forwarded request. */
export function decodeForwarded(frame: Uint8Array): Forwarded | null {
  try {
    const text = decoder.decode(frame);
    return text.startsWith(VERB) ? Forwarded.parse(JSON.parse(text.slice(VERB.length))) : null;
  } catch {
    return null;
  }
}

/** Whether a reply says that the member that was asked does not lead. */
export function isNotLeader(reply: Uint8Array): boolean {
  return reply.length === NOT_LEADER.length && reply.every((byte, at) => byte === NOT_LEADER[at]);
}
