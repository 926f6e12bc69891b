/**
 * The values of expressions. A whole number is a bigint and any other number a number, as CEL keeps `int` and `double` apart; what is JSON
 * comes in and goes out as JSON.
 */
import type { TypeKind } from "./types.ts";

/** An unsigned whole number, such as `1u`. */
export class Uint {
  constructor(readonly value: bigint) {}
}

const NS_PER_SECOND = 1_000_000_000n;
const MIN_TIMESTAMP_NS = -62_135_596_800n * NS_PER_SECOND;
const MAX_TIMESTAMP_NS = 253_402_300_799n * NS_PER_SECOND + 999_999_999n;
/** As long as 64 bits hold nanoseconds: 292 years. */
const MAX_DURATION_NS = 2n ** 63n - 1n;

/** A point in time. */
export class Timestamp {
  /** @param ns nanoseconds since the epoch */
  constructor(readonly ns: bigint) {}

  static ofMs(ms: number): Timestamp {
    return new Timestamp(BigInt(Math.trunc(ms)) * 1_000_000n);
  }

  /** Milliseconds since the epoch, rounded down. */
  get ms(): number {
    return Number(floorDiv(this.ns, 1_000_000n));
  }

  get isValid(): boolean {
    return this.ns >= MIN_TIMESTAMP_NS && this.ns <= MAX_TIMESTAMP_NS;
  }
}

/** A length of time. */
export class Duration {
  constructor(readonly ns: bigint) {}

  get isValid(): boolean {
    return this.ns >= -MAX_DURATION_NS && this.ns <= MAX_DURATION_NS;
  }
}

/** The type of a value, as the function `type` gives it. */
export class TypeValue {
  constructor(readonly name: string) {}
}

/** The keys of maps. */
export type Key = string | bigint | boolean;

/** The value of an expression. */
export type Value =
  | null
  | boolean
  | bigint
  | number
  | string
  | Uint
  | Uint8Array
  | Timestamp
  | Duration
  | TypeValue
  | readonly Value[]
  | ReadonlyMap<Key, Value>;

export const MIN_INT = -(2n ** 63n);
export const MAX_INT = 2n ** 63n - 1n;
export const MAX_UINT = 2n ** 64n - 1n;

export function isList(value: Value): value is readonly Value[] {
  return Array.isArray(value);
}

export function isMap(value: Value): value is ReadonlyMap<Key, Value> {
  return value instanceof Map;
}

/** The kind of a value; never `dyn`. */
export function kindOf(value: Value): Exclude<TypeKind, "dyn"> {
  switch (typeof value) {
    case "boolean":
      return "bool";
    case "bigint":
      return "int";
    case "number":
      return "double";
    case "string":
      return "string";
    default:
  }
  if (value === null) return "null";
  if (isList(value)) return "list";
  if (isMap(value)) return "map";
  if (value instanceof Timestamp) return "timestamp";
  if (value instanceof Duration) return "duration";
  if (value instanceof Uint) return "uint";
  return value instanceof TypeValue ? "type" : "bytes";
}

/** The kind of a value in messages, for people who think of JSON. */
export function kindName(value: Value): string {
  const kind = kindOf(value);
  return kind === "string" ? "text" : kind;
}

/** A value of JSON; whole numbers that JavaScript holds exactly are ints. @param charge is told how many values there are */
export function fromJson(json: unknown, charge: (count: number) => void): Value {
  switch (typeof json) {
    case "boolean":
    case "string":
      return json;
    case "number":
      return Number.isSafeInteger(json) ? BigInt(json) : json;
    case "object":
      break;
    default:
      return null;
  }
  if (json === null) return null;
  if (Array.isArray(json)) {
    charge(json.length);
    return json.map((each) => fromJson(each, charge));
  }
  const entries = Object.entries(json);
  charge(entries.length);
  return new Map(entries.map(([key, each]): [Key, Value] => [key, fromJson(each, charge)]));
}

/** A value of an expression that has no form in JSON or as text. The message is the end of a sentence that begins with the value. */
export class NoFormError extends Error {}

