/** Computes the items of a fan-out from its `foreach` or `matrix`. Pure. */
import { type Compiled, expressionsOf, type TaskResult, type WorkflowExpressions } from "./expressions.ts";
import { MAX_ITEM_KEY_BYTES } from "./item-id.ts";
import { type Combination, type ItemSource, MAX_ITEMS, type Matrix, partsOf } from "./item-values.ts";
import type { TaskDefinition, WorkflowDefinition } from "./model.ts";
import type { Slots } from "./pool.ts";
import type { RunFacts } from "./run-facts.ts";

/** An item of a fan-out: plain JSON under a key. */
export interface ItemValue {
  /** Unique among the items. */
  readonly key: string;
  readonly value: unknown;
  /** The labels that an agent must have for it, if those of its fan-out have expressions. */
  readonly runs_on?: Readonly<Record<string, string>>;
  /** The slots that it takes, if those of its fan-out have expressions. */
  readonly pool?: Slots;
}

/** The items of a fan-out in order, or why they cannot be computed. */
export type Expansion = { readonly items: ItemValue[] } | { readonly fail: string };

/** What a task published, by name. Plain JSON. */
type Published = Readonly<Record<string, unknown>>;

/** What the items are computed from. */
interface Values {
  /** Null for a workflow without expressions. */
  readonly expressions: WorkflowExpressions | null;
  readonly task: string;
  readonly results: (id: string) => TaskResult | undefined;
  readonly facts: RunFacts;
}

/** Maximum size of all items of a fan-out as JSON, bytes. */
const MAX_BYTES = 8 * 1024 * 1024;
/** Maximum size of one item as text: an environment variable holds no more, bytes. */
const MAX_ITEM_BYTES = 120 * 1024;

/** The items cannot be computed. */
class ExpansionError extends Error {}

/** The expressions that the items are computed from, apart from their keys. */
export function inItemsOf(
  task: Pick<TaskDefinition, "id" | "foreach" | "matrix">,
  expressions: WorkflowExpressions,
): Compiled[] {
  const sources =
    task.foreach === undefined ? partsOf(task.matrix ?? {}).axes.map(([, source]) => source) : [task.foreach];
  return sources.flatMap((source) =>
    typeof source === "string" ? [expressions.compile(source, "decision", task.id)] : [],
  );
}

/**
 * Computes the items of a task that has `foreach` or `matrix`.
 * @param workflow the one that the task is in, or a part of it
 * @param results how the tasks before it ended
 */
export function expandItems(
  workflow: Pick<WorkflowDefinition, "tasks" | "params" | "env" | "language">,
  { id, foreach, matrix, key }: Pick<TaskDefinition, "id" | "foreach" | "matrix" | "key">,
  results: (id: string) => TaskResult | undefined,
  facts: RunFacts,
): Expansion {
  try {
    const expressions = workflow.language === undefined ? null : expressionsOf(workflow);
    const values: Values = { expressions, task: id, results, facts };
    const list = foreach === undefined ? productOf(matrix ?? {}, values) : listOf(foreach, "foreach", values);
    return { items: keyed(list, key, values) };
  } catch (error) {
    if (!(error instanceof ExpansionError)) throw error;
    return { fail: error.message };
  }
}

/**
 * What a fan-out has published: for each name, the list of what its items have published under it, in order; null for nothing.
 * @param total number of its items
 * @param published those that have published something
 */
export function aggregate(
  total: number,
  published: readonly { readonly index: number; readonly outputs: Published | null }[],
): Published | null {
  const names = new Set(published.flatMap(({ outputs }) => Object.keys(outputs ?? {})));
  if (names.size === 0) return null;
  const lists = new Map([...names].map((name) => [name, new Array<unknown>(total).fill(null)]));
  for (const { index, outputs } of published)
    for (const [name, value] of Object.entries(outputs ?? {})) {
      const list = lists.get(name);
      if (list !== undefined && index < total) list[index] = value;
    }
  return Object.fromEntries(lists);
}

/** A task without its list of items, which may be long. */
export function withoutItems<T extends Pick<TaskDefinition, "foreach" | "matrix" | "key">>(
  task: T,
): Omit<T, "foreach" | "matrix" | "key"> {
  const { foreach: _, matrix: __, key: ___, ...rest } = task;
  return rest;
}

