/** Compiles members of values, and literals of lists and maps. */
import type { Node } from "./cel.ts";
import { type Code, type Compiling, constant, keyOf, type NodeOf, shown } from "./code.ts";
import { ExpressionError, NoValueError } from "./machine.ts";
import {
  aType,
  type CelType,
  common,
  comparable,
  DYN,
  fits,
  listOf,
  mapOf,
  STRING,
  typeName,
} from "./types.ts";
import { isList, isMap, type Key, kindName, type Value } from "./values.ts";

/** A member by its name: `a.b`. */
export function selectCode(c: Compiling, node: NodeOf<".">): Code {
  const [ofNode, field] = node.args;
  const of = c.visit(ofNode);
  return member(c, node, of, ofNode, constant(STRING, field));
}

/** A member by a key or a place: `a["b"]`, `a[0]`. */
export function indexCode(c: Compiling, node: NodeOf<"[]">): Code {
  const [ofNode, indexNode] = node.args;
  return member(c, node, c.visit(ofNode), ofNode, c.visit(indexNode));
}

function member(c: Compiling, node: Node, of: Code, ofNode: Node, index: Code): Code {
  const { type } = of;
  if (type.kind !== "list" && type.kind !== "map" && type.kind !== "dyn") {
    const help = type.kind === "string" ? `write json(${c.text(ofNode)}) to read it as JSON` : undefined;
    c.fail("E062", `${c.text(ofNode)} is ${aType(type)}: it has no members`, node, help);
  }
  if (type.kind === "list" && !["int", "uint", "double", "dyn"].includes(index.type.kind)) {
    c.fail("E062", `the elements of a list are numbered from 0, but ${aType(index.type)} is asked for`, node);
  }
  if (type.kind === "map" && !fits(index.type, type.key) && !comparable(index.type, type.key)) {
    c.fail(
      "E062",
      `the keys of this map are ${typeName(type.key)}, but ${aType(index.type)} is asked for`,
      node,
    );
  }
  const { start, end } = node;
  const text = c.text(node);
  const ofText = c.text(ofNode);
  return {
    type: type.kind === "list" || type.kind === "map" ? type.of : DYN,
    run: (machine) => {
      const container = of.run(machine);
      const key = index.run(machine);
      const fail = (message: string, help?: string): never => {
        throw new ExpressionError(message, start, end, help);
      };
      if (isMap(container)) {
        const value = container.get(keyOf(key) ?? fail(`a map has no key ${kindName(key)}`));
        if (value !== undefined) return value;
        throw new NoValueError(`${text} has no value: ${ofText} has no ${shown(key)}`, start, end);
      }
      if (isList(container)) {
        const at =
          placeOf(key) ?? fail(`the elements of a list are numbered from 0, but ${shown(key)} is asked for`);
        const value = container[at];
        if (value !== undefined) return value;
        throw new NoValueError(
          `${text} has no value: ${ofText} has ${container.length} elements`,
          start,
          end,
        );
      }
      const help =
        typeof container === "string" ? `write json(${ofText}) if it is text that holds JSON` : undefined;
      return fail(`${ofText} is ${kindName(container)}: it has no ${shown(key)}`, help);
    },
  };
}

/** A literal list. */
export function listCode(c: Compiling, { args }: NodeOf<"list">): Code {
  const items = args.map((each: Node) => c.visit(each));
  const of = items.reduce<CelType | null>(
    (type, item) => (type === null ? item.type : (common(type, item.type) ?? DYN)),
    null,
  );
  return { type: listOf(of ?? DYN), run: (machine) => items.map((item) => item.run(machine)) };
}

/** A literal map. */
export function mapCode(c: Compiling, node: NodeOf<"map">): Code {
  const entries = node.args.map(([key, value]: [Node, Node]) => {
    const code = c.visit(key);
    if (!["string", "int", "uint", "bool", "dyn"].includes(code.type.kind)) {
      c.fail("E062", `the key of a map cannot be ${aType(code.type)}`, key);
    }
    return { key: code, value: c.visit(value), node: key };
  });
  const join = (types: readonly CelType[]): CelType =>
    types.reduce<CelType | null>(
      (type, each) => (type === null ? each : (common(type, each) ?? DYN)),
      null,
    ) ?? DYN;
  return {
    type: mapOf(join(entries.map(({ key }) => key.type)), join(entries.map(({ value }) => value.type))),
    run: (machine) => {
      const map = new Map<Key, Value>();
      for (const { key, value, node: at } of entries) {
        const given = key.run(machine);
        const name = typeof given === "number" ? undefined : keyOf(given);
        if (name === undefined)
          throw new ExpressionError(`the key of a map cannot be ${kindName(given)}`, at.start, at.end);
        if (map.has(name)) throw new ExpressionError(`the map has ${shown(given)} twice`, at.start, at.end);
        map.set(name, value.run(machine));
      }
      return map;
    },
  };
}

/** The place in a list that a value stands for; undefined if it is not a whole number. */
function placeOf(value: Value): number | undefined {
  const key = typeof value === "boolean" ? undefined : keyOf(value);
  return typeof key === "bigint" ? Number(key) : undefined;
}
