/** Compiles an expression: checks its names and types, as far as they are known, and turns each part into a function that evaluates it. */
import { type Node, parseExpression } from "./cel.ts";
import { type Code, Compiling, constant, type NodeOf, type Run } from "./code.ts";
import { callCode, methodCode } from "./compile-calls.ts";
import { indexCode, listCode, mapCode, selectCode } from "./compile-members.ts";
import {
  arithmeticCode,
  conditionalCode,
  equalityCode,
  logicalCode,
  membershipCode,
  negativeCode,
  orderCode,
} from "./compile-operators.ts";
import { NAMED_TYPES } from "./functions.ts";
import type { PlacedProblem } from "./problem.ts";
import { type Reference, referenceAt } from "./references.ts";
import type { Scope } from "./scope.ts";
import { BOOL, BYTES, type CelType, DOUBLE, INT, NULL, STRING, TYPE, UINT } from "./types.ts";
import { MAX_INT, TypeValue, Uint, type Value } from "./values.ts";

export type { Source } from "./code.ts";

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

class Compiler extends Compiling {
  visit(node: Node): Code {
    this.parts++;
    switch (node.op) {
      case "value":
        return this.#literal(node);
      case "id":
        return this.#name(node);
      case ".":
        return this.#reference(node) ?? selectCode(this, node);
      case "[]":
        return this.#reference(node) ?? indexCode(this, node);
      case "call":
        return callCode(this, node);
      case "rcall":
        return methodCode(this, node);
      case "list":
        return listCode(this, node);
      case "map":
        return mapCode(this, node);
      case "?:":
        return conditionalCode(this, node);
      case "||":
      case "&&":
        return logicalCode(this, node);
      case "!_": {
        const run = this.bool(this.visit(node.args), node.args);
        return { type: BOOL, run: (machine) => !run(machine) };
      }
      case "-_":
        return negativeCode(this, node);
      case "==":
      case "!=":
        return equalityCode(this, node);
      case "<":
      case "<=":
      case ">":
      case ">=":
        return orderCode(this, node);
      case "in":
        return membershipCode(this, node);
      case "+":
      case "-":
      case "*":
      case "/":
      case "%":
        return arithmeticCode(this, node);
      default:
        return this.fail("E061", "this is not a part of expressions", node);
    }
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
        if (args > MAX_INT) this.fail("E061", `the whole number is too large: ${args}`, node);
        return constant(INT, args);
      default:
    }
    return args instanceof Uint8Array
      ? constant(BYTES, args)
      : constant(UINT, new Uint(BigInt(String(args))));
  }

  #name(node: NodeOf<"id">): Code {
    const depth = this.variables.findLastIndex(({ name }) => name === node.args);
    const variable = this.variables[depth];
    if (variable !== undefined) {
      return { type: variable.type, run: ({ variables }) => variables[depth] as Value };
    }
    if (!this.scope.roots.has(node.args) && NAMED_TYPES.has(node.args)) {
      return constant(TYPE, new TypeValue(node.args));
    }
    return this.#reference(node) ?? this.fail("E063", `"${node.args}" is unknown`, node);
  }

  #reference(node: Node): Code | null {
    const isVariable = (name: string): boolean => this.variables.some((variable) => variable.name === name);
    const found = referenceAt(node, this.source, this.scope, isVariable);
    return found === null ? null : this.read(found, node);
  }
}