/** The text of an item as a task finds it in CDKTR_ITEM: text as it is, anything else as JSON. */
export function itemText(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function listOf(source: ItemSource, where: string, values: Values): readonly unknown[] {
  const value = typeof source === "string" ? computed(source, where, values) : source;
  if (!Array.isArray(value)) throw new ExpansionError(`${where}: it is ${nounOf(value)}, not a list`);
  if (value.length > MAX_ITEMS)
    throw new ExpansionError(`${where}: ${value.length} items; at most ${MAX_ITEMS}`);
  return value;
}

function computed(source: string, where: string, { expressions, task, results, facts }: Values): unknown {
  return told(where, () => expressions?.compile(source, "decision", task).evaluate({ facts, results }));
}

/** What an expression gives; its error is why there are no items. */
function told<T>(where: string, evaluate: () => T): T {
  try {
    return evaluate();
  } catch (error) {
    const { message, help } = error as { readonly message: string; readonly help?: string };
    throw new ExpansionError(`${where}: ${message}${help === undefined ? "" : ` (${help})`}`, {
      cause: error,
    });
  }
}

/** The product of the axes, the first one varying slowest. */
function productOf(matrix: Matrix, values: Values): Combination[] {
  const { axes, include, exclude } = partsOf(matrix);
  const lists = axes.map(([axis, source]) => [axis, listOf(source, `matrix.${axis}`, values)] as const);
  const count = lists.reduce((product, [, { length }]) => product * length, 1);
  if (count > MAX_ITEMS) throw tooMany(count);
  let product: Combination[] = lists.length === 0 ? [] : [{}];
  for (const [axis, list] of lists)
    product = product.flatMap((combination) => list.map((value) => ({ ...combination, [axis]: value })));
  const left = product.filter((combination) => !exclude.some((one) => hasAll(combination, one)));
  return included(left, include, new Set(axes.map(([axis]) => axis)));
}

function tooMany(count: number): ExpansionError {
  return new ExpansionError(`matrix: ${count} combinations; at most ${MAX_ITEMS}`);
}

/** Adds what a combination lacks to those that it fits, or itself if it fits none. */
function included(
  product: readonly Combination[],
  include: readonly Combination[],
  axes: ReadonlySet<string>,
): Combination[] {
  const all = product.map((combination) => ({ ...combination }));
  const further: Combination[] = [];
  for (const one of include) {
    const onAxes = Object.fromEntries(Object.entries(one).filter(([name]) => axes.has(name)));
    const fitting = all.filter((combination) => hasAll(combination, onAxes));
    for (const combination of fitting) Object.assign(combination, one);
    if (fitting.length === 0) further.push(one);
  }
  const count = all.length + further.length;
  if (count > MAX_ITEMS) throw tooMany(count);
  return [...all, ...further];
}

function hasAll(combination: Combination, some: Combination): boolean {
  return Object.entries(some).every(
    ([name, value]) => Object.hasOwn(combination, name) && itemText(combination[name]) === itemText(value),
  );
}

/** An item that has no key yet. `index` and the default of `key` count alike. */
function itemAt(index: number): string {
  return `item ${index}${index === 0 ? "" : " (the first is 0)"}`;
}

const CONTROL = /[\x00-\x1f\x7f]/;

function keyed(list: readonly unknown[], key: string | undefined, values: Values): ItemValue[] {
  const known = new Set<string>();
  let bytes = 0;
  return list.map((value, index) => {
    const text = itemText(value);
    const own = Buffer.byteLength(text);
    bytes += own;
    if (own > MAX_ITEM_BYTES)
      throw new ExpansionError(
        `${itemAt(index)} has ${own} bytes; an item has at most ${MAX_ITEM_BYTES}: pass large data on as files`,
      );
    if (text.includes("\0")) throw new ExpansionError(`${itemAt(index)} contains a NUL character`);
    if (bytes > MAX_BYTES)
      throw new ExpansionError(
        `the items have more than ${MAX_BYTES / 1024 / 1024} MiB together: pass large data on as files`,
      );
    const name = key === undefined ? String(index) : keyOf(key, value, index, values);
    if (known.has(name))
      throw new ExpansionError(
        `foreach: two items have the key ${JSON.stringify(name)}; key names each item, such as key: \${{ item.id }}`,
      );
    known.add(name);
    return { key: name, value };
  });
}

function keyOf(key: string, value: unknown, index: number, values: Values): string {
  const { expressions, task, results, facts } = values;
  const where = `key of ${itemAt(index)}`;
  const item = { key: "", index, value };
  const name = told(
    where,
    () => expressions?.compile(key, "item", task).text({ facts, results, item }) ?? key,
  );
  if (name.trim() === "") throw new ExpansionError(`key: it is empty for ${itemAt(index)}`);
  if (CONTROL.test(name))
    throw new ExpansionError(`${where}: it contains a control character or a line break`);
  if (Buffer.byteLength(name) > MAX_ITEM_KEY_BYTES)
    throw new ExpansionError(`${where}: it has more than ${MAX_ITEM_KEY_BYTES} bytes`);
  return name;
}

function nounOf(value: unknown): string {
  if (value === null || value === undefined) return "null";
  if (typeof value === "string") return "a string";
  if (typeof value === "number") return "a number";
  return typeof value === "boolean" ? "a bool" : "a mapping";
}
