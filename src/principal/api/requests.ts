/** Parses frames into requests, and turns errors into replies. */
import type { z } from "zod";
import { ownText } from "../../contract/own-text.ts";
import { isJsonField, type VerbEntry } from "../../contract/verb-entry.ts";
import { isVerb, type RequestOf, VERB_NAMES, VERBS, type Verb } from "../../contract/verbs.ts";
import { decodeFrame, SEPARATOR } from "../../contract/wire.ts";
import { CdktrError, type ErrorReplyKind, InvalidInputError } from "../../errors.ts";
import { messageText, quote } from "../../terminal/foreign-text.ts";
import { thereIsNo } from "../unknown-name.ts";

/** More fields than any verb takes; further ones are ignored. */
const MAX_FIELDS = 32;

/** A request whose fields are not parsed yet. */
export interface Request<V extends Verb = Verb> {
  readonly verb: V;
  readonly fields: readonly string[];
}

/**
 * Splits a frame into verb and fields.
 * @throws InvalidInputError when the frame is malformed or the verb unknown
 */
export function readRequest(frame: Uint8Array): Request {
  const [verb = "", ...parts] = decodeFrame(frame).split(SEPARATOR, MAX_FIELDS);
  // An id that is kept must not keep the whole frame in memory.
  const fields = parts.map((part) => (part.length * 2 < frame.length ? ownText(part) : part));
  if (isVerb(verb)) return { verb, fields };
  throw new InvalidInputError(
    verb === "" ? "The message has no verb; a message starts with one." : thereIsNo("verb", verb, VERB_NAMES),
  );
}

/** A field of a verb. */
interface Field {
  /** The key of the request; undefined when the field is the whole request. */
  readonly key: string | undefined;
  /** Its name in messages. */
  readonly name: string;
  readonly isJson: boolean;
  readonly isRequired: boolean;
}

/** Made when a verb is used first: those of all verbs take a tenth of the start. */
const FIELDS = new Map<Verb, readonly Field[]>();

function fieldsFor(verb: Verb): readonly Field[] {
  const known = FIELDS.get(verb);
  if (known !== undefined) return known;
  const fields = fieldsOf(VERBS[verb]);
  FIELDS.set(verb, fields);
  return fields;
}

function fieldsOf({ fields, request }: VerbEntry): Field[] {
  if (fields === undefined) return [{ key: undefined, name: "arguments", isJson: true, isRequired: false }];
  return Object.entries(request.shape).map(([key, schema], index) => ({
    key,
    name: fields[index] ?? key,
    isJson: isJsonField(schema),
    isRequired: !schema.safeParse(undefined).success,
  }));
}

/**
 * Parses the fields of a request.
 * @throws InvalidInputError naming the missing or invalid field
 */
export function parseRequest<V extends Verb>({ verb, fields: texts }: Request<V>): RequestOf<V> {
  const fields = fieldsFor(verb);
  const required = fields.filter((field) => field.isRequired);
  let input: unknown = {};
  for (const [index, { key, name, isJson, isRequired }] of fields.entries()) {
    const text = texts[index] ?? "";
    if (text === "") {
      if (!isRequired) continue;
      throw new InvalidInputError(
        `${verb} needs ${required.map((field) => field.name).join(", ")}: ${name} is missing.`,
      );
    }
    const value = isJson ? readJson(text, name) : text;
    if (key === undefined) input = value;
    else (input as Record<string, unknown>)[key] = value;
  }
  if (texts.slice(fields.length).some((text) => text !== "")) {
    const names = fields.map((field) => field.name).join(", ");
    throw new InvalidInputError(
      `${verb} takes ${fields.length === 0 ? "no fields" : `at most ${fields.length}: ${names}`}; there are ${texts.length === MAX_FIELDS - 1 ? `${texts.length} or more` : texts.length}.`,
    );
  }
  const result = VERBS[verb].request.safeParse(input);
  if (result.success) return result.data as RequestOf<V>;
  throw new InvalidInputError(complaint(fields, texts, result.error.issues));
}

/** Describes what is wrong with the first invalid field. */
function complaint(
  fields: readonly Field[],
  texts: readonly string[],
  issues: readonly z.core.$ZodIssue[],
): string {
  const [first] = issues;
  const index = fields.findIndex(({ key }) => key === undefined || key === first?.path[0]);
  const field = fields[index];
  if (field === undefined || first === undefined) return "The request is invalid.";
  if (!field.isJson) return textComplaint(field, texts[index] ?? "", first);
  const { key, name } = field;
  const own = key === undefined ? issues : issues.filter(({ path }) => path[0] === key);
  const told = own.slice(0, MAX_ISSUES).map(({ path, message }) => {
    const where = path.slice(key === undefined ? 0 : 1).join(".");
    return `${where === "" ? name : where}: ${message}`;
  });
  const more = own.length - told.length;
  return `${name} is invalid: ${told.join("; ")}${more > 0 ? `; and ${more} more` : ""}.`;
}

/** Messages of schemas read like `is not an agent id` or `it must be a whole number`. */
function textComplaint({ name }: Field, text: string, issue: z.core.$ZodIssue): string {
  if (issue.code === "invalid_value") return thereIsNo(name, text, issue.values.map(String));
  return issue.message.startsWith("is ")
    ? `${quote(text)} ${issue.message}.`
    : `${name} is ${quote(text)}: ${issue.message}.`;
}

/** @param what the name of the field in messages */
function readJson(text: string, what: string): unknown {
  refuseBomb(text, what);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new InvalidInputError(
      `${what} is not JSON: ${error instanceof Error ? error.message : String(error)}.`,
    );
  }
}

/** Shorter JSON, in characters, is harmless whatever it holds. */
const HARMLESS_JSON = 64 * 1024;
/** Values in a JSON field. A few MiB of brackets would take hundreds of MiB as objects. */
const MAX_VALUES = 250_000;
const MAX_DEPTH = 100;

/**
 * Scans a long JSON text before it is parsed: the objects would take many times its memory.
 * @throws InvalidInputError when it has more values, or deeper nesting, than any request needs
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
          throw new InvalidInputError(`${what} is nested more than ${MAX_DEPTH} levels deep.`);
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

/** Problems of one field that a reply describes; further ones are only counted. */
const MAX_ISSUES = 5;

/** The error reply for an error: who is at fault, and what to do. */
export function errorReply(error: unknown): { kind: ErrorReplyKind; text: string } {
  if (!(error instanceof CdktrError)) {
    const message = error instanceof Error ? error.message : String(error);
    return { kind: "SERVERERROR", text: reply(`Internal error: ${message}`) };
  }
  const { message, hint } = error;
  const more = message.includes("\n") ? `\nhint: ${hint}` : ` (${hint})`;
  return { kind: error.reply, text: reply(hint === undefined ? message : message + more) };
}

function reply(text: string): string {
  return messageText(text).slice(0, 8192);
}
