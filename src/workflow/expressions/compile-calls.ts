/** Compiles calls of functions and methods, and the forms that look like some: `has`, `default`, `agents`. */
import { didYouMean } from "../../terminal/did-you-mean.ts";
import type { Node } from "./cel.ts";
import type { Code, Compiling, NodeOf } from "./code.ts";
import { isMacro, MACRO_NAMES, macroCode } from "./compile-macros.ts";
import { functionNames, type Overload, overloadsOf } from "./functions.ts";
import { Fault, NoValueError } from "./machine.ts";
import type { Reference } from "./references.ts";
import { aType, BOOL, type CelType, common, DYN, fits, listOf, mapOf, STRING, typeName } from "./types.ts";
import { isMap, type Key, kindName, kindOf, textOf, type Value } from "./values.ts";

/** What `agents(…)` reads. */
const AGENTS: Reference = { root: "agents", name: null, part: null, output: null };

/** A function, or a form that looks like one. */
export function callCode(c: Compiling, node: NodeOf<"call">): Code {
  const [name, args] = node.args;
  if (name === "has" && args.length === 1) return hasValue(c, args[0] as Node);
  if (name === "default" && args.length === 2) return valueOr(c, args[0] as Node, args[1] as Node);
  if (name === "agents") return agentsCode(c, node, args);
  return invoke(c, node, name, null, args);
}

/** A method, or a macro. */
export function methodCode(c: Compiling, node: NodeOf<"rcall">): Code {
  const [name, target, args] = node.args;
  const [first] = args;
  if (isMacro(name, args.length) && first?.op === "id") {
    return macroCode(c, name, target, first.args, args.slice(1));
  }
  return invoke(c, node, name, target, args);
}

function invoke(
  c: Compiling,
  node: NodeOf<"call" | "rcall">,
  name: string,
  target: Node | null,
  argNodes: readonly Node[],
): Code {
  const nodes = target === null ? argNodes : [target, ...argNodes];
  const forms = overloadsOf(name, target !== null);
  if (forms.length === 0) unknownFunction(c, node, name, target, argNodes);
  const codes = nodes.map((each) => c.visit(each));
  const types = codes.map(({ type }) => type);
  const isCounted = forms.some(({ args }) => args.length === argNodes.length);
  const wantedOf = ({ target: of, args }: Overload): readonly CelType[] =>
    of === null ? args : [of, ...args];
  const possible = forms.filter((form) => {
    const wanted = wantedOf(form);
    return wanted.length === types.length && wanted.every((type, n) => fits(types[n] ?? DYN, type));
  });
  const [only, ...others] = possible;
  if (only === undefined) {
    const takes = formsText(name, forms);
    const message = isCounted
      ? `${name} cannot be used with ${types.map(aType).join(" and ")}`
      : `${name} has ${argNodes.length} ${argNodes.length === 1 ? "argument" : "arguments"} here`;
    c.fail("E062", message, node, takes);
  }
  checkLiterals(c, possible, argNodes);
  const type = others.reduce<CelType>((known, { result }) => common(known, result) ?? DYN, only.result);
  return {
    type,
    run: c.placed(node, (machine) => {
      const args = codes.map(({ run }) => run(machine));
      const form = possible.find((each) =>
        wantedOf(each).every((wanted, n) => isOf(args[n] ?? null, wanted)),
      );
      if (form === undefined) {
        throw new Fault(
          `${name} cannot be used with ${args.map(kindName).join(" and ")}`,
          formsText(name, forms),
        );
      }
      return form.call(args, machine);
    }),
  };
}

function checkLiterals(c: Compiling, forms: readonly Overload[], args: readonly Node[]): void {
  for (const [n, arg] of args.entries()) {
    if (arg.op !== "value" || typeof arg.args !== "string") continue;
    for (const { literals } of forms) {
      const fault = literals?.[n]?.(arg.args) ?? null;
      if (fault !== null) c.fail("E062", fault, arg);
    }
  }
}

function unknownFunction(
  c: Compiling,
  node: NodeOf<"call" | "rcall">,
  name: string,
  target: Node | null,
  args: readonly Node[],
): never {
  const isMethod = target !== null;
  const other = overloadsOf(name, !isMethod).length > 0;
  const macros = isMethod ? MACRO_NAMES : ["has", "default", "agents"];
  const help =
    OTHER_FUNCTIONS[name] ??
    (isMethod && (other || macros.includes(name) || name === "has" || name === "default")
      ? `write ${name}(${[target, ...args].map((arg) => c.text(arg)).join(", ")})`
      : other || MACRO_NAMES.includes(name)
        ? `write ${args[0] === undefined ? "value" : c.text(args[0])}.${name}(${args
            .slice(1)
            .map((arg) => c.text(arg))
            .join(", ")})`
        : didYouMean(name, [...functionNames(isMethod), ...macros]));
  const start = target === null ? node.start : c.source.indexOf(name, target.end);
  const place = { start, end: start + name.length };
  if (macros.includes(name) || name === "has" || name === "default") {
    const form = MACRO_FORMS[name] ?? "";
    c.fail("E062", `${name} is not used like this`, place, `write ${form}`);
  }
  c.fail("E063", `there is no function "${name}"`, place, help);
}

