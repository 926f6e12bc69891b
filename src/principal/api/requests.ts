/** From a frame to a request, and from an error to the text of its reply. */
import type { z } from "zod";
import { ownText } from "../../contract/own-text.ts";
import { isVerb, VERB_NAMES, type Verb } from "../../contract/verbs.ts";
import { decodeFrame, SEPARATOR } from "../../contract/wire.ts";
import { CdktrError, type ErrorReplyKind, InvalidInputError } from "../../errors.ts";
import { messageText } from "../../terminal/foreign-text.ts";
import { thereIsNo } from "../unknown-name.ts";

/** More fields than any verb takes; what comes after them is not looked at. */
const MAX_FIELDS = 32;

/** A request, taken apart. */
export interface Request {
  readonly verb: Verb;
  readonly fields: readonly string[];
}

/**
 * Reads a request.
 * @throws InvalidInputError saying what is wrong with it
 */
export function readRequest(frame: Uint8Array): Request {
  const [verb = "", ...parts] = decodeFrame(frame).split(SEPARATOR, MAX_FIELDS);
  // An id that is kept must not keep what came with it.
  const fields = parts.map((part) => (part.length * 2 < frame.length ? ownText(part) : part));
  if (isVerb(verb)) return { verb, fields };
  throw new InvalidInputError(
    verb === "" ? "The message has no verb; a message starts with one." : thereIsNo("verb", verb, VERB_NAMES),
  );
}

/**
 * The fields of a positional request by name.
 * @param optional how many of the last ones may be left out; they are "" then
 * @throws InvalidInputError naming the field that is missing, or when there are too many
 */
export function positional<N extends string>(
  request: Request,
  names: readonly N[],
  optional = 0,
): Record<N, string> {
  const { verb, fields } = request;
  const values: Partial<Record<N, string>> = {};
  for (const [index, name] of names.entries()) {
    const value = fields[index] ?? "";
    if (value === "" && index < names.length - optional) {
      throw new InvalidInputError(
        `${verb} needs ${names.slice(0, names.length - optional).join(", ")}: ${name} is missing.`,
      );
    }
    values[name] = value;
  }
  if (fields.slice(names.length).some((field) => field !== "")) {
    throw new InvalidInputError(
      `${verb} takes ${names.length === 0 ? "no fields" : `at most ${names.length}: ${names.join(", ")}`}; there are ${fields.length === MAX_FIELDS - 1 ? `${fields.length} or more` : fields.length}.`,
    );
  }
  return values as Record<N, string>;
}

/**
 * Reads a JSON field.
 * @param what how messages name the field
 * @throws InvalidInputError naming what is wrong and where
 */
export function readJson<S extends z.ZodType>(schema: S, text: string, what: string): z.output<S> {
  let json: unknown;
  refuseBomb(text, what);
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new InvalidInputError(
      `${what} is not JSON: ${error instanceof Error ? error.message : String(error)}.`,
    );
  }
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const issues = result.error.issues.slice(0, MAX_ISSUES).map((issue) => {
    const path = issue.path.map(String).join(".");
    return `${path === "" ? what : path}: ${issue.message}`;
  });
  const more = result.error.issues.length - issues.length;
  throw new InvalidInputError(
    `${what} is not as it must be: ${issues.join("; ")}${more > 0 ? `; and ${more} more` : ""}.`,
  );
}

/** JSON that is shorter, in characters, does no harm whatever it holds. */
const HARMLESS_JSON = 64 * 1024;
/** Values in a JSON field: a few MiB of brackets would become objects of some hundred. */
const MAX_VALUES = 250_000;
const MAX_DEPTH = 100;

/**
 * Looks at a long text before it becomes objects, which take many times its memory.
 * @throws InvalidInputError when it has more values, or more in one another, than any request needs
 */
function refuseBomb(text: string, what: string): void {
  if (text.length <= HARMLESS_JSON) return;
  let values = 0;
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case 0x22: // A string: to its end, past what is escaped.
        for (at++; at < text.length && text.charCodeAt(at) !== 0x22; at++)
          if (text.charCodeAt(at) === 0x5c) at++;
        break;
      case 0x5b:
      case 0x7b:
        values++;
        if (++depth > MAX_DEPTH)
          throw new InvalidInputError(`${what} has more than ${MAX_DEPTH} brackets in one another.`);
        break;
      case 0x5d:
      case 0x7d:
        depth--;
        break;
      case 0x2c:
        values++;
        break;
    }
    if (values > MAX_VALUES)
      throw new InvalidInputError(
        `${what} has more than ${MAX_VALUES} values; send them in several requests.`,
      );
  }
}

/** More problems of one field than these are counted only. */
const MAX_ISSUES = 5;

/** What a reply says of an error: whose fault, and what to do. */
export function errorReply(error: unknown): { kind: ErrorReplyKind; text: string } {
  if (!(error instanceof CdktrError)) {
    const message = error instanceof Error ? error.message : String(error);
    return { kind: "SERVERERROR", text: reply(`Internal error: ${message}`) };
  }
  const text = error.hint === undefined ? error.message : `${error.message} (${error.hint})`;
  return { kind: error.reply, text: reply(text) };
}

function reply(text: string): string {
  return messageText(text).slice(0, 8192);
}
