/**
 * The functions of expressions: CEL's own, those of its strings extension, and cdktr's. A function that is not in this table does not
 * exist. The operators and macros are in compile-operators.ts and compile-macros.ts.
 */

import { findsPattern, patternFault } from "../pattern.ts";
import { dateFields, formatDate, isZone } from "./dates.ts";
import { Fault } from "./machine.ts";
import {
  BOOL,
  BYTES,
  type CelType,
  DOUBLE,
  DURATION,
  DYN,
  INT,
  listOf,
  mapOf,
  STRING,
  TIMESTAMP,
  TYPE,
  UINT,
} from "./types.ts";
import {
  type Duration,
  floorDiv,
  fromJson,
  type Key,
  kindOf,
  MAX_INT,
  MAX_UINT,
  MIN_INT,
  parseDuration,
  parseTimestamp,
  Timestamp,
  TypeValue,
  textOf,
  Uint,
  type Value,
} from "./values.ts";

/** What a function may use of the evaluation. */
interface Meter {
  charge(steps: number): void;
  chargeText(length: number): void;
}

/** One form of a function. */
export interface Overload {
  /** What it is a method of. */
  readonly target: CelType | null;
  readonly args: readonly CelType[];
  readonly result: CelType;
  /** For a method, its target comes first. @throws Fault */
  readonly call: (args: readonly Value[], meter: Meter) => Value;
  /** What is wrong with a literal as the argument of this number: it is found before anything is evaluated. */
  readonly literals?: Readonly<Record<number, (text: string) => string | null>>;
}

const LIST = listOf(DYN);
const MAP = mapOf(DYN, DYN);

const table = new Map<string, Overload[]>();

/** The names of functions and of methods. */
export const functionNames = (isMethod: boolean): string[] =>
  [...table]
    .filter(([, forms]) => forms.some(({ target }) => (target !== null) === isMethod))
    .map(([name]) => name);

/** The forms of a function, or of a method. */
export function overloadsOf(name: string, isMethod: boolean): readonly Overload[] {
  return table.get(name)?.filter(({ target }) => (target !== null) === isMethod) ?? [];
}

type Call = Overload["call"];

function add(name: string, overload: Overload): void {
  table.set(name, [...(table.get(name) ?? []), overload]);
}

function fn(
  name: string,
  args: readonly CelType[],
  result: CelType,
  call: Call,
  literals?: Overload["literals"],
): void {
  add(name, { target: null, args, result, call, ...(literals === undefined ? {} : { literals }) });
}

function method(
  name: string,
  target: CelType,
  args: readonly CelType[],
  result: CelType,
  call: Call,
  literals?: Overload["literals"],
): void {
  add(name, { target, args, result, call, ...(literals === undefined ? {} : { literals }) });
}

/** The arguments have been checked against the types of the form, so these only tell the compiler. */
const text = (value: Value | undefined): string => value as string;
const int = (value: Value | undefined): bigint => value as bigint;
const list = (value: Value | undefined): readonly Value[] => value as readonly Value[];
const map = (value: Value | undefined): ReadonlyMap<Key, Value> => value as ReadonlyMap<Key, Value>;
const bytes = (value: Value | undefined): Uint8Array => value as Uint8Array;
const time = (value: Value | undefined): Timestamp => value as Timestamp;
const span = (value: Value | undefined): Duration => value as Duration;
const uint = (value: Value | undefined): bigint => (value as Uint).value;
const double = (value: Value | undefined): number => value as number;

/** A text in messages, shortened. */
const quote = (value: string): string =>
  JSON.stringify(value.length > 60 ? `${value.slice(0, 60).toWellFormed()}…` : value);

export function intOf(value: bigint): bigint {
  if (value < MIN_INT || value > MAX_INT) throw new Fault(`the whole number is too large: ${value}`);
  return value;
}

export function uintOf(value: bigint): Uint {
  if (value < 0n || value > MAX_UINT) throw new Fault(`${value} is not a uint`);
  return new Uint(value);
}