/** @throws NoFormError for what JSON cannot hold */
export function toJson(value: Value): unknown {
  if (isList(value)) return value.map(toJson);
  if (isMap(value)) {
    // Without a prototype, `__proto__` is a name like any other.
    const object: Record<string, unknown> = Object.create(null);
    for (const [key, each] of value) object[String(key)] = toJson(each);
    return object;
  }
  switch (typeof value) {
    case "bigint":
      if (value > BigInt(Number.MAX_SAFE_INTEGER) || value < BigInt(Number.MIN_SAFE_INTEGER)) {
        throw new NoFormError(`is ${value}, which programs that read JSON would round`);
      }
      return Number(value);
    case "number":
      if (!Number.isFinite(value)) throw new NoFormError(`is ${numberText(value)}, which JSON cannot hold`);
      return value;
    case "boolean":
    case "string":
      return value;
    default:
  }
  return value === null ? null : textOf(value);
}

/**
 * The text of a value, for an argument, a variable or a place inside other text: lists and maps are compact JSON.
 * @throws NoFormError for null and for what has no text
 */
export function textOf(value: Value): string {
  switch (typeof value) {
    case "string":
      return value;
    case "boolean":
    case "bigint":
      return String(value);
    case "number":
      return numberText(value);
    default:
  }
  if (value === null) throw new NoFormError("is null");
  if (value instanceof Timestamp) return timestampText(value);
  if (value instanceof Duration) return durationText(value);
  if (value instanceof Uint) return String(value.value);
  if (value instanceof Uint8Array) throw new NoFormError("is bytes, which have no form as text");
  if (value instanceof TypeValue) throw new NoFormError("is a type, which has no form as text");
  return JSON.stringify(toJson(value));
}

function numberText(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return "+Inf";
  return value === Number.NEGATIVE_INFINITY ? "-Inf" : String(value);
}

/** RFC 3339, in UTC, with as many digits of the second as are needed. */
function timestampText(time: Timestamp): string {
  const seconds = floorDiv(time.ns, NS_PER_SECOND);
  const text = new Date(Number(seconds) * 1000).toISOString().replace(/\.000Z$/, "");
  // Years before 1000 and after 9999 do not occur: they are out of range, or have leading zeros already.
  return `${text}${fraction(time.ns - seconds * NS_PER_SECOND)}Z`;
}

/** Seconds with their fraction, such as `5400s`; a duration in a workflow file is read the same way. */
function durationText({ ns }: Duration): string {
  const size = ns < 0n ? -ns : ns;
  return `${ns < 0n ? "-" : ""}${size / NS_PER_SECOND}${fraction(size % NS_PER_SECOND)}s`;
}

function fraction(ns: bigint): string {
  return ns === 0n ? "" : `.${String(ns).padStart(9, "0").replace(/0+$/, "")}`;
}

const TIMESTAMP =
  /^(\d{4})-(\d{2})-(\d{2})[Tt](\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d{2}):(\d{2}))$/;

/** Reads RFC 3339; null if the text is none, or the time is not between the years 1 and 9999. */
export function parseTimestamp(text: string): Timestamp | null {
  const parts = TIMESTAMP.exec(text);
  if (parts === null) return null;
  const [, year = "", month = "", day = "", hour = "", minute = "", second = "", digits = ""] = parts;
  const date = new Date(0);
  date.setUTCFullYear(Number(year), Number(month) - 1, Number(day));
  date.setUTCHours(Number(hour), Number(minute), Number(second));
  if (date.toISOString().slice(0, 19) !== `${year}-${month}-${day}T${hour}:${minute}:${second}`) return null;
  const [sign = "+", hours = "0", minutes = "0"] = parts.slice(8);
  if (Number(hours) > 23 || Number(minutes) > 59) return null;
  const shift = (Number(hours) * 60 + Number(minutes)) * 60_000 * (sign === "-" ? -1 : 1);
  const time = new Timestamp(BigInt(date.getTime() - shift) * 1_000_000n + BigInt(digits.padEnd(9, "0")));
  return time.isValid ? time : null;
}

const UNIT_NS: Readonly<Record<string, bigint>> = {
  h: 3600n * NS_PER_SECOND,
  m: 60n * NS_PER_SECOND,
  s: NS_PER_SECOND,
  ms: 1_000_000n,
  us: 1000n,
  µs: 1000n,
  ns: 1n,
};

