/** Requests of every verb, generated from its schema: valid ones, and all variants with one wrong value. */
import { z } from "zod";
import { fieldsOf, isJsonField, type VerbEntry } from "../../src/contract/verb-entry.ts";
import { VERBS, type Verb } from "../../src/contract/verbs.ts";

/** Sample strings; each string schema of the contract accepts at least one of them. */
const TEXTS = [
  "x",
  "1",
  "api",
  "2025-01-20",
  "a1b2-c3",
  `~${"p".repeat(16)}`,
  "k".repeat(40),
  "true",
  "b9d0f6a2-5c1e-4f0a-9d3b-2f6f0c8e7a11",
  // The name of a blob.
  "0".repeat(64),
  // A method of HTTP, and the path of an address.
  "GET",
  "/x",
];

/** Values that are wrong in most places. `undefined` means that the value is missing. */
const WRONG: readonly unknown[] = [
  undefined,
  null,
  "",
  "\u0000\u001b[31m",
  "../../etc/passwd",
  "é".repeat(140_000),
  "-9223372036854775808",
  -1,
  0.5,
  1e300,
  true,
  [],
  [null],
  {},
  { __proto__: null, constructor: { prototype: { polluted: true } } },
];

/** Texts that are wrong for some positional fields. */
const WRONG_TEXTS: readonly string[] = WRONG.filter((value) => typeof value === "string");

/** Texts that are not the JSON of any request. */
const WRONG_JSON = ["{", "null", "[]", '"x"', "17", "NaN", "{'a':1}", `${"[".repeat(70_000)}`];

/**
 * A value that a schema takes, with everything in it that is optional.
 * @throws Error when none is known
 */
function sampleOf(schema: z.ZodType): unknown {
  if (schema instanceof z.ZodObject) {
    const shape: Record<string, z.ZodType> = schema.shape;
    return Object.fromEntries(Object.entries(shape).map(([key, inner]) => [key, sampleOf(inner)]));
  }
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodNullable ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault
  )
    return sampleOf(schema.unwrap() as z.ZodType);
  if (schema instanceof z.ZodArray) {
    const element = schema.element as z.ZodType;
    const kinds = element instanceof z.ZodUnion ? (element.options as z.ZodType[]) : [element];
    return kinds.map(sampleOf);
  }
  if (schema instanceof z.ZodUnion) return sampleOf(schema.options[0] as z.ZodType);
  if (schema instanceof z.ZodRecord) return { key: sampleOf(schema.valueType as z.ZodType) };
  if (schema instanceof z.ZodEnum) return schema.options[0];
  if (schema instanceof z.ZodLiteral) return schema.value;
  const sample = [...TEXTS, 1, true].find((value) => schema.safeParse(value).success);
  if (sample === undefined) throw new Error(`There is no sample for ${schema.type}: add one.`);
  return sample;
}

/** The value of a valid request of a verb. */
export function sampleRequest(verb: Verb): Record<string, unknown> {
  return sampleOf(VERBS[verb].request) as Record<string, unknown>;
}

/** The fields of a long poll that waits as long as it may, with nothing in it that is optional. */
export function longPollRequest(verb: Verb, values: Readonly<Record<string, unknown>>): string[] {
  const entry: VerbEntry = VERBS[verb];
  const wait = entry.waits === "options.wait_ms" ? { options: { wait_ms: 60_000 } } : { wait_ms: 60_000 };
  const required = Object.entries({ ...sampleRequest(verb), ...values }).filter(
    ([key]) => key in entry.request.shape && !entry.request.shape[key]?.safeParse(undefined).success,
  );
  return fieldsOf(entry, { ...Object.fromEntries(required), ...wait });
}

/** The fields of every malformed request of a verb that differs from a valid one in one place. */
export function* malformedRequests(verb: Verb): Generator<string[], undefined> {
  const entry: VerbEntry = VERBS[verb];
  const sample = sampleRequest(verb);
  const valid = fieldsOf(entry, sample);
  yield [...valid, "one too many"];
  if (entry.fields === undefined) {
    for (const json of WRONG_JSON) yield [json];
    for (const wrong of wrongVariants(sample))
      if (!entry.request.safeParse(wrong).success) yield [JSON.stringify(wrong)];
    return;
  }
  for (const [index, [key, schema]] of Object.entries(entry.request.shape).entries()) {
    const at = (text: string) => valid.with(index, text);
    if (!isJsonField(schema)) {
      for (const text of WRONG_TEXTS) {
        const given = text === "" ? undefined : text;
        if (!entry.request.safeParse({ ...sample, [key]: given }).success) yield at(text);
      }
    } else {
      for (const json of WRONG_JSON) yield at(json);
      for (const wrong of wrongVariants(sample[key]))
        if (!schema.safeParse(wrong).success) yield at(JSON.stringify(wrong));
    }
  }
}

/** A JSON value with one value in it, at any depth, replaced by each of {@link WRONG}. */
function* wrongVariants(value: unknown): Generator<unknown> {
  if (typeof value !== "object" || value === null) return;
  for (const key of Object.keys(value)) {
    const inner: unknown = Reflect.get(value, key);
    const replaced = (by: unknown) =>
      Array.isArray(value) ? value.with(Number(key), by) : { ...value, [key]: by };
    for (const wrong of WRONG) yield JSON.parse(JSON.stringify(replaced(wrong)));
    for (const wrong of wrongVariants(inner)) yield replaced(wrong);
  }
}
