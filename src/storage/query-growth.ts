/**
 * Estimates how much longer than its input the result of an expression can become. DuckDB does not limit texts while they are built,
 * and processes thousands of rows before it checks for an interrupt: `repeat('x', 1000000000)` would use up the host's memory before
 * anything could stop it. So such statements are detected before they run.
 */
import { InvalidInputError } from "../errors.ts";

/** Maximum characters, or elements, that an expression may produce from constants alone. */
const MAX_MADE = 100_000;
/** How many times an expression may contain the value of one column. */
const MAX_HELD = 16;
/** Maximum number of parts of an expression, including the aliases that it uses: DuckDB expands them. */
const MAX_PARTS = 50_000;

const BACKUP_HINT =
  "Open a copy made with 'cdktr db backup' in another DuckDB client, which has no such limit.";

/** Functions with a length argument, and its position. */
const COUNTED: ReadonlyMap<string, number> = new Map([
  ["repeat", 1],
  ["lpad", 1],
  ["rpad", 1],
  ["list_resize", 1],
  ["array_resize", 1],
  ["bar", 3],
]);

/** Functions whose result is longer than their input by this factor. */
const FACTORS: ReadonlyMap<string, number> = new Map([
  ["hex", 2],
  ["to_hex", 2],
  ["bin", 8],
  ["to_binary", 8],
  ["base64", 2],
  ["to_base64", 2],
  ["url_encode", 3],
  ["to_json", 2],
  ["json_quote", 2],
  ["json_array", 2],
  ["json_object", 2],
  ["array_to_json", 2],
  ["row_to_json", 2],
]);

const SERIES: ReadonlySet<string> = new Set(["range", "generate_series"]);
const FORMATS: ReadonlySet<string> = new Set(["format", "printf"]);
const REPLACING: ReadonlySet<string> = new Set(["replace", "regexp_replace", "translate"]);
/** They may double their input with each element. */
const REFUSED: ReadonlySet<string> = new Set(["reduce", "list_reduce", "array_reduce", "list_aggregate"]);
const ARITHMETIC: ReadonlySet<string> = new Set(["+", "-", "*", "/", "//", "%", "**", "^", "~~", "!~~"]);
/** Boolean expressions. */
const TRUTHS: ReadonlySet<string> = new Set(["COMPARISON", "CONJUNCTION", "BETWEEN"]);

/** The estimate for an expression: constant length, how often it contains which column, and its number of parts. */
interface Extent {
  readonly made: number;
  readonly held: ReadonlyMap<string, number>;
  readonly parts: number;
}

/** A value of negligible length. */
const VALUE_LENGTH = 20;

type Node = Readonly<Record<string, unknown>>;
type Names = Map<string, Extent>;

/**
 * Checks a statement as serialized by `json_serialize_sql`.
 * @throws InvalidInputError when something in it could become too long
 */
export function refuseGrowth(statement: unknown): void {
  walk(statement, new Map());
}

function walk(node: unknown, names: Names): void {
  if (Array.isArray(node)) for (const child of node) walk(child, names);
  else if (isNode(node)) {
    if (node.type === "SELECT_NODE") walkSelect(node);
    else if (typeof node.class === "string") extentOf(node, names);
    else if (node.type === "TABLE_FUNCTION") walk((node.function as Node | undefined)?.children, names);
    else for (const child of Object.values(node)) walk(child, names);
  }
}

/** An expression may use the aliases of those before it. */
function walkSelect(select: Node): void {
  const names: Names = new Map();
  const { select_list, ...others } = select;
  for (const item of Array.isArray(select_list) ? select_list : []) {
    const extent = extentOf(item, names);
    const name = isNode(item) ? String(item.alias ?? "").toLowerCase() : "";
    if (name !== "") names.set(name, extent);
  }
  for (const child of Object.values(others)) walk(child, names);
}

function extentOf(node: unknown, names: Names): Extent {
  const extent = Array.isArray(node)
    ? sum(node.map((child) => extentOf(child, names)))
    : isNode(node)
      ? extentOfNode(node, names)
      : NOTHING;
  return checked(extent);
}

function extentOfNode(node: Node, names: Names): Extent {
  switch (node.class) {
    case "CONSTANT": {
      const value = (node.value as Node | undefined)?.value;
      return { ...ONE_PART, made: typeof value === "string" ? value.length : VALUE_LENGTH };
    }
    case "COLUMN_REF": {
      const path = Array.isArray(node.column_names) ? node.column_names.map(String) : [];
      const name = path.join(".").toLowerCase();
      return (path.length === 1 ? names.get(name) : undefined) ?? { ...ONE_PART, held: new Map([[name, 1]]) };
    }
    case "FUNCTION":
      return extentOfFunction(node, names);
    case "SUBQUERY":
      walk(node.subquery, names);
      extentOf(node.child, names);
      return { ...ONE_PART, held: new Map([["a subquery", 1]]) };
    case "CASE": {
      const checks = Array.isArray(node.case_checks) ? node.case_checks.filter(isNode) : [];
      const conditions = checks.map((check) => extentOf(check.when_expr, names).parts);
      const results = [...checks.map((check) => check.then_expr), node.else_expr];
      const longest = either(results.map((result) => extentOf(result, names)));
      return { ...longest, parts: conditions.reduce((all, parts) => all + parts, longest.parts) };
    }
    default: {
      const children = sum(
        Object.values(node).map((child) => (isInner(child) ? extentOf(child, names) : NOTHING)),
      );
      return TRUTHS.has(String(node.class)) ? { ...ONE_PART, parts: children.parts + 1 } : children;
    }
  }
}

