/**
 * The types of parameters: which texts are values of each, and how a value is written. A parameter is text on its way to a task, whatever
 * its type; each value has one spelling (`07` of an int is `7`). The form of the terminal UI uses this too.
 */
import { nearest } from "../terminal/did-you-mean.ts";
import { findsPattern, patternFault } from "./pattern.ts";

/** The types, in the order of the manual. */
export const PARAM_TYPES = ["string", "int", "number", "bool", "date", "json"] as const;
export type ParamType = (typeof PARAM_TYPES)[number];

/** What a value of a parameter must be, as it is stored. A type that only a newer version knows is not checked. */
export interface ParamRules {
  readonly type?: string | undefined;
  readonly enum?: readonly string[] | undefined;
  /** A regular expression that the whole text must match. */
  readonly pattern?: string | undefined;
  /** In the spelling of the type. */
  readonly min?: string | undefined;
  readonly max?: string | undefined;
}

/** Why a text is not a value. */
export interface ParamProblem {
  /** After "must", such as `be a whole number`. */
  readonly must: string;
  /** After the name of the value, such as `is not a whole number`. */
  readonly is: string;
  readonly help?: string | undefined;
}

/** A value in the spelling of its type, or why the text is none. */
export type ParamValue =
  | { readonly ok: true; readonly text: string }
  | { readonly ok: false; readonly problem: ParamProblem };

type Read = (text: string) => string | null;

interface TypeFacts {
  /** What a value is, such as `a whole number`. */
  readonly noun: string;
  /** The spelling of a value; null for a text that is none. */
  readonly read: Read;
  /** Compares two spellings; absent if they have no order. */
  readonly compare?: (a: string, b: string) => number;
  /** It can have an `enum`. */
  readonly hasChoices: boolean;
}

const LARGEST_INT = 2n ** 63n - 1n;
const MOST_LEVELS = 64;

const TYPES: Readonly<Record<ParamType, TypeFacts>> = {
  string: { noun: "a string", read: (text) => text, hasChoices: true },
  int: {
    noun: "a whole number",
    read: readInt,
    compare: (a, b) => (BigInt(a) < BigInt(b) ? -1 : BigInt(a) > BigInt(b) ? 1 : 0),
    hasChoices: true,
  },
  number: {
    noun: "a number",
    read: readNumber,
    compare: (a, b) => Number(a) - Number(b),
    hasChoices: true,
  },
  bool: { noun: "true or false", read: readBool, hasChoices: false },
  date: {
    noun: "a date",
    read: readDate,
    compare: (a, b) => (a < b ? -1 : a > b ? 1 : 0),
    hasChoices: true,
  },
  json: { noun: "JSON", read: readJson, hasChoices: false },
};

/** The facts of a type; those of text for one that nobody knows here. */
export function typeFacts(type: string | undefined): TypeFacts {
  return TYPES[typeOf(type)];
}

function typeOf(type: string | undefined): ParamType {
  return type !== undefined && Object.hasOwn(TYPES, type) ? (type as ParamType) : "string";
}

/** Reads a value of a parameter. */
export function readParam(rules: ParamRules, text: string): ParamValue {
  const { type, enum: choices, pattern, min, max } = rules;
  if (type === undefined && choices === undefined && pattern === undefined) return { ok: true, text };
  const { noun, read, compare } = typeFacts(type);
  const fail = (must: string, is: string, help?: string): ParamValue => ({
    ok: false,
    problem: { must, is, help },
  });
  const value = read(text);
  if (value === null) return fail(`be ${noun}`, `is not ${noun}`, helpFor(typeOf(type), text));
  if (choices !== undefined && !choices.includes(value)) {
    const near = nearest(value, choices);
    const help = near === undefined ? undefined : `did you mean "${near}"?`;
    return fail(`be one of ${listed(choices)}`, "is not among its choices", help);
  }
  if (pattern !== undefined && typeOf(type) === "string" && !matches(pattern, value))
    return fail(`match ${shortened(pattern)}`, `does not match its pattern, ${shortened(pattern)}`);
  if (compare === undefined) return { ok: true, text: value };
  const isDate = type === "date";
  if (min !== undefined && compare(value, min) < 0)
    return fail(
      isDate ? `be ${min} or later` : `be at least ${min}`,
      isDate ? `is before its min, ${min}` : `is smaller than its min, ${min}`,
    );
  if (max !== undefined && compare(value, max) > 0)
    return fail(
      isDate ? `be ${max} or earlier` : `be at most ${max}`,
      isDate ? `is after its max, ${max}` : `is larger than its max, ${max}`,
    );
  return { ok: true, text: value };
}

/** The value of a spelling as plain JSON: an int beyond 2^53 stays text. */
export function jsonOfParam(rules: ParamRules, text: string): unknown {
  switch (rules.type) {
    case "int":
      return Number.isSafeInteger(Number(text)) ? Number(text) : text;
    case "number":
      return Number(text);
    case "bool":
      return text === "true";
    case "json":
      return JSON.parse(text);
    default:
      return text;
  }
}

/** What a value must be, in a few words, such as `int from 1 to 31`; empty for any text. */
export function paramRulesText({ type, enum: choices, pattern, min, max }: ParamRules): string {
  const words = type === undefined || type === "string" ? [] : [type];
  if (choices !== undefined) words.push(`one of ${listed(choices)}`);
  if (pattern !== undefined) words.push(`matching ${shortened(pattern)}`);
  if (min !== undefined && max !== undefined) words.push(`from ${min} to ${max}`);
  else if (min !== undefined) words.push(`from ${min}`);
  else if (max !== undefined) words.push(`to ${max}`);
  return words.join(" ");
}

