import type { Problem } from "../field.ts";

/** A problem with its place: offsets in the source of an expression, or in a template. */
export type PlacedProblem = Problem & { readonly start: number; readonly end: number };

/** What is wrong with an expression, before it is evaluated. */
export class ExpressionProblem extends Error {
  constructor(readonly problem: PlacedProblem) {
    super(problem.message);
  }
}