// Sizes.
for (const [type, size] of [
  [STRING, (value: Value) => characters(text(value))],
  [BYTES, (value: Value) => bytes(value).length],
  [LIST, (value: Value) => list(value).length],
  [MAP, (value: Value) => map(value).size],
] as const) {
  const call: Call = ([value = null], meter) => {
    if (typeof value === "string") meter.chargeText(value.length);
    return BigInt(size(value));
  };
  fn("size", [type], INT, call);
  method("size", type, [], INT, call);
}

// Conversions.
fn("dyn", [DYN], DYN, ([value = null]) => value);
fn("type", [DYN], TYPE, ([value = null]) => new TypeValue(TYPE_NAMES[kindOf(value)] ?? kindOf(value)));

/** The names of types in CEL, where they differ from ours. */
const TYPE_NAMES: Readonly<Record<string, string>> = {
  null: "null_type",
  timestamp: "google.protobuf.Timestamp",
  duration: "google.protobuf.Duration",
};

/** The types that are named in expressions. */
export const NAMED_TYPES: ReadonlySet<string> = new Set([
  "bool",
  "int",
  "uint",
  "double",
  "string",
  "bytes",
  "list",
  "map",
  "null_type",
  "type",
]);

fn("int", [INT], INT, ([value]) => int(value));
fn("int", [UINT], INT, ([value]) => intOf(uint(value)));
fn("int", [DOUBLE], INT, ([value]) => intOfDouble(double(value)));
fn("int", [TIMESTAMP], INT, ([value]) => floorDiv(time(value).ns, 1_000_000_000n));
fn("int", [STRING], INT, ([value]) => {
  if (!/^[+-]?\d{1,25}$/.test(text(value))) throw new Fault(`${quote(text(value))} is not a whole number`);
  return intOf(BigInt(text(value).replace(/^\+/, "")));
});

fn("uint", [UINT], UINT, ([value = null]) => value);
fn("uint", [INT], UINT, ([value]) => uintOf(int(value)));
fn("uint", [DOUBLE], UINT, ([value]) => {
  const number = double(value);
  // 2^64 itself is a double, and too large.
  if (!(number > -1 && number < 2 ** 64)) throw new Fault(`${number} is not a uint`);
  return uintOf(BigInt(Math.trunc(number)));
});
fn("uint", [STRING], UINT, ([value]) => {
  if (!/^\+?\d{1,25}$/.test(text(value))) throw new Fault(`${quote(text(value))} is not a uint`);
  return uintOf(BigInt(text(value).replace(/^\+/, "")));
});

fn("double", [DOUBLE], DOUBLE, ([value]) => double(value));
fn("double", [INT], DOUBLE, ([value]) => Number(int(value)));
fn("double", [UINT], DOUBLE, ([value]) => Number(uint(value)));
fn("double", [STRING], DOUBLE, ([value]) => {
  const given = text(value);
  if (/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(given)) return Number(given);
  if (/^nan$/i.test(given)) return Number.NaN;
  if (/^[+-]?inf(inity)?$/i.test(given))
    return given.startsWith("-") ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  throw new Fault(`${quote(given)} is not a number`);
});

fn("string", [BYTES], STRING, ([value]) => {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes(value));
  } catch {
    throw new Fault("the bytes are not UTF-8");
  }
});
for (const type of [STRING, BOOL, INT, UINT, DOUBLE, TIMESTAMP, DURATION]) {
  fn("string", [type], STRING, ([value = null]) => textOf(value));
}

fn("bytes", [BYTES], BYTES, ([value = null]) => value);
fn("bytes", [STRING], BYTES, ([value], meter) => {
  meter.chargeText(text(value).length);
  return new TextEncoder().encode(text(value));
});

fn("bool", [BOOL], BOOL, ([value = null]) => value);
fn("bool", [STRING], BOOL, ([value]) => {
  if (["true", "True", "TRUE", "t", "1"].includes(text(value))) return true;
  if (["false", "False", "FALSE", "f", "0"].includes(text(value))) return false;
  throw new Fault(`${quote(text(value))} is neither true nor false`);
});

