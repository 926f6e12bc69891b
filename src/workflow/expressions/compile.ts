/**
 * Compiles an expression: checks its names and types, as far as they are known, and turns each part into a function that evaluates it.
 * Errors are values that come late in CEL: `||` and `&&` decide without one side if the other decides alone, and so do `all` and `exists`.
 */
import { didYouMean } from "../../terminal/did-you-mean.ts";
import { type Node, parseExpression } from "./cel.ts";
import { functionNames, NAMED_TYPES, type Overload, overloadsOf } from "./functions.ts";
import { ExpressionError, Fault, type Machine, NoValueError, TooManyStepsError } from "./machine.ts";
import { type Arithmetic, arithmeticType, calculate, negate, ordered } from "./operators.ts";
import { ExpressionProblem, type PlacedProblem } from "./problem.ts";
import { type Found, type Reference, referenceAt } from "./references.ts";
import type { Scope } from "./scope.ts";
import {
  aType,
  BOOL,
  BYTES,
  type CelType,
  common,
  comparable,
  DOUBLE,
  DYN,
  fits,
  INT,
  listOf,
  mapOf,
  NULL,
  STRING,
  TYPE,
  typeName,
  UINT,
} from "./types.ts";
import {
  compare,
  equal,
  isList,
  isMap,
  type Key,
  kindName,
  kindOf,
  MAX_INT,
  MIN_INT,
  TypeValue,
  textOf,
  Uint,
  type Value,
} from "./values.ts";

/** Gives the values of references while an expression is evaluated. */
export interface Source {
  /** The value, or the reason for which there is none. */
  read(
    reference: Reference,
    charge: (count: number) => void,
  ): { readonly value: Value } | { readonly missing: string };
}

type Run = (machine: Machine<Source>) => Value;

/** A compiled part of an expression. */
interface Code {
  readonly type: CelType;
  readonly run: Run;
  /** What it reads, if it is nothing but that. */
  readonly reference?: Reference;
}

/** A compiled expression. */
export interface CompiledExpression {
  readonly type: CelType;
  /** All that it reads, each once. */
  readonly reads: readonly Reference[];
  /** What is valid, and certainly not meant. */
  readonly warnings: readonly PlacedProblem[];
  /** @throws ExpressionError */
  readonly run: Run;
}

/**
 * Compiles an expression.
 * @throws ExpressionProblem
 */
export function compileExpression(source: string, scope: Scope): CompiledExpression {
  const compiler = new Compiler(source, scope);
  const { type, run } = compiler.visit(parseExpression(source));
  return { type, reads: [...compiler.reads.values()], warnings: compiler.warnings, run };
}

interface Variable {
  readonly name: string;
  readonly type: CelType;
}

type NodeOf<O extends Node["op"]> = Extract<Node, { op: O }>;

/** What `agents(…)` reads. */
const AGENTS: Reference = { root: "agents", name: null, part: null, output: null };

/** The macros of lists and maps, and how many arguments each has. */
const MACROS: Readonly<Record<string, readonly number[]>> = {
  all: [2],
  exists: [2],
  exists_one: [2],
  existsOne: [2],
  filter: [2],
  map: [2, 3],
};

class Compiler {
  readonly reads = new Map<string, Reference>();
  readonly warnings: PlacedProblem[] = [];
  readonly #source: string;
  readonly #scope: Scope;
  /** The variables of the macros around the part that is compiled. */
  readonly #variables: Variable[] = [];
  /** Number of parts that were compiled. */
  #parts = 0;

  constructor(source: string, scope: Scope) {
    this.#source = source;
    this.#scope = scope;
  }

