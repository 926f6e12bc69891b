/** Compiles operators. Errors are values that come late in CEL: `||` and `&&` decide without one side if the other decides alone. */
import { didYouMean } from "../../terminal/did-you-mean.ts";
import type { Node } from "./cel.ts";
import { type Code, type Compiling, constant, isFinal, isOutput, keyOf, type NodeOf, shown } from "./code.ts";
import { ExpressionError, Fault } from "./machine.ts";
import { type Arithmetic, arithmeticType, calculate, negate, ordered } from "./operators.ts";
import { aType, BOOL, type CelType, common, comparable, DYN, INT, typeName } from "./types.ts";
import { compare, equal, isList, isMap, kindName, kindOf, MIN_INT, textOf, type Value } from "./values.ts";

/** `condition ? value : other`. */
export function conditionalCode(c: Compiling, { args }: NodeOf<"?:">): Code {
  const [condition, yes, no] = args;
  const test = c.bool(c.visit(condition), condition);
  const [first, second] = [c.visit(yes), c.visit(no)];
  const type =
    common(first.type, second.type) ??
    c.fail(
      "E062",
      `the value is ${aType(first.type)} or ${aType(second.type)}, depending on the condition`,
      { start: yes.start, end: no.end },
      "write string(…) around the one that is not text",
    );
  return { type, run: (machine) => (test(machine) ? first : second).run(machine) };
}

/** `||` and `&&`. */
export function logicalCode(c: Compiling, { op, args }: NodeOf<"||"> | NodeOf<"&&">): Code {
  const [left, right] = args;
  const [first, second] = [c.bool(c.visit(left), left), c.bool(c.visit(right), right)];
  const deciding = op === "||";
  return {
    type: BOOL,
    run: (machine) => {
      try {
        if (first(machine) === deciding) return deciding;
      } catch (error) {
        if (isFinal(error) || second(machine) !== deciding) throw error;
        return deciding;
      }
      return second(machine);
    },
  };
}

/** A sign. */
export function negativeCode(c: Compiling, node: NodeOf<"-_">): Code {
  const inner: Node = node.args;
  if (inner.op === "value" && typeof inner.args === "bigint") {
    c.parts++;
    if (-inner.args < MIN_INT) c.fail("E061", `the whole number is too small: -${inner.args}`, node);
    return constant(INT, -inner.args);
  }
  const of = c.visit(inner);
  if (!["int", "double", "dyn"].includes(of.type.kind)) {
    c.fail("E062", `"-" cannot be used with ${aType(of.type)}`, node);
  }
  return {
    type: of.type,
    run: c.placed(node, (machine) => {
      const value = of.run(machine);
      const opposite = negate(value);
      if (opposite === undefined) throw new Fault(`"-" cannot be used with ${kindName(value)}`);
      return opposite;
    }),
  };
}

/** `==` and `!=`. */
export function equalityCode(c: Compiling, node: NodeOf<"==" | "!=">): Code {
  const [left, right] = node.args;
  const [first, second] = [c.visit(left), c.visit(right)];
  if (!comparable(first.type, second.type)) incomparable(c, node, first, second);
  checkStatus(c, first, left, [right]);
  checkStatus(c, second, right, [left]);
  const isEqual = node.op === "==";
  // Outputs that tasks write as lines are text, and text never equals a number: that would be told by nobody.
  const isSuspicious =
    (isOutput(first) && isNumberOrBool(second.type)) || (isOutput(second) && isNumberOrBool(first.type));
  return {
    type: BOOL,
    run: (machine) => {
      const [a, b] = [first.run(machine), second.run(machine)];
      if (isSuspicious && typeof a !== typeof b && (typeof a === "string" || typeof b === "string")) {
        mismatch(c, node, a, b, first, second);
      }
      return equal(a, b, machine.charge) === isEqual;
    },
  };
}

/** Warns of words that the status of something that is over never is. */
function checkStatus(c: Compiling, { reference }: Code, node: Node, others: readonly Node[]): void {
  const isStatus = reference?.part === "status" || (reference?.root === "run" && reference.name === "status");
  if (!isStatus) return;
  for (const other of others) {
    if (other.op !== "value" || typeof other.args !== "string" || FINAL_STATUSES.includes(other.args))
      continue;
    const { start, end } = other;
    const message = `${c.text(node)} is never ${shown(other.args)}`;
    const meant = OTHER_STATUSES[other.args.toLowerCase()];
    const help =
      (meant === undefined ? didYouMean(other.args, FINAL_STATUSES) : `write "${meant}"`) ??
      `it is ${FINAL_STATUSES.slice(0, -1).join(", ")} or ${FINAL_STATUSES.at(-1)}`;
    c.warnings.push({ code: "W010", message, help, start, end });
  }
}

/** `<`, `<=`, `>` and `>=`. */
export function orderCode(c: Compiling, node: NodeOf<"<" | "<=" | ">" | ">=">): Code {
  const { op, args } = node;
  const [first, second] = [c.visit(args[0]), c.visit(args[1])];
  if (!ordered(first.type, second.type)) incomparable(c, node, first, second);
  return {
    type: BOOL,
    run: (machine) => {
      const [a, b] = [first.run(machine), second.run(machine)];
      const order = compare(a, b) ?? mismatch(c, node, a, b, first, second);
      if (op === "<") return order < 0;
      if (op === "<=") return order <= 0;
      return op === ">" ? order > 0 : order >= 0;
    },
  };
}