const timestampFault = (given: string): string | null =>
  parseTimestamp(given) === null ? `${quote(given)} is not a time such as "2025-01-20T02:00:00Z"` : null;
fn("timestamp", [TIMESTAMP], TIMESTAMP, ([value = null]) => value);
fn("timestamp", [INT], TIMESTAMP, ([value]) => timeOf(int(value) * 1_000_000_000n));
fn(
  "timestamp",
  [STRING],
  TIMESTAMP,
  ([value]) => orFault(parseTimestamp(text(value)), timestampFault(text(value))),
  {
    0: timestampFault,
  },
);

const durationFault = (given: string): string | null =>
  parseDuration(given) === null ? `${quote(given)} is not a duration such as "90s" or "1h30m"` : null;
fn("duration", [DURATION], DURATION, ([value = null]) => value);
fn(
  "duration",
  [STRING],
  DURATION,
  ([value]) => orFault(parseDuration(text(value)), durationFault(text(value))),
  {
    0: durationFault,
  },
);

function intOfDouble(number: number): bigint {
  // 2^63 itself is a double, and too large; CEL excludes -2^63 as well.
  if (!(number > -(2 ** 63) && number < 2 ** 63)) throw new Fault(`the whole number is too large: ${number}`);
  return BigInt(Math.trunc(number));
}

function timeOf(ns: bigint): Timestamp {
  const result = new Timestamp(ns);
  if (!result.isValid) throw new Fault("the time is not between the years 1 and 9999");
  return result;
}

function orFault<T>(value: T | null, fault: string | null): T {
  if (value === null) throw new Fault(fault ?? "there is no value");
  return value;
}

// Times.
const zoneFault = (zone: string): string | null =>
  isZone(zone) ? null : `${quote(zone)} is not a time zone such as "Europe/London" or "+02:00"`;

function fieldsOf(value: Timestamp, zone: string): ReturnType<typeof dateFields> {
  return orFault(isZone(zone) ? dateFields(value.ms, zone) : null, zoneFault(zone));
}

for (const [name, read] of [
  ["getFullYear", ({ year }) => year],
  ["getMonth", ({ month }) => month - 1],
  ["getDate", ({ day }) => day],
  ["getDayOfMonth", ({ day }) => day - 1],
  ["getDayOfWeek", ({ weekday }) => weekday],
  ["getDayOfYear", ({ yearday }) => yearday - 1],
  ["getHours", ({ hour }) => hour],
  ["getMinutes", ({ minute }) => minute],
  ["getSeconds", ({ second }) => second],
  ["getMilliseconds", ({ millisecond }) => millisecond],
] as const satisfies readonly (readonly [string, (fields: ReturnType<typeof dateFields>) => number])[]) {
  method(name, TIMESTAMP, [], INT, ([value]) => BigInt(read(fieldsOf(time(value), "UTC"))));
  method(name, TIMESTAMP, [STRING], INT, ([value, zone]) => BigInt(read(fieldsOf(time(value), text(zone)))), {
    0: zoneFault,
  });
}
for (const [name, unit] of [
  ["getHours", 3_600_000_000_000n],
  ["getMinutes", 60_000_000_000n],
  ["getSeconds", 1_000_000_000n],
] as const) {
  method(name, DURATION, [], INT, ([value]) => span(value).ns / unit);
}
method("getMilliseconds", DURATION, [], INT, ([value]) => (span(value).ns / 1_000_000n) % 1000n);

