/** What compiled parts of expressions are, and what compiling them shares. */
import type { Node } from "./cel.ts";
import { ExpressionError, Fault, type Machine, NoValueError, TooManyStepsError } from "./machine.ts";
import { ExpressionProblem, type PlacedProblem } from "./problem.ts";
import type { Found, Reference } from "./references.ts";
import type { Scope } from "./scope.ts";
import { aType, type CelType } from "./types.ts";
import { type Key, kindName, textOf, Uint, type Value } from "./values.ts";

/** Gives the values of references while an expression is evaluated. */
export interface Source {
  /** The value, or the reason for which there is none. */
  read(
    reference: Reference,
    charge: (count: number) => void,
  ): { readonly value: Value } | { readonly missing: string };
}

/** Evaluates a part. */
export type Run = (machine: Machine<Source>) => Value;

/** A compiled part of an expression. */
export interface Code {
  readonly type: CelType;
  readonly run: Run;
  /** What it reads, if it is nothing but that. */
  readonly reference?: Reference;
}

/** A variable of a macro. */
export interface Variable {
  readonly name: string;
  readonly type: CelType;
}

/** A part with this operator. */
export type NodeOf<O extends Node["op"]> = Extract<Node, { op: O }>;

/** Offsets in the source. */
export interface Place {
  readonly start: number;
  readonly end: number;
}

/** The compilation of one expression. */
export abstract class Compiling {
  readonly reads = new Map<string, Reference>();
  readonly warnings: PlacedProblem[] = [];
  /** The variables of the macros around the part that is compiled. */
  readonly variables: Variable[] = [];
  /** Number of parts that were compiled. */
  parts = 0;

  constructor(
    readonly source: string,
    readonly scope: Scope,
  ) {}

  /** Compiles a part. @throws ExpressionProblem */
  abstract visit(node: Node): Code;

  fail(code: "E061" | "E062" | "E063" | "E064", message: string, node: Place, help?: string): never {
    const { start, end } = node;
    throw new ExpressionProblem({ code, message, ...(help === undefined ? {} : { help }), start, end });
  }

  text({ start, end }: Place): string {
    return this.source.slice(start, end);
  }

  read({ reference, type }: Found, node: Node): Code {
    this.reads.set(JSON.stringify(reference), reference);
    const { start, end } = node;
    const text = this.text(node);
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

  /** A part that must be true or false. */
  bool({ type, run }: Code, node: Node): (machine: Machine<Source>) => boolean {
    if (type.kind !== "bool" && type.kind !== "dyn") {
      this.fail("E062", `${this.text(node)} must be true or false, but is ${aType(type)}`, node);
    }
    const { start, end } = node;
    const text = this.text(node);
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

  /** Adds the place of a part to the faults of its evaluation. */
  placed({ start, end }: Place, run: Run): Run {
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

/** A value that is known already. */
export const constant = (type: CelType, value: Value): Code => ({ type, run: () => value });

/** Whether it is what a task published, whose type is not known. */
export const isOutput = ({ reference, type }: Code): boolean =>
  reference?.root === "tasks" && type.kind === "dyn";

/** No operator hides it: it is not about a value. */
export function isFinal(error: unknown): boolean {
  return error instanceof TooManyStepsError || !(error instanceof ExpressionError);
}

/** The key of a map that a value stands for; undefined if it stands for none. */
export function keyOf(value: Value): Key | undefined {
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

/** A value in messages. */
export function shown(value: Value): string {
  if (typeof value === "string")
    return JSON.stringify(value.length > 60 ? `${value.slice(0, 60).toWellFormed()}…` : value);
  return typeof value === "bigint" || typeof value === "boolean" || typeof value === "number"
    ? textOf(value)
    : kindName(value);
}
