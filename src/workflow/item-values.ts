/**
 * The keys of a task that make it a fan-out: `foreach` and `matrix`. Literals are kept as written: every scalar is text. In place of a
 * list, one expression may stand, which is kept as text.
 */
import { z } from "zod";
import { type AnyField, Field, type NameCheck } from "./field.ts";
import { filled } from "./scalars.ts";

/** A list of values as written, or the text of an expression for one. */
export type ItemSource = readonly unknown[] | string;

/** A combination of values by axis, or a part of one. */
export type Combination = Readonly<Record<string, unknown>>;

/**
 * The axes of a matrix in the order of the file. Under the names `include` and `exclude`: lists of what is added to and left out of their
 * product.
 */
export type Matrix = Readonly<Record<string, ItemSource>>;

/** The parts of a matrix. */
export function partsOf({ include = [], exclude = [], ...axes }: Matrix): {
  readonly axes: readonly (readonly [name: string, source: ItemSource])[];
  readonly include: readonly Combination[];
  readonly exclude: readonly Combination[];
} {
  return {
    axes: Object.entries(axes),
    include: include as readonly Combination[],
    exclude: exclude as readonly Combination[],
  };
}

/** Maximum number of items of a fan-out. */
export const MAX_ITEMS = 50_000;

const WHOLE_EXPRESSION = /^\s*\$\{\{[\s\S]*\}\}\s*$/;

/** Any value of YAML without tags, as the reader gives it. */
const AnyValue: z.ZodType<unknown> = z.lazy(() =>
  z.union([z.string(), z.array(AnyValue), z.record(z.string(), AnyValue)]),
);

/** A value of a literal list, in which no expression is evaluated. */
const Literal: Field<unknown> = new Field(AnyValue, z.unknown(), {
  get entry() {
    return Literal as AnyField;
  },
});

const expression = (help: string) =>
  z.string().transform((text, context) => {
    if (WHOLE_EXPRESSION.test(text)) return text.trim();
    const shown = text.length > 40 ? `${text.slice(0, 40)}…` : text;
    const message = `must be a list, or one expression for a list, not ${JSON.stringify(shown)}`;
    context.addIssue({ code: "custom", message, params: { problem: { code: "E012", message, help } } });
    return z.NEVER;
  });

const anyJson = { type: "array", items: {} } as const;

/** A list, or an expression for one. */
const itemSource = (help: string): Field<ItemSource> =>
  new Field<ItemSource>(
    z.union([z.array(AnyValue), expression(help)]).meta({
      anyOf: [anyJson, { type: "string", pattern: "\\$\\{\\{" }],
    }) as unknown as z.ZodType<ItemSource>,
    z.union([z.array(z.unknown()), z.string()]) as unknown as z.ZodType<ItemSource>,
    { help, template: "list", place: "decision", entry: Literal },
  );

/** The key `foreach`. */
export const foreach = () => itemSource(`write a list, such as [eu, us], or \${{ params.regions }}`);

/** The key `key`: text with expressions. */
export const itemKey = () =>
  new Field<string>(filled().file, filled().stored, {
    help: "such as ${{ item.id }}",
    template: "string",
    place: "item",
  });

/** Names of axes; as in expressions, and so that the order in which they were written is kept. */
const AXIS_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

const axisNames = (): NameCheck => (axis) => {
  if (AXIS_NAME.test(axis)) return null;
  const message = `${JSON.stringify(axis.slice(0, 60))} is not a valid name in a matrix`;
  return { code: "E014", message, help: "use letters, digits and _, and do not start with a digit" };
};

const combinations = z.array(z.record(z.string(), AnyValue));

const Axis = itemSource("write the values as a list, such as [a, b]");

/** The key `matrix`. */
export const matrix = (): Field<Matrix> =>
  new Field<Matrix>(
    z
      .object({ include: combinations.optional(), exclude: combinations.optional() })
      .catchall(Axis.file)
      .meta({
        type: "object",
        properties: { include: { type: "array" }, exclude: { type: "array" } },
      }) as unknown as z.ZodType<Matrix>,
    z.record(z.string(), Axis.stored),
    {
      noun: "a mapping",
      help: "such as {os: [debian, ubuntu], python: ['3.11', '3.12']}",
      entry: Axis,
      names: axisNames,
    },
  );
