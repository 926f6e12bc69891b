/** A text with expressions, compiled. */
import { type CompiledExpression, compileExpression, type Source } from "./compile.ts";
import { ExpressionError, Machine } from "./machine.ts";
import { ExpressionProblem, type PlacedProblem } from "./problem.ts";
import type { Reference } from "./references.ts";
import type { Scope } from "./scope.ts";
import type { ScopeValues } from "./source.ts";
import { splitTemplate } from "./template.ts";
import { type CelType, STRING } from "./types.ts";
import { NoFormError, textOf, toJson, type Value } from "./values.ts";

/** A compiled text. Offsets in its problems are those in the text. */
export interface Compiled<Values = ScopeValues> {
  /** The type of its value: that of its expression if it is nothing but one, else a string. */
  readonly type: CelType;
  /** Whether it is nothing but one expression, whose value keeps its type. */
  readonly isWhole: boolean;
  /** The source of the expression if it is nothing but one, without blanks around it; else the text. */
  readonly source: string;
  /** What it reads, each once. */
  readonly reads: readonly Reference[];
  /** The ids of the tasks that it reads, each once. */
  readonly tasks: readonly string[];
  /** What is valid, and certainly not meant. */
  readonly warnings: readonly PlacedProblem[];
  /** What is wrong with it. If there is something, it cannot be evaluated. */
  readonly problems: readonly PlacedProblem[];
  /**
   * Its value as JSON.
   * @throws ExpressionError whose message names what has no value
   */
  evaluate(values: Values): unknown;
  /**
   * Its value as text: lists and maps are compact JSON.
   * @throws ExpressionError whose message names what has no value
   */
  text(values: Values): string;
}

type CompiledPart =
  | { readonly text: string }
  | (CompiledExpression & { readonly source: string; readonly offset: number });

/** Compiles a text for a scope. @param sourceOf reads values for an evaluation */
export function compileTemplate<Values = ScopeValues>(
  text: string,
  scope: Scope,
  sourceOf: (values: Values) => Source,
): Compiled<Values> {
  const problems: PlacedProblem[] = [];
  const parts: CompiledPart[] = [];
  try {
    for (const part of splitTemplate(text)) {
      if ("text" in part) parts.push(part);
      else {
        const compiled = compilePart(part.source, part.start, scope, problems);
        if (compiled !== null) parts.push({ ...compiled, source: part.source, offset: part.start });
      }
    }
  } catch (error) {
    if (!(error instanceof ExpressionProblem)) throw error;
    problems.push(error.problem);
  }
  const reads = uniqueBy(
    parts.flatMap((part) => ("text" in part ? [] : part.reads)),
    (reference) => JSON.stringify(reference),
  );
  const [first, ...others] = parts;
  const whole = first !== undefined && others.length === 0 && !("text" in first) ? first : undefined;
  const check = (): void => {
    const [problem] = problems;
    if (problem !== undefined)
      throw new ExpressionError(problem.message, problem.start, problem.end, problem.help);
  };
  return {
    type: whole?.type ?? STRING,
    isWhole: whole !== undefined,
    source: whole?.source.trim() ?? text,
    reads,
    tasks: [...new Set(reads.flatMap(({ root, name }) => (root === "tasks" && name !== null ? [name] : [])))],
    warnings: parts.flatMap((part) =>
      "text" in part
        ? []
        : part.warnings.map((warning) => ({
            ...warning,
            start: warning.start + part.offset,
            end: warning.end + part.offset,
          })),
    ),
    problems,
    evaluate: (values) => {
      check();
      if (whole === undefined) return joined(parts, sourceOf(values));
      return formed(whole.source, () => toJson(evaluated(whole, sourceOf(values))));
    },
    text: (values) => {
      check();
      return joined(parts, sourceOf(values));
    },
  };
}

function compilePart(
  source: string,
  offset: number,
  scope: Scope,
  problems: PlacedProblem[],
): CompiledExpression | null {
  try {
    return compileExpression(source, scope);
  } catch (error) {
    if (!(error instanceof ExpressionProblem)) throw error;
    const { start, end, ...problem } = error.problem;
    problems.push({ ...problem, start: start + offset, end: end + offset });
    return null;
  }
}

function joined(parts: readonly CompiledPart[], source: Source): string {
  return parts
    .map((part) => ("text" in part ? part.text : formed(part.source, () => textOf(evaluated(part, source)))))
    .join("");
}

function evaluated({ run }: CompiledExpression, source: Source): Value {
  return run(new Machine(source));
}

/** Gives a value its form outside, or says why it has none. */
function formed<T>(source: string, form: () => T): T {
  try {
    return form();
  } catch (error) {
    // Values are worked through by functions that call themselves.
    if (error instanceof RangeError)
      throw new ExpressionError("the values are too large, or nested too deeply", 0, source.length);
    if (!(error instanceof NoFormError)) throw error;
    throw new ExpressionError(`${source.trim()} ${error.message}`, 0, source.length);
  }
}

function uniqueBy<T>(values: readonly T[], keyOf: (value: T) => string): T[] {
  return [...new Map(values.map((value) => [keyOf(value), value])).values()];
}