const formatFault = (format: string): string | null => {
  const bad = format.match(/%[\s\S]?/g)?.find((part) => !/^%[YmdHMSyjaAbBeuwVGsFTzZ%]$/.test(part));
  if (bad === undefined) return null;
  return `"${bad}" is not a part of a date; parts are %Y %m %d %H %M %S %F %T %y %j %e %a %A %b %B %u %w %G %V %s %z %Z %%`;
};
for (const type of [TIMESTAMP, STRING]) {
  const call: Call = ([given = null, format, zone = "UTC"], meter) => {
    meter.chargeText(text(format).length * 10);
    const value = typeof given === "string" ? dayOrTime(given) : time(given);
    orFault(formatFault(text(format)) === null ? true : null, formatFault(text(format)));
    return formatDate(text(format), value.ms, fieldsOf(value, text(zone)));
  };
  const literals = { 1: formatFault, 2: zoneFault };
  fn("date", [type, STRING], STRING, call, literals);
  fn("date", [type, STRING, STRING], STRING, call, literals);
}

/** A time, or a day, which begins at midnight UTC. */
function dayOrTime(given: string): Timestamp {
  const whole = /^\d{4}-\d{2}-\d{2}$/.test(given) ? `${given}T00:00:00Z` : given;
  return orFault(
    parseTimestamp(whole),
    `${quote(given)} is not a day such as "2025-01-20" or a time such as "2025-01-20T02:00:00Z"`,
  );
}

// Text. Positions and lengths count characters, not units of UTF-16.
method("contains", STRING, [STRING], BOOL, ([value, part], meter) => {
  meter.chargeText(text(value).length);
  return text(value).includes(text(part));
});
method("startsWith", STRING, [STRING], BOOL, ([value, part]) => text(value).startsWith(text(part)));
method("endsWith", STRING, [STRING], BOOL, ([value, part]) => text(value).endsWith(text(part)));
const matches: Call = ([value, pattern], meter) => {
  meter.charge((text(value).length / 100 + 1) * (text(pattern).length / 10 + 1));
  return findsPattern(text(pattern), text(value));
};
method("matches", STRING, [STRING], BOOL, matches, { 0: patternFault });
fn("matches", [STRING, STRING], BOOL, matches, { 1: patternFault });

