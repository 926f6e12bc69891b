/** The arithmetic and the order of values: which operators take which kinds, and what they give. */
import { intOf, uintOf } from "./functions.ts";
import { Fault } from "./machine.ts";
import {
  BYTES,
  type CelType,
  common,
  DOUBLE,
  DURATION,
  DYN,
  INT,
  isNumber,
  listOf,
  STRING,
  TIMESTAMP,
  UINT,
} from "./types.ts";
import { Duration, isList, kindOf, Timestamp, type Uint, type Value } from "./values.ts";

/** The operators of arithmetic. */
export type Arithmetic = "+" | "-" | "*" | "/" | "%";

interface Charge {
  charge(steps: number): void;
  chargeText(length: number): void;
}

interface Form {
  readonly left: CelType;
  readonly right: CelType;
  readonly result: CelType;
  readonly of: (a: Value, b: Value, meter: Charge) => Value;
}

const notZero = (value: bigint): bigint => {
  if (value === 0n) throw new Fault("division by zero");
  return value;
};

const ints = (of: (a: bigint, b: bigint) => bigint): Form => ({
  left: INT,
  right: INT,
  result: INT,
  of: (a, b) => intOf(of(a as bigint, b as bigint)),
});
const uints = (of: (a: bigint, b: bigint) => bigint): Form => ({
  left: UINT,
  right: UINT,
  result: UINT,
  of: (a, b) => uintOf(of((a as Uint).value, (b as Uint).value)),
});
const doubles = (of: (a: number, b: number) => number): Form => ({
  left: DOUBLE,
  right: DOUBLE,
  result: DOUBLE,
  of: (a, b) => of(a as number, b as number),
});

type Timed = Timestamp | Duration;
/** The sum or difference of times and durations. */
const times = (left: CelType, right: CelType, result: CelType, sign: 1n | -1n): Form => ({
  left,
  right,
  result,
  of: (a, b) => {
    const ns = (a as Timed).ns + sign * (b as Timed).ns;
    const value = result === TIMESTAMP ? new Timestamp(ns) : new Duration(ns);
    if (value.isValid) return value;
    throw new Fault(
      result === TIMESTAMP
        ? "the time is not between the years 1 and 9999"
        : "the duration is longer than 292 years",
    );
  },
});

const LIST = listOf(DYN);

const FORMS: Readonly<Record<Arithmetic, readonly Form[]>> = {
  "+": [
    ints((a, b) => a + b),
    uints((a, b) => a + b),
    doubles((a, b) => a + b),
    {
      left: STRING,
      right: STRING,
      result: STRING,
      of: (a, b, meter) => {
        meter.chargeText((a as string).length + (b as string).length);
        return (a as string) + (b as string);
      },
    },
    {
      left: BYTES,
      right: BYTES,
      result: BYTES,
      of: (a, b, meter) => {
        meter.chargeText((a as Uint8Array).length + (b as Uint8Array).length);
        return new Uint8Array([...(a as Uint8Array), ...(b as Uint8Array)]);
      },
    },
    {
      left: LIST,
      right: LIST,
      result: LIST,
      of: (a, b, meter) => {
        if (!isList(a) || !isList(b)) throw new TypeError("two lists were expected");
        meter.charge((a.length + b.length) / 10);
        return [...a, ...b];
      },
    },
    times(TIMESTAMP, DURATION, TIMESTAMP, 1n),
    times(DURATION, TIMESTAMP, TIMESTAMP, 1n),
    times(DURATION, DURATION, DURATION, 1n),
  ],
  "-": [
    ints((a, b) => a - b),
    uints((a, b) => a - b),
    doubles((a, b) => a - b),
    times(TIMESTAMP, DURATION, TIMESTAMP, -1n),
    times(TIMESTAMP, TIMESTAMP, DURATION, -1n),
    times(DURATION, DURATION, DURATION, -1n),
  ],
  "*": [ints((a, b) => a * b), uints((a, b) => a * b), doubles((a, b) => a * b)],
  "/": [
    ints((a, b) => a / notZero(b)),
    uints((a, b) => a / notZero(b)),
    // Two numbers with a fraction divide as processors do.
    doubles((a, b) => a / b),
  ],
  "%": [ints((a, b) => a % notZero(b)), uints((a, b) => a % notZero(b))],
};

const BY_KINDS = new Map(
  Object.entries(FORMS).flatMap(([operator, forms]) =>
    forms.map((form): [string, Form] => [`${form.left.kind} ${operator} ${form.right.kind}`, form]),
  ),
);

/** The type of the result; null if no such values have one. */
export function arithmeticType(operator: Arithmetic, left: CelType, right: CelType): CelType | null {
  const possible = FORMS[operator].filter(
    (form) =>
      (left.kind === "dyn" || left.kind === form.left.kind) &&
      (right.kind === "dyn" || right.kind === form.right.kind),
  );
  const [first, ...others] = possible;
  if (first === undefined) return null;
  if (first.result === LIST)
    return left.kind === "list" && right.kind === "list" ? (common(left, right) ?? LIST) : LIST;
  return others.reduce<CelType>((type, { result }) => (type === result ? type : DYN), first.result);
}

/** The result; undefined if such values have none. @throws Fault when it is out of range */
export function calculate(operator: Arithmetic, a: Value, b: Value, meter: Charge): Value | undefined {
  return BY_KINDS.get(`${kindOf(a)} ${operator} ${kindOf(b)}`)?.of(a, b, meter);
}

/** Whether such values have an order. */
export function ordered(left: CelType, right: CelType): boolean {
  if (left.kind === "dyn" || right.kind === "dyn") {
    const known = left.kind === "dyn" ? right : left;
    return known.kind !== "list" && known.kind !== "map" && known.kind !== "null" && known.kind !== "type";
  }
  if (isNumber(left) && isNumber(right)) return true;
  return left.kind === right.kind && ordered(left, DYN);
}

/** The opposite of a number; undefined if the value is not one. @throws Fault when it is out of range */
export function negate(value: Value): Value | undefined {
  if (typeof value === "bigint") return intOf(-value);
  return typeof value === "number" ? -value : undefined;
}
