/**
 * The key `pool` of tasks and workflows: the slots of which pools a task takes while it runs. It is the name of a pool, for one slot, or a
 * mapping from names to numbers. Both may be expressions, which are computed when the task is ready.
 */
import { z } from "zod";
import { Field, type NameCheck, type Problem } from "./field.ts";
import { hasExpressions } from "./has-expressions.ts";

/** Slots by the name of their pool, each a number or the text of an expression; a name may be one, too. None: `{}`. */
export type Pool = Readonly<Record<string, number | string>>;

/** Slots by the name of their pool. */
export type Slots = Readonly<Record<string, number>>;

/** Names of pools. */
export const POOL_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}$/;
/** Maximum number of slots that a task takes of a pool. */
const MOST_SLOTS = 100_000;
/** Maximum number of pools of which a task takes slots. */
const MOST_POOLS = 8;

const EXAMPLE = "such as pool: warehouse, or pool: {warehouse: 2}";

/** What is wrong with the name of a pool; null for nothing. */
export const problemOfPoolName: NameCheck = (name) => {
  if (POOL_NAME.test(name)) return null;
  const shown = JSON.stringify(name.length > 60 ? `${name.slice(0, 60)}…` : name);
  const message = name === "" ? "the name of a pool is empty" : `${shown} is not a valid name for a pool`;
  return { code: "E094", message, help: "use letters, digits, _, - and ., at most 200" };
};

const poolNames = (): NameCheck => (name) => (hasExpressions(name) ? null : problemOfPoolName(name));

/** A number of slots as it is written, or what is wrong with it. */
function readSlots(written: unknown): number | Problem {
  const text = typeof written === "string" ? written.trim() : null;
  if (text === "0") {
    const message = "must be a whole number of slots from 1, not 0";
    return { code: "E094", message, help: "remove it if the task takes none" };
  }
  const count = text !== null && /^\+?\d{1,15}$/.test(text) ? Number(text) : 0;
  if (count > MOST_SLOTS) return { code: "E094", message: `must be at most ${MOST_SLOTS} slots` };
  if (count > 0) return count;
  const shown =
    text === null ? "a list or a mapping" : `"${text.length > 40 ? `${text.slice(0, 40)}…` : text}"`;
  return { code: "E094", message: `must be a whole number of slots from 1, not ${shown}`, help: EXAMPLE };
}

const file = z.union([z.record(z.string(), z.unknown()), z.string()]).transform((given, context): Pool => {
  const refuse = (problem: Problem, path: string[] = []): void => {
    context.addIssue({ code: "custom", message: problem.message, path, params: { problem } });
  };
  if (typeof given === "string") {
    const name = given.trim();
    const problem = hasExpressions(name) ? null : problemOfPoolName(name);
    if (problem !== null) refuse(problem);
    return { [name]: 1 };
  }
  const names = Object.keys(given);
  if (names.length > MOST_POOLS)
    refuse({
      code: "E094",
      message: `has ${names.length} pools; a task takes slots of at most ${MOST_POOLS}`,
    });
  const pool: Record<string, number | string> = {};
  for (const [name, written] of Object.entries(given)) {
    const isText = typeof written === "string" && hasExpressions(written);
    const slots = isText ? written.trim() : readSlots(written);
    if (typeof slots === "object") refuse(slots, [name]);
    else pool[name] = slots;
  }
  return pool;
});

const slotsAsWritten = [
  { type: "integer", minimum: 1, maximum: MOST_SLOTS },
  { type: "string", pattern: "\\$\\{\\{" },
];

/** The slots of one pool; only its traits are used. */
const SlotsField = new Field<number | string>(
  z.string() as unknown as z.ZodType<number | string>,
  z.union([z.number(), z.string()]),
  { template: "int", place: "placement", isScalar: true },
);

/** The key `pool`. */
export const pool = (): Field<Pool | undefined> =>
  new Field<Pool>(
    file.meta({
      anyOf: [
        { type: "string", minLength: 1 },
        {
          type: "object",
          maxProperties: MOST_POOLS,
          additionalProperties: { type: ["integer", "string"], anyOf: slotsAsWritten },
        },
      ],
    } as z.GlobalMeta),
    z.record(z.string(), SlotsField.stored),
    {
      noun: "the name of a pool or a mapping",
      help: EXAMPLE,
      names: poolNames,
      entry: SlotsField,
      template: "string",
      place: "placement",
      hasNameTemplates: true,
    },
  ).sparse();

/** The texts with expressions in what a task takes of pools. */
export function templatesInPool(own: Pool): string[] {
  return Object.entries(own)
    .flat()
    .filter((part) => typeof part === "string" && hasExpressions(part)) as string[];
}

/** What a task takes, if that needs no expressions; undefined for nothing, and if it needs some. */
export function slotsOf(own: Pool | undefined): Slots | undefined {
  if (own === undefined || Object.keys(own).length === 0 || templatesInPool(own).length > 0) return undefined;
  return own as Slots;
}

/**
 * What a task takes.
 * @param text gives the value of an expression
 * @throws Error that begins with the key, such as `pool.warehouse: …`
 */
export function computeSlots(own: Pool, text: (template: string) => string): Slots {
  const all = new Map<string, number>();
  for (const [written, count] of Object.entries(own)) {
    const name = hasExpressions(written) ? text(written).trim() : written;
    const problem = problemOfPoolName(name);
    if (problem !== null) throw new Error(`pool: ${problem.message}`);
    const slots = typeof count === "number" ? count : readSlots(text(count));
    if (typeof slots === "object") throw new Error(`pool.${name}: the value ${slots.message}`);
    all.set(name, (all.get(name) ?? 0) + slots);
  }
  return Object.fromEntries(all);
}