/** The JSON Schema of the parameters of a workflow, as typed values. */
export function paramsSchema(
  params: Readonly<
    Record<
      string,
      ParamRules & {
        readonly description: string | null;
        readonly default: string | null;
        readonly default_template?: string | undefined;
      }
    >
  >,
): Readonly<Record<string, unknown>> {
  const entries = Object.entries(params);
  const required = entries
    .filter(([, param]) => param.default === null && param.default_template === undefined)
    .map(([name]) => name);
  return {
    $schema: "http://json-schema.org/draft-07/schema#",
    type: "object",
    properties: Object.fromEntries(entries.map(([name, param]) => [name, paramSchema(param)])),
    ...(required.length > 0 ? { required } : {}),
    additionalProperties: false,
  };
}

const SCHEMA_TYPES: Readonly<Record<ParamType, Readonly<Record<string, string>>>> = {
  string: { type: "string" },
  int: { type: "integer" },
  number: { type: "number" },
  bool: { type: "boolean" },
  date: { type: "string", format: "date" },
  json: {},
};

function paramSchema(
  param: ParamRules & { readonly description: string | null; readonly default: string | null },
): Record<string, unknown> {
  const value = (text: string) => jsonOfParam(param, text);
  const hasNumbers = param.type === "int" || param.type === "number";
  return {
    ...SCHEMA_TYPES[typeOf(param.type)],
    ...(param.description === null ? {} : { description: param.description }),
    ...(param.enum === undefined ? {} : { enum: param.enum.map(value) }),
    ...(param.pattern === undefined ? {} : { pattern: `^(?:${param.pattern})$` }),
    ...(param.min === undefined || !hasNumbers ? {} : { minimum: value(param.min) }),
    ...(param.max === undefined || !hasNumbers ? {} : { maximum: value(param.max) }),
    ...(param.default === null ? {} : { default: value(param.default) }),
  };
}

const MOST_LISTED = 12;
/** In characters. */
const LONGEST_LISTED = 40;

function listed(choices: readonly string[]): string {
  const shown = choices.slice(0, MOST_LISTED).map((choice) => (choice === "" ? '""' : shortened(choice)));
  return `${shown.join(", ")}${choices.length > shown.length ? ", …" : ""}`;
}

function shortened(text: string): string {
  return text.length > LONGEST_LISTED ? `${text.slice(0, LONGEST_LISTED).toWellFormed()}…` : text;
}

/** Whether a pattern matches the whole text, in a time that grows with its length alone. */
function matches(pattern: string, text: string): boolean {
  const whole = wholePattern(pattern);
  return patternFault(whole) === null && findsPattern(whole, text);
}

function wholePattern(pattern: string): string {
  return `\\A(?:${pattern})\\z`;
}

/** What is wrong with the pattern of a parameter; null if nothing is. */
export function paramPatternFault(pattern: string): string | null {
  const fault = patternFault(pattern) ?? patternFault(wholePattern(pattern));
  return (
    fault?.replace(/^the pattern (cannot be read|is)/, (_, what) =>
      what === "is" ? what : "is not a regular expression",
    ) ?? null
  );
}

function helpFor(type: ParamType, text: string): string | undefined {
  switch (type) {
    case "bool": {
      const plain = text.trim().toLowerCase();
      if (/^(yes|y|on|1)$/.test(plain)) return 'write "true"';
      return /^(no|n|off|0)$/.test(plain) ? 'write "false"' : undefined;
    }
    case "date":
      return "such as 2026-02-28";
    case "json":
      return 'such as ["a", "b"] or {"a": 1}';
    default:
      return undefined;
  }
}

function readInt(text: string): string | null {
  const trimmed = text.trim();
  if (!/^[+-]?\d{1,40}$/.test(trimmed)) return null;
  const value = BigInt(trimmed.replace(/^\+/, ""));
  return value > LARGEST_INT || value < -LARGEST_INT - 1n ? null : String(value);
}

function readNumber(text: string): string | null {
  const trimmed = text.trim();
  if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(trimmed)) return null;
  const value = Number(trimmed);
  return Number.isFinite(value) ? String(value === 0 ? 0 : value) : null;
}

function readBool(text: string): string | null {
  const plain = text.trim().toLowerCase();
  return plain === "true" || plain === "false" ? plain : null;
}

function readDate(text: string): string | null {
  const trimmed = text.trim();
  const found = /^(\d{4})-(\d{2})-(\d{2})$/.exec(trimmed);
  if (found === null) return null;
  const [year, month, day] = found.slice(1).map(Number) as [number, number, number];
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  return date.getUTCMonth() === month - 1 && date.getUTCDate() === day ? trimmed : null;
}

/** JSON without white space: numbers stay as they are written, however long. */
function readJson(text: string): string | null {
  try {
    JSON.parse(text);
  } catch {
    return null;
  }
  const compact = text.replace(/"(?:[^"\\]|\\.)*"|\s+/g, (part) => (part.startsWith('"') ? part : ""));
  let [levels, deepest] = [0, 0];
  for (const [part] of compact.matchAll(/"(?:[^"\\]|\\.)*"|[[\]{}]/g)) {
    if (part === "[" || part === "{") deepest = Math.max(deepest, ++levels);
    else if (part === "]" || part === "}") levels--;
  }
  return deepest > MOST_LEVELS ? null : compact;
}

/** The values of a program as the texts that travel: text as it is, anything else as JSON. What is undefined is not given. */
export function paramTexts(params: Readonly<Record<string, unknown>> = {}): Record<string, string> {
  const texts: Record<string, string> = {};
  for (const [name, value] of Object.entries(params)) {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    if (text !== undefined) texts[name] = text;
  }
  return texts;
}