/** Reads a duration such as `1h30m`, `-1.5h` or `300ms`; null if the text is none, or it is longer than 292 years. */
export function parseDuration(text: string): Duration | null {
  const [, sign, rest = ""] = /^([+-]?)(.+)$/s.exec(text) ?? [];
  if (rest === "0") return new Duration(0n);
  if (rest.length > 200 || !/^(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|ms|s|m|h))+$/.test(rest)) return null;
  let ns = 0n;
  for (const [, whole = "", digits = "", unit = ""] of rest.matchAll(/(\d*)\.?(\d*)(ns|us|µs|ms|s|m|h)/g)) {
    const size = UNIT_NS[unit] ?? 0n;
    ns += BigInt(whole || "0") * size + (BigInt(digits || "0") * size) / 10n ** BigInt(digits.length);
  }
  const duration = new Duration(sign === "-" ? -ns : ns);
  return duration.isValid ? duration : null;
}

/** Integer division that rounds down. */
export function floorDiv(a: bigint, b: bigint): bigint {
  const quotient = a / b;
  return a % b < 0n ? quotient - 1n : quotient;
}

/** Whether two values are equal; numbers of different kinds are if they are the same number. @param charge is told how much is compared */
export function equal(a: Value, b: Value, charge: (count: number) => void): boolean {
  if (typeof a !== "object" && typeof a === typeof b) return a === b;
  const [x, y] = [numberOf(a), numberOf(b)];
  // biome-ignore lint/suspicious/noDoubleEquals: JavaScript compares a bigint and a number exactly.
  if (x !== null && y !== null) return x == y;
  if (a === null || b === null || typeof a !== "object" || typeof b !== "object") return a === b;
  if (isList(a)) {
    if (!isList(b) || a.length !== b.length) return false;
    charge(a.length);
    return a.every((each, n) => equal(each, b[n] ?? null, charge));
  }
  if (isMap(a)) {
    if (!isMap(b) || a.size !== b.size) return false;
    charge(a.size);
    return [...a].every(([key, each]) => b.has(key) && equal(each, b.get(key) ?? null, charge));
  }
  if (a instanceof Timestamp) return b instanceof Timestamp && a.ns === b.ns;
  if (a instanceof Duration) return b instanceof Duration && a.ns === b.ns;
  if (a instanceof TypeValue) return b instanceof TypeValue && a.name === b.name;
  return a instanceof Uint8Array && b instanceof Uint8Array && Buffer.compare(a, b) === 0;
}

function numberOf(value: Value): bigint | number | null {
  if (typeof value === "bigint" || typeof value === "number") return value;
  return value instanceof Uint ? value.value : null;
}

/** Less than 0, 0, or greater than 0; NaN if a number is not comparable with any other; null if such values have no order. */
export function compare(a: Value, b: Value): number | null {
  const [x, y] = [numberOf(a), numberOf(b)];
  if (x !== null && y !== null) {
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.NaN;
    return x < y ? -1 : x > y ? 1 : 0;
  }
  if (typeof a === "string" && typeof b === "string") return compareTexts(a, b);
  if (typeof a === "boolean" && typeof b === "boolean") return Number(a) - Number(b);
  if (
    (a instanceof Timestamp && b instanceof Timestamp) ||
    (a instanceof Duration && b instanceof Duration)
  ) {
    return a.ns < b.ns ? -1 : a.ns > b.ns ? 1 : 0;
  }
  if (a instanceof Uint8Array && b instanceof Uint8Array) return Buffer.compare(a, b);
  return null;
}

/** By code points: JavaScript's own order of characters beyond U+FFFF is another one. */
function compareTexts(a: string, b: string): number {
  if (a === b) return 0;
  const length = Math.min(a.length, b.length);
  for (let n = 0; n < length; n++) {
    const [x, y] = [a.charCodeAt(n), b.charCodeAt(n)];
    if (x === y) continue;
    const [high, other] = [x >= 0xd800 && x < 0xe000, y >= 0xd800 && y < 0xe000];
    return high === other ? x - y : high ? 1 : -1;
  }
  return a.length - b.length;
}
