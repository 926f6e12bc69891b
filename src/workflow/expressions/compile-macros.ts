/** Compiles the macros of lists and maps. `all` and `exists` decide although some elements give errors, if another one decides alone. */
import type { Node } from "./cel.ts";
import { type Code, type Compiling, isFinal, type Source } from "./code.ts";
import { ExpressionError, type Machine } from "./machine.ts";
import { aType, BOOL, DYN, listOf } from "./types.ts";
import { isList, isMap, kindName, type Value } from "./values.ts";

/** The macros of lists and maps, and how many arguments each has. */
const MACROS: Readonly<Record<string, readonly number[]>> = {
  all: [2],
  exists: [2],
  exists_one: [2],
  existsOne: [2],
  filter: [2],
  map: [2, 3],
};

/** Their names. */
export const MACRO_NAMES: readonly string[] = Object.keys(MACROS);

/** Whether a method with so many arguments is a macro. */
export function isMacro(name: string, count: number): boolean {
  return Object.hasOwn(MACROS, name) && MACROS[name]?.includes(count) === true;
}

/** A macro that goes through a list, or the keys of a map. */
export function macroCode(
  c: Compiling,
  name: string,
  target: Node,
  variable: string,
  bodies: readonly Node[],
): Code {
  const range = c.visit(target);
  if (range.type.kind !== "list" && range.type.kind !== "map" && range.type.kind !== "dyn") {
    c.fail("E062", `${name} works on lists and maps, not on ${aType(range.type)}`, target);
  }
  const of = range.type.kind === "list" ? range.type.of : range.type.kind === "map" ? range.type.key : DYN;
  const depth = c.variables.length;
  c.variables.push({ name: variable, type: of });
  const before = c.parts;
  const codes = bodies.map((body) => c.visit(body));
  const cost = c.parts - before + 1;
  c.variables.pop();
  const [first, second] = codes;
  const [body] = bodies;
  if (first === undefined || body === undefined) throw new Error("a macro has a body");
  const targetText = c.text(target);
  const each = (machine: Machine<Source>, visit: (item: Value) => boolean): void => {
    const values = range.run(machine);
    if (!isList(values) && !isMap(values)) {
      throw new ExpressionError(
        `${name} works on lists and maps, but ${targetText} is ${kindName(values)}`,
        target.start,
        target.end,
      );
    }
    const before = machine.variables[depth];
    for (const item of isMap(values) ? values.keys() : values) {
      machine.charge(cost);
      machine.variables[depth] = item;
      if (!visit(item)) break;
    }
    machine.variables[depth] = before;
  };
  if (name === "map") {
    const [test, value] = second === undefined ? [null, first] : [c.bool(first, body), second];
    return {
      type: listOf(value.type),
      run: (machine) => {
        const result: Value[] = [];
        each(machine, () => {
          if (test === null || test(machine)) result.push(value.run(machine));
          return true;
        });
        return result;
      },
    };
  }
  const test = c.bool(first, body);
  switch (name) {
    case "filter":
      return {
        type: listOf(of),
        run: (machine) => {
          const result: Value[] = [];
          each(machine, (item) => {
            if (test(machine)) result.push(item);
            return true;
          });
          return result;
        },
      };
    case "exists_one":
    case "existsOne":
      return {
        type: BOOL,
        run: (machine) => {
          let count = 0;
          each(machine, () => {
            if (test(machine)) count++;
            return true;
          });
          return count === 1;
        },
      };
    default: {
      const deciding = name === "exists";
      return {
        type: BOOL,
        run: (machine) => {
          let isDecided = false;
          let failure: { readonly error: unknown } | undefined;
          each(machine, () => {
            try {
              isDecided = test(machine) === deciding;
            } catch (error) {
              if (isFinal(error)) throw error;
              failure ??= { error };
            }
            return !isDecided;
          });
          if (isDecided) return deciding;
          if (failure !== undefined) throw failure.error;
          return !deciding;
        },
      };
    }
  }
}