  visit(node: Node): Code {
    this.#parts++;
    switch (node.op) {
      case "value":
        return this.#literal(node);
      case "id":
        return this.#name(node);
      case ".":
        return this.#reference(node) ?? this.#select(node);
      case "[]":
        return this.#reference(node) ?? this.#index(node);
      case "call":
        return this.#call(node);
      case "rcall":
        return this.#method(node);
      case "list":
        return this.#list(node);
      case "map":
        return this.#map(node);
      case "?:":
        return this.#conditional(node);
      case "||":
      case "&&":
        return this.#logical(node);
      case "!_": {
        const run = this.#bool(this.visit(node.args), node.args);
        return { type: BOOL, run: (machine) => !run(machine) };
      }
      case "-_":
        return this.#negative(node);
      case "==":
      case "!=":
        return this.#equality(node);
      case "<":
      case "<=":
      case ">":
      case ">=":
        return this.#order(node);
      case "in":
        return this.#membership(node);
      case "+":
      case "-":
      case "*":
      case "/":
      case "%":
        return this.#arithmetic(node);
      default:
        return this.#fail("E061", "this is not a part of expressions", node);
    }
  }

  #fail(code: "E061" | "E062" | "E063" | "E064", message: string, node: Place, help?: string): never {
    const { start, end } = node;
    throw new ExpressionProblem({ code, message, ...(help === undefined ? {} : { help }), start, end });
  }

  #text({ start, end }: Place): string {
    return this.#source.slice(start, end);
  }

  #literal(node: NodeOf<"value">): Code {
    const { args } = node;
    if (args === null) return constant(NULL, null);
    switch (typeof args) {
      case "boolean":
        return constant(BOOL, args);
      case "string":
        return constant(STRING, args);
      case "number":
        return constant(DOUBLE, args);
      case "bigint":
        if (args > MAX_INT) this.#fail("E061", `the whole number is too large: ${args}`, node);
        return constant(INT, args);
      default:
    }
    return args instanceof Uint8Array
      ? constant(BYTES, args)
      : constant(UINT, new Uint(BigInt(String(args))));
  }

  #name(node: NodeOf<"id">): Code {
    const depth = this.#variables.findLastIndex(({ name }) => name === node.args);
    const variable = this.#variables[depth];
    if (variable !== undefined) {
      return { type: variable.type, run: ({ variables }) => variables[depth] as Value };
    }
    if (!this.#scope.roots.has(node.args) && NAMED_TYPES.has(node.args)) {
      return constant(TYPE, new TypeValue(node.args));
    }
    return this.#reference(node) ?? this.#fail("E063", `"${node.args}" is unknown`, node);
  }

  #reference(node: Node): Code | null {
    const isVariable = (name: string): boolean => this.#variables.some((variable) => variable.name === name);
    const found = referenceAt(node, this.#source, this.#scope, isVariable);
    return found === null ? null : this.#read(found, node);
  }

  #read({ reference, type }: Found, node: Node): Code {
    this.reads.set(JSON.stringify(reference), reference);
    const { start, end } = node;
    const text = this.#text(node);
    return {
      type,
      reference,
      run: ({ values, charge }) => {
        const found = values.read(reference, (count) => charge(count / 10));
        if ("value" in found) return found.value;
        throw new NoValueError(
          `${text} has no value${found.missing === "" ? "" : `: ${found.missing}`}`,
          start,
          end,
        );
      },
    };
  }

  #select(node: NodeOf<".">): Code {
    const [ofNode, field] = node.args;
    const of = this.visit(ofNode);
    return this.#member(node, of, ofNode, constant(STRING, field));
  }

  #index(node: NodeOf<"[]">): Code {
    const [ofNode, indexNode] = node.args;
    return this.#member(node, this.visit(ofNode), ofNode, this.visit(indexNode));
  }

  #member(node: Node, of: Code, ofNode: Node, index: Code): Code {
    const { type } = of;
    if (type.kind !== "list" && type.kind !== "map" && type.kind !== "dyn") {
      const help =
        type.kind === "string" ? `write json(${this.#text(ofNode)}) to read it as JSON` : undefined;
      this.#fail("E062", `${this.#text(ofNode)} is ${aType(type)}: it has no members`, node, help);
    }
    if (type.kind === "list" && !["int", "uint", "double", "dyn"].includes(index.type.kind)) {
      this.#fail(
        "E062",
        `the elements of a list are numbered from 0, but ${aType(index.type)} is asked for`,
        node,
      );
    }
    if (type.kind === "map" && !fits(index.type, type.key) && !comparable(index.type, type.key)) {
      this.#fail(
        "E062",
        `the keys of this map are ${typeName(type.key)}, but ${aType(index.type)} is asked for`,
        node,
      );
    }
    const { start, end } = node;
    const text = this.#text(node);
    const ofText = this.#text(ofNode);
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
            placeOf(key) ??
            fail(`the elements of a list are numbered from 0, but ${shown(key)} is asked for`);
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

  #list({ args }: NodeOf<"list">): Code {
    const items = args.map((each: Node) => this.visit(each));
    const of = items.reduce<CelType | null>(
      (type, item) => (type === null ? item.type : (common(type, item.type) ?? DYN)),
      null,
    );
    return { type: listOf(of ?? DYN), run: (machine) => items.map((item) => item.run(machine)) };
  }

  #map(node: NodeOf<"map">): Code {
    const entries = node.args.map(([key, value]: [Node, Node]) => {
      const code = this.visit(key);
      if (!["string", "int", "uint", "bool", "dyn"].includes(code.type.kind)) {
        this.#fail("E062", `the key of a map cannot be ${aType(code.type)}`, key);
      }
      return { key: code, value: this.visit(value), node: key };
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

  /** A part that must be true or false. */
  #bool({ type, run }: Code, node: Node): (machine: Machine<Source>) => boolean {
    if (type.kind !== "bool" && type.kind !== "dyn") {
      this.#fail("E062", `${this.#text(node)} must be true or false, but is ${aType(type)}`, node);
    }
    const { start, end } = node;
    const text = this.#text(node);
    return (machine) => {
      const value = run(machine);
      if (typeof value === "boolean") return value;
      const help =
        value === "true" || value === "false"
          ? `it is text: write ${text} == "${value}", or bool(${text})`
          : undefined;
      throw new ExpressionError(`${text} must be true or false, but is ${kindName(value)}`, start, end, help);
    };
  }

  #conditional({ args }: NodeOf<"?:">): Code {
    const [condition, yes, no] = args;
    const test = this.#bool(this.visit(condition), condition);
    const [first, second] = [this.visit(yes), this.visit(no)];
    const type =
      common(first.type, second.type) ??
      this.#fail(
        "E062",
        `the value is ${aType(first.type)} or ${aType(second.type)}, depending on the condition`,
        { start: yes.start, end: no.end },
        "write string(…) around the one that is not text",
      );
    return { type, run: (machine) => (test(machine) ? first : second).run(machine) };
  }

  #logical({ op, args }: NodeOf<"||"> | NodeOf<"&&">): Code {
    const [left, right] = args;
    const [first, second] = [this.#bool(this.visit(left), left), this.#bool(this.visit(right), right)];
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

  #negative(node: NodeOf<"-_">): Code {
    const inner: Node = node.args;
    if (inner.op === "value" && typeof inner.args === "bigint") {
      this.#parts++;
      if (-inner.args < MIN_INT) this.#fail("E061", `the whole number is too small: -${inner.args}`, node);
      return constant(INT, -inner.args);
    }
    const of = this.visit(inner);
    if (!["int", "double", "dyn"].includes(of.type.kind)) {
      this.#fail("E062", `"-" cannot be used with ${aType(of.type)}`, node);
    }
    return {
      type: of.type,
      run: this.#placed(node, (machine) => {
        const value = of.run(machine);
        const opposite = negate(value);
        if (opposite === undefined) throw new Fault(`"-" cannot be used with ${kindName(value)}`);
        return opposite;
      }),
    };
  }

  #equality(node: NodeOf<"==" | "!=">): Code {
    const [left, right] = node.args;
    const [first, second] = [this.visit(left), this.visit(right)];
    if (!comparable(first.type, second.type)) this.#incomparable(node, first, second);
    this.#checkStatus(first, left, [right]);
    this.#checkStatus(second, right, [left]);
    const isEqual = node.op === "==";
    // Outputs that tasks write as lines are text, and text never equals a number: that would be told by nobody.
    const isSuspicious =
      (isOutput(first) && isNumberOrBool(second.type)) || (isOutput(second) && isNumberOrBool(first.type));
    return {
      type: BOOL,
      run: (machine) => {
        const [a, b] = [first.run(machine), second.run(machine)];
        if (isSuspicious && typeof a !== typeof b && (typeof a === "string" || typeof b === "string")) {
          this.#mismatch(node, a, b, first, second);
        }
        return equal(a, b, machine.charge) === isEqual;
      },
    };
  }

  /** Warns of words that the status of something that is over never is. */
  #checkStatus({ reference }: Code, node: Node, others: readonly Node[]): void {
    const isStatus =
      reference?.part === "status" || (reference?.root === "run" && reference.name === "status");
    if (!isStatus) return;
    for (const other of others) {
      if (other.op !== "value" || typeof other.args !== "string" || FINAL_STATUSES.includes(other.args))
        continue;
      const { start, end } = other;
      const message = `${this.#text(node)} is never ${shown(other.args)}`;
      const meant = OTHER_STATUSES[other.args.toLowerCase()];
      const help =
        (meant === undefined ? didYouMean(other.args, FINAL_STATUSES) : `write "${meant}"`) ??
        `it is ${FINAL_STATUSES.slice(0, -1).join(", ")} or ${FINAL_STATUSES.at(-1)}`;
      this.warnings.push({ code: "W010", message, help, start, end });
    }
  }

  #order(node: NodeOf<"<" | "<=" | ">" | ">=">): Code {
    const { op, args } = node;
    const [first, second] = [this.visit(args[0]), this.visit(args[1])];
    if (!ordered(first.type, second.type)) this.#incomparable(node, first, second);
    return {
      type: BOOL,
      run: (machine) => {
        const [a, b] = [first.run(machine), second.run(machine)];
        const order = compare(a, b) ?? this.#mismatch(node, a, b, first, second);
        if (op === "<") return order < 0;
        if (op === "<=") return order <= 0;
        return op === ">" ? order > 0 : order >= 0;
      },
    };
  }

  #incomparable(node: Node & { readonly args: readonly [Node, Node] }, first: Code, second: Code): never {
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
        ? `${this.#text(numeric[2])} is a string; write ${numeric[1].type.kind === "double" ? "double" : "int"}(${this.#text(numeric[2])}) if it holds a number`
        : flag !== undefined
          ? `${this.#text(flag[2])} is a string; write "true" or "false" in quotes`
          : undefined;
    this.#fail("E062", `cannot compare ${typeName(first.type)} with ${typeName(second.type)}`, node, help);
  }

  /** Two values that turned out not to fit each other. */
  #mismatch(
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
    const name = this.#text(unknown.node);
    const kind = kindOf(unknown.other);
    const conversion = kind === "double" ? "double" : kind === "bool" ? "bool" : "int";
    const help = isOutput(unknown.code)
      ? `values of lines in CDKTR_OUTPUT are text: write ${conversion}(${name})`
      : `write ${conversion}(${name})`;
    throw new ExpressionError(`${what}: ${name} is ${shown(unknown.value)}`, node.start, node.end, help);
  }

  #membership({ args, start, end }: NodeOf<"in">): Code {
    const [left, right] = args;
    const [item, container] = [this.visit(left), this.visit(right)];
    const { type } = container;
    if (type.kind !== "list" && type.kind !== "map" && type.kind !== "dyn") {
      const help =
        type.kind === "string" ? `write ${this.#text(right)}.contains(${this.#text(left)})` : undefined;
      this.#fail("E062", `"in" looks in a list or a map, not in ${aType(type)}`, right, help);
    }
    if (right.op === "list") this.#checkStatus(item, left, right.args);
    const of = type.kind === "list" ? type.of : type.kind === "map" ? type.key : DYN;
    if (!comparable(item.type, of)) {
      this.#fail("E062", `cannot compare ${typeName(item.type)} with ${typeName(of)}`, { start, end });
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

  #arithmetic(node: NodeOf<Arithmetic>): Code {
    const [left, right] = node.args;
    const [first, second] = [this.visit(left), this.visit(right)];
    const type = arithmeticType(node.op, first.type, second.type);
    if (type === null) {
      const isText = node.op === "+" && (first.type.kind === "string" || second.type.kind === "string");
      const other = first.type.kind === "string" ? right : left;
      const numbers =
        ["int", "double"].includes(first.type.kind) && ["int", "double"].includes(second.type.kind);
      this.#fail(
        "E062",
        `"${node.op}" cannot be used with ${aType(first.type)} and ${aType(second.type)}`,
        node,
        isText
          ? `write string(${this.#text(other)}) to join them as text`
          : numbers
            ? `write double(${this.#text(first.type.kind === "int" ? left : right)})`
            : undefined,
      );
    }
    return {
      type,
      run: this.#placed(node, (machine) => {
        const [a, b] = [first.run(machine), second.run(machine)];
        return (
          this.#divided(node, a, b, () => calculate(node.op, a, b, machine)) ??
          this.#mismatch(node, a, b, first, second)
        );
      }),
    };
  }

  /** Says what was divided. */
  #divided(
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

  #call(node: NodeOf<"call">): Code {
    const [name, args] = node.args;
    if (name === "has" && args.length === 1) return this.#has(args[0] as Node);
    if (name === "default" && args.length === 2) return this.#default(args[0] as Node, args[1] as Node);
    if (name === "agents") return this.#agents(node, args);
    return this.#invoke(node, name, null, args);
  }

  #method(node: NodeOf<"rcall">): Code {
    const [name, target, args] = node.args;
    const [first] = args;
    if (Object.hasOwn(MACROS, name) && MACROS[name]?.includes(args.length) === true && first?.op === "id") {
      return this.#macro(name, target, first.args, args.slice(1));
    }
    return this.#invoke(node, name, target, args);
  }

  #invoke(
    node: NodeOf<"call" | "rcall">,
    name: string,
    target: Node | null,
    argNodes: readonly Node[],
  ): Code {
    const nodes = target === null ? argNodes : [target, ...argNodes];
    const forms = overloadsOf(name, target !== null);
    if (forms.length === 0) this.#unknownFunction(node, name, target, argNodes);
    const codes = nodes.map((each) => this.visit(each));
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
      this.#fail("E062", message, node, takes);
    }
    this.#checkLiterals(possible, argNodes);
    const type = others.reduce<CelType>((known, { result }) => common(known, result) ?? DYN, only.result);
    return {
      type,
      run: this.#placed(node, (machine) => {
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

  #checkLiterals(forms: readonly Overload[], args: readonly Node[]): void {
    for (const [n, arg] of args.entries()) {
      if (arg.op !== "value" || typeof arg.args !== "string") continue;
      for (const { literals } of forms) {
        const fault = literals?.[n]?.(arg.args) ?? null;
        if (fault !== null) this.#fail("E062", fault, arg);
      }
    }
  }

  #unknownFunction(
    node: NodeOf<"call" | "rcall">,
    name: string,
    target: Node | null,
    args: readonly Node[],
  ): never {
    const isMethod = target !== null;
    const other = overloadsOf(name, !isMethod).length > 0;
    const macros = isMethod ? Object.keys(MACROS) : ["has", "default", "agents"];
    const help =
      OTHER_FUNCTIONS[name] ??
      (isMethod && (other || macros.includes(name) || name === "has" || name === "default")
        ? `write ${name}(${[target, ...args].map((arg) => this.#text(arg)).join(", ")})`
        : other || Object.hasOwn(MACROS, name)
          ? `write ${args[0] === undefined ? "value" : this.#text(args[0])}.${name}(${args
              .slice(1)
              .map((arg) => this.#text(arg))
              .join(", ")})`
          : didYouMean(name, [...functionNames(isMethod), ...macros]));
    const start = target === null ? node.start : this.#source.indexOf(name, target.end);
    const place = { start, end: start + name.length };
    if (macros.includes(name) || name === "has" || name === "default") {
      const form = MACRO_FORMS[name] ?? "";
      this.#fail("E062", `${name} is not used like this`, place, `write ${form}`);
    }
    this.#fail("E063", `there is no function "${name}"`, place, help);
  }

  /** Whether a member exists: of a reference, everything on the way to it may be missing as well. */
  #has(arg: Node): Code {
    if (arg.op !== "." && arg.op !== "[]") {
      this.#fail("E062", "has asks for a member", arg, "such as has(tasks.extract.outputs.rows)");
    }
    const { run } = this.visit(arg);
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

  #default(value: Node, other: Node): Code {
    const [first, second] = [this.visit(value), this.visit(other)];
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
  #agents(node: NodeOf<"call">, args: readonly Node[]): Code {
    if (!this.#scope.knowsAgents) {
      const help = "write it in foreach, matrix or when";
      this.#fail("E064", "agents(…) is known to the principal only", node, help);
    }
    const [labelsNode, ...others] = args;
    const labels = labelsNode === undefined ? null : this.visit(labelsNode);
    const isUsable = labels === null || fits(labels.type, mapOf(STRING, DYN));
    if (others.length > 0 || !isUsable) {
      const message =
        others.length > 0
          ? `agents has ${args.length} arguments here`
          : `agents cannot be used with ${aType(labels?.type ?? DYN)}`;
      this.#fail("E062", message, node, 'write agents({"role": "web"}), or agents() for all');
    }
    const all = this.#read({ reference: AGENTS, type: listOf(mapOf(STRING, DYN)) }, node);
    return {
      type: all.type,
      run: this.#placed(node, (machine) => {
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

  #macro(name: string, target: Node, variable: string, bodies: readonly Node[]): Code {
    const range = this.visit(target);
    if (range.type.kind !== "list" && range.type.kind !== "map" && range.type.kind !== "dyn") {
      this.#fail("E062", `${name} works on lists and maps, not on ${aType(range.type)}`, target);
    }
    const of = range.type.kind === "list" ? range.type.of : range.type.kind === "map" ? range.type.key : DYN;
    const depth = this.#variables.length;
    this.#variables.push({ name: variable, type: of });
    const before = this.#parts;
    const codes = bodies.map((body) => this.visit(body));
    const cost = this.#parts - before + 1;
    this.#variables.pop();
    const [first, second] = codes;
    const [body] = bodies;
    if (first === undefined || body === undefined) throw new Error("a macro has a body");
    const targetText = this.#text(target);
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
      const [test, value] = second === undefined ? [null, first] : [this.#bool(first, body), second];
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
    const test = this.#bool(first, body);
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

  /** Adds the place of a part to the faults of its evaluation. */
  #placed({ start, end }: Place, run: Run): Run {
    return (machine) => {
      try {
        return run(machine);
      } catch (error) {
        if (error instanceof Fault) throw new ExpressionError(error.message, start, end, error.help);
        throw error;
      }
    };
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

interface Place {
  readonly start: number;
  readonly end: number;
}

const constant = (type: CelType, value: Value): Code => ({ type, run: () => value });

const isOutput = ({ reference, type }: Code): boolean => reference?.root === "tasks" && type.kind === "dyn";
const isNumberOrBool = ({ kind }: CelType): boolean => ["int", "uint", "double", "bool"].includes(kind);

/** No operator hides it: it is not about a value. */
function isFinal(error: unknown): boolean {
  return error instanceof TooManyStepsError || !(error instanceof ExpressionError);
}

/** The key of a map that a value stands for; undefined if it stands for none. */
function keyOf(value: Value): Key | undefined {
  switch (typeof value) {
    case "string":
    case "bigint":
    case "boolean":
      return value;
    case "number":
      return Number.isInteger(value) ? BigInt(value) : undefined;
    default:
      return value instanceof Uint ? value.value : undefined;
  }
}

/** The place in a list that a value stands for; undefined if it is not a whole number. */
function placeOf(value: Value): number | undefined {
  const key = typeof value === "boolean" ? undefined : keyOf(value);
  return typeof key === "bigint" ? Number(key) : undefined;
}

/** Whether a value is of a type, as functions take it: what is in lists and maps is looked at by whoever uses it. */
function isOf(value: Value, { kind }: CelType): boolean {
  return kind === "dyn" || kindOf(value) === kind;
}

/** A value in messages. */
function shown(value: Value): string {
  if (typeof value === "string")
    return JSON.stringify(value.length > 60 ? `${value.slice(0, 60).toWellFormed()}…` : value);
  return typeof value === "bigint" || typeof value === "boolean" || typeof value === "number"
    ? textOf(value)
    : kindName(value);
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