function incomparable(
  c: Compiling,
  node: Node & { readonly args: readonly [Node, Node] },
  first: Code,
  second: Code,
): never {
  const [left, right] = node.args;
  const pairs = [
    [first, second, left],
    [second, first, right],
  ] as const;
  const numeric = pairs.find(
    ([a, b]) => a.type.kind === "string" && ["int", "double", "uint"].includes(b.type.kind),
  );
  const flag = pairs.find(([a, b]) => a.type.kind === "string" && b.type.kind === "bool");
  const help =
    numeric !== undefined
      ? `${c.text(numeric[2])} is a string; write ${numeric[1].type.kind === "double" ? "double" : "int"}(${c.text(numeric[2])}) if it holds a number`
      : flag !== undefined
        ? `${c.text(flag[2])} is a string; write "true" or "false" in quotes`
        : undefined;
  c.fail("E062", `cannot compare ${typeName(first.type)} with ${typeName(second.type)}`, node, help);
}

/** Two values that turned out not to fit each other. */
function mismatch(
  c: Compiling,
  node: Node & { readonly args: readonly [Node, Node] },
  a: Value,
  b: Value,
  first: Code,
  second: Code,
): never {
  const [left, right] = node.args;
  const isComparison = ["==", "!=", "<", "<=", ">", ">="].includes(node.op);
  const pair = `${kindName(a)} ${isComparison ? "with" : "and"} ${kindName(b)}`;
  const unknown = [
    { value: a, other: b, code: first, node: left },
    { value: b, other: a, code: second, node: right },
  ].find(({ value, code }) => typeof value === "string" && code.type.kind === "dyn");
  const what = isComparison ? `cannot compare ${pair}` : `"${node.op}" cannot be used with ${pair}`;
  if (unknown === undefined) throw new ExpressionError(what, node.start, node.end);
  const name = c.text(unknown.node);
  const kind = kindOf(unknown.other);
  const conversion = kind === "double" ? "double" : kind === "bool" ? "bool" : "int";
  const help = isOutput(unknown.code)
    ? `values of lines in CDKTR_OUTPUT are text: write ${conversion}(${name})`
    : `write ${conversion}(${name})`;
  throw new ExpressionError(`${what}: ${name} is ${shown(unknown.value)}`, node.start, node.end, help);
}

/** `in`. */
export function membershipCode(c: Compiling, { args, start, end }: NodeOf<"in">): Code {
  const [left, right] = args;
  const [item, container] = [c.visit(left), c.visit(right)];
  const { type } = container;
  if (type.kind !== "list" && type.kind !== "map" && type.kind !== "dyn") {
    const help = type.kind === "string" ? `write ${c.text(right)}.contains(${c.text(left)})` : undefined;
    c.fail("E062", `"in" looks in a list or a map, not in ${aType(type)}`, right, help);
  }
  if (right.op === "list") checkStatus(c, item, left, right.args);
  const of = type.kind === "list" ? type.of : type.kind === "map" ? type.key : DYN;
  if (!comparable(item.type, of)) {
    c.fail("E062", `cannot compare ${typeName(item.type)} with ${typeName(of)}`, { start, end });
  }
  return {
    type: BOOL,
    run: (machine) => {
      const [value, values] = [item.run(machine), container.run(machine)];
      if (isMap(values)) {
        const key = keyOf(value);
        return key !== undefined && values.has(key);
      }
      if (isList(values)) {
        machine.charge(values.length / 10);
        return values.some((each) => equal(each, value, machine.charge));
      }
      throw new ExpressionError(`"in" looks in a list or a map, not in ${kindName(values)}`, start, end);
    },
  };
}

/** `+`, `-`, `*`, `/` and `%`. */
export function arithmeticCode(c: Compiling, node: NodeOf<Arithmetic>): Code {
  const [left, right] = node.args;
  const [first, second] = [c.visit(left), c.visit(right)];
  const type = arithmeticType(node.op, first.type, second.type);
  if (type === null) {
    const isText = node.op === "+" && (first.type.kind === "string" || second.type.kind === "string");
    const other = first.type.kind === "string" ? right : left;
    const numbers =
      ["int", "double"].includes(first.type.kind) && ["int", "double"].includes(second.type.kind);
    c.fail(
      "E062",
      `"${node.op}" cannot be used with ${aType(first.type)} and ${aType(second.type)}`,
      node,
      isText
        ? `write string(${c.text(other)}) to join them as text`
        : numbers
          ? `write double(${c.text(first.type.kind === "int" ? left : right)})`
          : undefined,
    );
  }
  return {
    type,
    run: c.placed(node, (machine) => {
      const [a, b] = [first.run(machine), second.run(machine)];
      return (
        divided(node, a, b, () => calculate(node.op, a, b, machine)) ?? mismatch(c, node, a, b, first, second)
      );
    }),
  };
}

/** Says what was divided. */
function divided(
  node: NodeOf<Arithmetic>,
  a: Value,
  b: Value,
  calculated: () => Value | undefined,
): Value | undefined {
  try {
    return calculated();
  } catch (error) {
    if (!(error instanceof Fault) || error.message !== "division by zero") throw error;
    throw new Fault(`${textOf(a)} ${node.op} ${textOf(b)}: ${error.message}`);
  }
}

/** The statuses of what is over. */
const FINAL_STATUSES: readonly string[] = ["COMPLETED", "FAILED", "CRASHED", "SKIPPED", "CANCELLED"];

/** Words of other tools for them. */
const OTHER_STATUSES: Readonly<Record<string, string>> = {
  success: "COMPLETED",
  succeeded: "COMPLETED",
  ok: "COMPLETED",
  done: "COMPLETED",
  failure: "FAILED",
  error: "FAILED",
};

const isNumberOrBool = ({ kind }: CelType): boolean => ["int", "uint", "double", "bool"].includes(kind);
