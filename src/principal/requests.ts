/** From a frame to a request, and from an error to the text of its reply. */
import type { z } from "zod";
import { CdktrError, type ErrorReplyKind, InvalidInputError } from "../errors.ts";
import { isVerb, JSON_VERBS, POSITIONAL_VERBS, type Verb } from "../protocol/verbs.ts";
import { decodeFrame, SEPARATOR } from "../protocol/wire.ts";
import { printable, thereIsNo } from "./unknown-name.ts";

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
  const [verb = "", ...fields] = decodeFrame(frame).split(SEPARATOR);
  if (isVerb(verb)) return { verb, fields };
  throw new InvalidInputError(
    verb === ""
      ? "The message has no verb; a message starts with one."
      : thereIsNo("verb", verb, [...POSITIONAL_VERBS, ...JSON_VERBS]),
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
      `${verb} takes ${names.length === 0 ? "no fields" : `at most ${names.length}: ${names.join(", ")}`}; there are ${fields.length}.`,
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
  return printable(text).slice(0, 8192);
}
