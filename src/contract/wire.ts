/**
 * The wire format of the principal's API: a message is one frame of UTF-8 fields joined by the byte 0x01;
 * the first field of a request is its verb, the first of a reply its outcome.
 */
import type { ErrorReplyKind } from "../errors.ts";
import { InvalidInputError } from "../errors.ts";

/** The byte between fields. */
export const SEPARATOR = "\x01";

/** The longest frame that is accepted, bytes. */
export const MAX_FRAME_BYTES = 16 * 1024 * 1024;

/** How a reply begins. */
export type ReplyKind = "PONG" | "OK" | "SUCCESS" | ErrorReplyKind;

const REPLY_KINDS: ReadonlySet<string> = new Set([
  "PONG",
  "OK",
  "SUCCESS",
  "CLIENTERROR",
  "UNPROC",
  "SERVERERROR",
]);

/** A decoded reply. `payload` is everything after the first separator, or "". */
export interface Reply {
  readonly kind: ReplyKind;
  readonly payload: string;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** Joins fields into a frame. The last field may hold the separator; no other may. */
export function encodeFields(fields: readonly string[]): Uint8Array {
  return encoder.encode(fields.join(SEPARATOR));
}

/**
 * Decodes a frame.
 * @throws InvalidInputError when it is empty, too long or not UTF-8
 */
export function decodeFrame(frame: Uint8Array): string {
  if (frame.length === 0) throw new InvalidInputError("The message is empty; a message starts with a verb.");
  if (frame.length > MAX_FRAME_BYTES) {
    throw new InvalidInputError(
      `The message has ${frame.length} bytes; at most ${MAX_FRAME_BYTES} are accepted.`,
    );
  }
  try {
    return decoder.decode(frame);
  } catch {
    throw new InvalidInputError("The message is not valid UTF-8.");
  }
}

export function encodeReply(kind: ReplyKind, payload?: string): Uint8Array {
  return encoder.encode(payload === undefined ? kind : `${kind}${SEPARATOR}${payload}`);
}

/**
 * @throws InvalidInputError when the frame does not begin like a reply
 */
export function decodeReply(frame: Uint8Array): Reply {
  const text = new TextDecoder().decode(frame);
  const end = text.indexOf(SEPARATOR);
  const kind = end === -1 ? text : text.slice(0, end);
  if (!REPLY_KINDS.has(kind)) {
    throw new InvalidInputError(`The peer answered "${kind.slice(0, 40)}": it is not a principal.`, {
      hint: "Check that the address is that of a cdktr principal's API port.",
    });
  }
  return { kind: kind as ReplyKind, payload: end === -1 ? "" : text.slice(end + 1) };
}