/** Whether a member exists: of a reference, everything on the way to it may be missing as well. */
function hasValue(c: Compiling, arg: Node): Code {
  if (arg.op !== "." && arg.op !== "[]") {
    c.fail("E062", "has asks for a member", arg, "such as has(tasks.extract.outputs.rows)");
  }
  const { run } = c.visit(arg);
  return {
    type: BOOL,
    run: (machine) => {
      try {
        run(machine);
        return true;
      } catch (error) {
        if (error instanceof NoValueError) return false;
        throw error;
      }
    },
  };
}

function valueOr(c: Compiling, value: Node, other: Node): Code {
  const [first, second] = [c.visit(value), c.visit(other)];
  return {
    type: common(first.type, second.type) ?? DYN,
    run: (machine) => {
      try {
        return first.run(machine);
      } catch (error) {
        if (error instanceof NoValueError) return second.run(machine);
        throw error;
      }
    },
  };
}

/** The agents that are up and have these labels. */
function agentsCode(c: Compiling, node: NodeOf<"call">, args: readonly Node[]): Code {
  if (!c.scope.knowsAgents) {
    const help = "write it in foreach, matrix or when";
    c.fail("E064", "agents(…) is known to the principal only", node, help);
  }
  const [labelsNode, ...others] = args;
  const labels = labelsNode === undefined ? null : c.visit(labelsNode);
  const isUsable = labels === null || fits(labels.type, mapOf(STRING, DYN));
  if (others.length > 0 || !isUsable) {
    const message =
      others.length > 0
        ? `agents has ${args.length} arguments here`
        : `agents cannot be used with ${aType(labels?.type ?? DYN)}`;
    c.fail("E062", message, node, 'write agents({"role": "web"}), or agents() for all');
  }
  const all = c.read({ reference: AGENTS, type: listOf(mapOf(STRING, DYN)) }, node);
  return {
    type: all.type,
    run: c.placed(node, (machine) => {
      const agents = all.run(machine) as readonly ReadonlyMap<Key, Value>[];
      const wanted = labels?.run(machine) ?? new Map();
      if (!isMap(wanted)) throw new Fault(`agents cannot be used with ${kindName(wanted)}`);
      machine.charge(agents.length * wanted.size);
      return agents.filter((agent) => {
        const has = agent.get("labels") as ReadonlyMap<Key, Value>;
        return [...wanted].every(([label, value]) => has.get(label) === textOf(value));
      });
    }),
  };
}

/** Whether a value is of a type, as functions take it: what is in lists and maps is looked at by whoever uses it. */
function isOf(value: Value, { kind }: CelType): boolean {
  return kind === "dyn" || kindOf(value) === kind;
}

function formsText(name: string, forms: readonly Overload[]): string {
  const texts = forms.map(({ target, args }) => {
    const call = `${name}(${args.map(typeName).join(", ")})`;
    return target === null ? call : `${typeName(target)}.${call}`;
  });
  return `write ${texts.slice(0, -1).join(", ")}${texts.length > 1 ? " or " : ""}${texts.at(-1)}`;
}

/** Functions of other tools and languages, and what is meant here. */
const OTHER_FUNCTIONS: Readonly<Record<string, string>> = {
  len: "write size(…)",
  length: "write size(…)",
  count: "write size(…)",
  now: "write run.created_at or run.scheduled_time",
  today: 'write date(run.scheduled_time, "%Y-%m-%d", "Europe/London")',
  toJSON: "a list or a map becomes JSON by itself",
  to_json: "a list or a map becomes JSON by itself",
  fromJSON: "write json(…)",
  from_json: "write json(…)",
  parseJson: "write json(…)",
  basename: "write file_name(…)",
  strftime: "write date(time, format, zone)",
  format: "write date(time, format, zone) for a time, or put the expressions into the text",
  lower: "write text.lowerAscii()",
  toLower: "write text.lowerAscii()",
  upper: "write text.upperAscii()",
  toUpper: "write text.upperAscii()",
  strip: "write text.trim()",
  coalesce: "write default(value, other)",
  get: "write default(value, other)",
  success: 'write tasks.ID.status == "COMPLETED"',
  failure: 'write tasks.ID.status == "FAILED"',
  always: "write depends: {ID: ended}",
  str: "write string(…)",
  float: "write double(…)",
  number: "write double(…)",
};

const MACRO_FORMS: Readonly<Record<string, string>> = {
  has: "has(tasks.ID.outputs.NAME)",
  default: "default(value, other)",
  all: "list.all(x, x > 0)",
  exists: "list.exists(x, x > 0)",
  exists_one: "list.exists_one(x, x > 0)",
  existsOne: "list.existsOne(x, x > 0)",
  filter: "list.filter(x, x > 0)",
  map: "list.map(x, x + 1)",
};