method("lowerAscii", STRING, [], STRING, ([value], meter) => {
  meter.chargeText(text(value).length);
  return text(value).replace(/[A-Z]+/g, (part) => part.toLowerCase());
});
method("upperAscii", STRING, [], STRING, ([value], meter) => {
  meter.chargeText(text(value).length);
  return text(value).replace(/[a-z]+/g, (part) => part.toUpperCase());
});
method("trim", STRING, [], STRING, ([value], meter) => {
  meter.chargeText(text(value).length);
  return text(value)
    .replace(/^[\p{White_Space}]+/u, "")
    .replace(/[\p{White_Space}]+$/u, "");
});
method("reverse", STRING, [], STRING, ([value], meter) => {
  meter.chargeText(text(value).length);
  return [...text(value)].reverse().join("");
});
method("charAt", STRING, [INT], STRING, ([value, at], meter) => {
  const point = text(value).codePointAt(placeIn(text(value), int(at), meter));
  return point === undefined ? "" : String.fromCodePoint(point);
});
const slice: Call = ([value, from, to], meter) => {
  const given = text(value);
  const start = placeIn(given, int(from), meter);
  const end = to === undefined ? given.length : placeIn(given, int(to), meter);
  if (end < start) throw new Fault(`the end of the part, ${int(to)}, is before its start, ${int(from)}`);
  return given.slice(start, end);
};
method("substring", STRING, [INT], STRING, slice);
method("substring", STRING, [INT, INT], STRING, slice);
const indexOf: Call = ([value, part, from = 0n], meter) => {
  const given = text(value);
  const place = given.indexOf(text(part), placeIn(given, int(from), meter));
  return place < 0 ? -1n : BigInt(characters(given.slice(0, place)));
};
method("indexOf", STRING, [STRING], INT, indexOf);
method("indexOf", STRING, [STRING, INT], INT, indexOf);
const lastIndexOf: Call = ([value, part, from], meter) => {
  const given = text(value);
  const limit = from === undefined ? given.length : placeIn(given, int(from), meter);
  meter.chargeText(given.length);
  const place = given.lastIndexOf(text(part), limit);
  return place < 0 ? -1n : BigInt(characters(given.slice(0, place)));
};
method("lastIndexOf", STRING, [STRING], INT, lastIndexOf);
method("lastIndexOf", STRING, [STRING, INT], INT, lastIndexOf);
const replace: Call = ([value, part, other, count = -1n], meter) => {
  const limit = int(count) < 0n ? Number.POSITIVE_INFINITY : Number(int(count)) + 1;
  const all = split(text(value), text(part), Number.POSITIVE_INFINITY, meter);
  // Nothing is found before, between and after all characters.
  const pieces = text(part) === "" ? ["", ...all, ""] : all;
  meter.chargeText(pieces.length * text(other).length);
  if (pieces.length <= limit) return pieces.join(text(other));
  return [...pieces.slice(0, limit - 1), pieces.slice(limit - 1).join(text(part))].join(text(other));
};
method("replace", STRING, [STRING, STRING], STRING, replace);
method("replace", STRING, [STRING, STRING, INT], STRING, replace);
method("split", STRING, [STRING], listOf(STRING), ([value, by], meter) =>
  split(text(value), text(by), Number.POSITIVE_INFINITY, meter),
);
method("split", STRING, [STRING, INT], listOf(STRING), ([value, by, count], meter) =>
  int(count) === 0n
    ? []
    : split(text(value), text(by), int(count) < 0n ? Number.POSITIVE_INFINITY : Number(int(count)), meter),
);
const join: Call = ([values, by = ""], meter) => {
  const parts = list(values);
  const wrong = parts.find((part) => typeof part !== "string");
  if (wrong !== undefined) throw new Fault(`join needs a list of texts, but one is ${article(wrong)}`);
  meter.charge(parts.length);
  meter.chargeText(parts.reduce((sum: number, part) => sum + text(part).length + text(by).length, 0));
  return parts.join(text(by));
};
method("join", listOf(STRING), [], STRING, join);
method("join", listOf(STRING), [STRING], STRING, join);

function article(value: Value): string {
  const kind = kindOf(value);
  return kind === "null" ? kind : `${kind === "int" ? "an" : "a"} ${kind}`;
}

/** The number of characters of a text. */
function characters(value: string): number {
  let count = value.length;
  for (const _ of value.matchAll(/[\ud800-\udbff][\udc00-\udfff]/g)) count--;
  return count;
}

/** The offset of the character of this number. */
function placeIn(value: string, number: bigint, meter: Meter): number {
  meter.chargeText(value.length);
  const count = characters(value);
  if (number < 0n || number > BigInt(count)) {
    throw new Fault(`there is no place ${number} in a text of ${count} characters`);
  }
  if (count === value.length) return Number(number);
  let offset = 0;
  for (let left = Number(number); left > 0; left--)
    offset += (value.codePointAt(offset) ?? 0) > 0xffff ? 2 : 1;
  return offset;
}

/** At most `limit` parts: the last one has the rest. */
function split(value: string, by: string, limit: number, meter: Meter): string[] {
  meter.chargeText(value.length);
  const parts = by === "" ? [...value] : value.split(by);
  meter.charge(parts.length / 10);
  return parts.length <= limit ? parts : [...parts.slice(0, limit - 1), parts.slice(limit - 1).join(by)];
}

// cdktr's own.
fn("json", [STRING], DYN, ([value], meter) => {
  meter.chargeText(text(value).length);
  let parsed: unknown;
  try {
    parsed = JSON.parse(text(value));
  } catch {
    throw new Fault(`the text is not JSON: ${quote(text(value))}`);
  }
  return fromJson(parsed, (count) => meter.charge(count / 10));
});
fn("file_name", [STRING], STRING, ([value], meter) => {
  meter.chargeText(text(value).length);
  return /([^/]*)\/*$/.exec(text(value))?.[1] ?? "";
});
