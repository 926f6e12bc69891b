/** The conformance tests of CEL, as the package @bufbuild/cel-spec has them, run with our compiler. */
import { tests } from "@bufbuild/cel-spec/testdata/conformance.js";
import { compileExpression, type Source } from "../../../src/workflow/expressions/compile.ts";
import { Machine } from "../../../src/workflow/expressions/machine.ts";
import type { Root, Scope } from "../../../src/workflow/expressions/scope.ts";
import { type CelType, DYN, listOf, mapOf, type TypeKind } from "../../../src/workflow/expressions/types.ts";
import {
  Duration,
  isList,
  isMap,
  type Key,
  Timestamp,
  TypeValue,
  textOf,
  Uint,
  type Value,
} from "../../../src/workflow/expressions/values.ts";

/** The suites about what expressions have. */
const SUITES: readonly string[] = [
  "basic",
  "comparisons",
  "conversions",
  "fields",
  "fp_math",
  "integer_math",
  "lists",
  "logic",
  "macros",
  "parse",
  "plumbing",
  "string",
  "string_ext",
  "timestamps",
];

/** Why a test is about something that expressions do not have. */
const SKIPPED: readonly (readonly [reason: string, pattern: RegExp])[] = [
  [
    "messages of Protocol Buffers",
    /TestAllTypes|google\.protobuf|cel\.expr|\bproto[23]\b|NullValue|objectValue|enumValue|GlobalEnum/,
  ],
  ["names with dots, and containers", /"container":"[^"]|"bindings":\{"[^"]*\.|"name":"\w+\.[\w.]+","ident"/],
  ["names that are reserved words", /"bindings":\{"(?:true|false|null)"/],
  ["the functions format and quote", /\.format\(|strings\.quote|\.quote\(/],
  ["optional values", /optional|\.\?|\[\?/],
];

interface Original {
  readonly name?: string;
  readonly expr: string;
  readonly value?: JsonValue;
  readonly typedResult?: { readonly result?: JsonValue };
  readonly evalError?: unknown;
  readonly bindings?: Readonly<Record<string, { readonly value?: JsonValue }>>;
  readonly typeEnv?: readonly { readonly name?: string; readonly ident?: { readonly type?: JsonType } }[];
  readonly disableCheck?: boolean;
  readonly checkOnly?: boolean;
}

interface Suite {
  readonly name: string;
  readonly suites?: readonly Suite[];
  readonly tests?: readonly { readonly original: Original }[];
}

type JsonValue = Readonly<Record<string, unknown>>;
type JsonType = Readonly<Record<string, unknown>>;

/** A test of the suite; `skip` says why it is not run. */
export interface ConformanceTest {
  readonly name: string;
  readonly test: Original;
  readonly skip: string | null;
}

export function conformanceTests(): ConformanceTest[] {
  const collect = (suite: Suite, path: string): ConformanceTest[] => [
    ...(suite.tests ?? []).map(({ original }) => {
      const text = JSON.stringify(original);
      const skip = SKIPPED.find(([, pattern]) => pattern.test(text))?.[0] ?? null;
      return { name: `${path}/${original.name ?? original.expr}`, test: original, skip };
    }),
    ...(suite.suites ?? []).flatMap((inner) => collect(inner, `${path}/${inner.name}`)),
  ];
  const { suites = [] } = tests as unknown as Suite;
  return suites.filter(({ name }) => SUITES.includes(name)).flatMap((suite) => collect(suite, suite.name));
}

/** Runs a test. @returns how its result differs from the one that CEL demands; null if it does not */
export function deviationOf(test: Original): string | null {
  const wanted =
    test.evalError !== undefined
      ? "an error"
      : describe(valueFrom(test.value ?? test.typedResult?.result ?? { boolValue: true }));
  let found: string;
  try {
    found = describe(evaluate(test));
  } catch (error) {
    if (wanted === "an error") return null;
    found = `the error: ${error instanceof Error ? error.message : String(error)}`;
  }
  return found === wanted ? null : `gives ${found}, not ${wanted}`;
}

function evaluate({ expr, bindings = {}, typeEnv = [] }: Original): Value {
  const values = new Map(Object.entries(bindings).map(([name, { value = {} }]) => [name, valueFrom(value)]));
  const types = new Map(typeEnv.map(({ name = "", ident }) => [name, typeOf(ident?.type)]));
  const roots = new Map(
    [...new Set([...values.keys(), ...types.keys()])].map((name): [string, Root] => [
      name,
      { kind: "value", type: types.get(name) ?? DYN },
    ]),
  );
  const scope: Scope = { roots, task: null, knowsAgents: false };
  const source: Source = {
    read: ({ root }) => {
      const value = values.get(root);
      return value === undefined ? { missing: "" } : { value };
    },
  };
  return compileExpression(expr, scope).run(new Machine(source));
}

const KINDS: Readonly<Record<string, TypeKind>> = {
  INT64: "int",
  UINT64: "uint",
  DOUBLE: "double",
  STRING: "string",
  BYTES: "bytes",
  BOOL: "bool",
};

function typeOf(type: JsonType = {}): CelType {
  if (typeof type.primitive === "string") return { kind: KINDS[type.primitive] ?? "dyn" } as CelType;
  const { listType, mapType } = type as {
    readonly listType?: { readonly elemType?: JsonType };
    readonly mapType?: { readonly keyType?: JsonType; readonly valueType?: JsonType };
  };
  if (listType !== undefined) return listOf(typeOf(listType.elemType));
  return mapType === undefined ? DYN : mapOf(typeOf(mapType.keyType), typeOf(mapType.valueType));
}

function valueFrom(json: JsonValue): Value {
  const [[kind, value] = ["nullValue", null]] = Object.entries(json);
  switch (kind) {
    case "int64Value":
      return BigInt(String(value));
    case "uint64Value":
      return new Uint(BigInt(String(value)));
    case "doubleValue":
      return typeof value === "string" ? Number(value.replace("inf", "Inf")) : (value as number);
    case "boolValue":
    case "stringValue":
      return value as boolean | string;
    case "bytesValue":
      return Buffer.from(String(value), "base64");
    case "listValue":
      return ((value as { readonly values?: readonly JsonValue[] }).values ?? []).map(valueFrom);
    case "mapValue": {
      const { entries = [] } = value as {
        readonly entries?: readonly { readonly key: JsonValue; readonly value: JsonValue }[];
      };
      return new Map(
        entries.map((entry): [Key, Value] => {
          const key = valueFrom(entry.key);
          return [key instanceof Uint ? key.value : (key as Key), valueFrom(entry.value)];
        }),
      );
    }
    case "typeValue":
      return new TypeValue(String(value));
    default:
      return null;
  }
}

/** A value as text that is the same only for the same value. */
function describe(value: Value): string {
  if (isList(value)) return `[${value.map(describe).join(", ")}]`;
  if (isMap(value)) {
    const entries = [...value].map(([key, each]) => `${describe(key)}: ${describe(each)}`);
    return `{${entries.sort().join(", ")}}`;
  }
  if (value === null) return "null";
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "number") return Object.is(value, -0) ? "-0.0" : `${value} (double)`;
  if (value instanceof Uint) return `${value.value}u`;
  if (value instanceof TypeValue) return `type ${value.name}`;
  if (value instanceof Uint8Array) return `bytes ${Buffer.from(value).toString("hex")}`;
  if (value instanceof Timestamp || value instanceof Duration) return textOf(value);
  return String(value);
}