function extentOfFunction(node: Node, names: Names): Extent {
  const name = String(node.function_name ?? "").toLowerCase();
  const children = Array.isArray(node.children) ? node.children : [];
  if (REFUSED.has(name))
    throw refused(`The function ${name}() may not be used here: what it makes has no bound`);
  const extents = children.map((child) => extentOf(child, names));
  // Sort keys, filters and windows are not part of the result, but must be checked as well.
  const { children: _children, function_name: _name, ...others } = node;
  for (const other of Object.values(others)) if (isInner(other)) walk(other, names);
  const all = sum(extents);
  const parts = all.parts + 1;
  const first = extents[0] ?? NOTHING;
  const counted = COUNTED.get(name);
  if (counted !== undefined && children.length > counted) {
    const count = numberOf(children[counted], name);
    return name === "repeat" ? { ...times(first, count), parts } : { ...all, made: all.made + count, parts };
  }
  if (SERIES.has(name)) {
    const numbers = children.map((child) => Math.abs(numberOf(child, name)));
    return { made: numbers.reduce((total, number) => total + number, 0), held: new Map(), parts };
  }
  if (FORMATS.has(name)) {
    const widths = textOf(children[0], name).match(/\d+/g) ?? [];
    return { ...all, made: widths.reduce((total, width) => total + Number(width), all.made), parts };
  }
  if (REPLACING.has(name) && children.length >= 3) {
    const [, pattern = NOTHING, by = NOTHING] = extents;
    const factor = Math.max(1, by.made / Math.max(1, name === "replace" ? pattern.made : 1));
    return { ...sum([times(first, factor), { ...by, made: 0 }]), parts };
  }
  if (node.is_operator === true && ARITHMETIC.has(name)) return { ...ONE_PART, made: VALUE_LENGTH, parts };
  return { ...times(all, FACTORS.get(name) ?? 1), parts };
}

const NOTHING: Extent = { made: 0, held: new Map(), parts: 0 };
const ONE_PART: Extent = { made: 0, held: new Map(), parts: 1 };

function times(extent: Extent, factor: number): Extent {
  const held = new Map([...extent.held].map(([column, count]) => [column, count * factor]));
  return { ...extent, made: extent.made * factor, held };
}

function sum(extents: readonly Extent[]): Extent {
  return combine(extents, (a, b) => a + b);
}

function either(extents: readonly Extent[]): Extent {
  return { ...combine(extents, Math.max), parts: sum(extents).parts };
}

function combine(extents: readonly Extent[], join: (a: number, b: number) => number): Extent {
  const held = new Map<string, number>();
  let made = 0;
  let parts = 0;
  for (const extent of extents) {
    made = join(made, extent.made);
    parts = join(parts, extent.parts);
    for (const [column, count] of extent.held) held.set(column, join(held.get(column) ?? 0, count));
  }
  return { made, held, parts };
}

function checked(extent: Extent): Extent {
  if (extent.parts > MAX_PARTS)
    throw refused(`An expression of it has more than ${MAX_PARTS} parts, written out`);
  if (extent.made > MAX_MADE)
    throw refused(`An expression of it makes more than ${MAX_MADE} characters or elements out of nothing`);
  for (const [column, count] of extent.held) {
    if (count > MAX_HELD)
      throw refused(
        `An expression of it can be more than ${MAX_HELD} times as long as ${column || "what it reads"}`,
      );
  }
  return extent;
}

/** A literal number. */
function numberOf(node: unknown, name: string): number {
  const value =
    isNode(node) && node.class === "CONSTANT" ? (node.value as Node | undefined)?.value : undefined;
  if (typeof value === "number") return Math.abs(value);
  throw refused(
    `The numbers given to ${name}() must stand in the statement, so that it is known what it makes`,
  );
}

function textOf(node: unknown, name: string): string {
  const value =
    isNode(node) && node.class === "CONSTANT" ? (node.value as Node | undefined)?.value : undefined;
  if (typeof value === "string") return value;
  throw refused(
    `The format given to ${name}() must stand in the statement, so that it is known what it makes`,
  );
}

function refused(why: string): InvalidInputError {
  return new InvalidInputError(`The statement may need too much memory. ${why}.`, { hint: BACKUP_HINT });
}

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isInner(value: unknown): boolean {
  return typeof value === "object" && value !== null;
}
