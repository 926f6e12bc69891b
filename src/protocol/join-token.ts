/** Join tokens: one line that lets a new host get its own key from a principal, for a limited number of uses and a short time. */
import { createHash } from "node:crypto";
import { z } from "zod";
import { InvalidInputError } from "../errors.ts";
import { JOIN_TOKEN_PREFIX } from "../redaction.ts";
import { isCurveKey } from "../zmq/index.ts";

const CHECK_CHARACTERS = 8;
const Key = z.string().refine(isCurveKey);

const Content = z.object({ h: z.string().min(1), p: z.number().int().min(1).max(65535), s: Key, k: Key });

/** The content of a token. */
export interface JoinToken {
  /** Where the principal is. */
  readonly host: string;
  readonly port: number;
  /** The principal's public key: nobody else can impersonate it. */
  readonly serverKey: string;
  /** The secret key with which the new host connects to join, and for nothing else. */
  readonly secretKey: string;
}

/** A token as one line. */
export function encodeJoinToken({ host, port, serverKey, secretKey }: JoinToken): string {
  const content = JSON.stringify({ h: host, p: port, s: serverKey, k: secretKey });
  const text = Buffer.from(content).toString("base64url");
  return `${JOIN_TOKEN_PREFIX}${checkOf(text)}${text}`;
}

/**
 * Parses a token.
 * @throws InvalidInputError when it is not a complete token; the message does not quote it
 */
export function decodeJoinToken(line: string): JoinToken {
  const token = line.trim();
  const hint = "Copy the whole line that 'cdktr join-token create' printed on the principal's host.";
  if (!token.startsWith(JOIN_TOKEN_PREFIX))
    throw new InvalidInputError("This is not a join token.", { hint });
  const check = token.slice(JOIN_TOKEN_PREFIX.length, JOIN_TOKEN_PREFIX.length + CHECK_CHARACTERS);
  const text = token.slice(JOIN_TOKEN_PREFIX.length + CHECK_CHARACTERS);
  try {
    if (check === checkOf(text)) {
      const { h, p, s, k } = Content.parse(JSON.parse(Buffer.from(text, "base64url").toString()));
      return { host: h, port: p, serverKey: s, secretKey: k };
    }
  } catch {
    // Reported below, without the content.
  }
  throw new InvalidInputError("This join token is damaged or incomplete.", { hint });
}

function checkOf(text: string): string {
  return createHash("sha256").update(text).digest("base64url").slice(0, CHECK_CHARACTERS);
}
