/** The evaluation of one expression: how much work it may do, and how it fails. */

/** The most steps of an evaluation: a step is a part of the expression each time it is evaluated, or some data that is worked through. */
const MAX_STEPS = 1_000_000;
/** Characters of text, and values of JSON, that are worked through in one step. */
const CHARACTERS_A_STEP = 100;

/** Why an expression has no value. Offsets are those in the source of the expression. */
export class ExpressionError extends Error {
  constructor(
    message: string,
    readonly start: number,
    readonly end: number,
    readonly help?: string,
  ) {
    super(message);
  }
}

/** Something that was asked for does not exist; `has` and `default` ask first. */
export class NoValueError extends ExpressionError {}

/** The evaluation took too many steps: no operator hides this error. */
export class TooManyStepsError extends ExpressionError {}

/** A function or an operator cannot do what it was asked for; whoever called it adds the place. */
export class Fault extends Error {
  constructor(
    message: string,
    readonly help?: string,
  ) {
    super(message);
  }
}

/** Counts the steps of an evaluation, and has the variables of its macros. */
export class Machine<Values> {
  #left = MAX_STEPS;
  /** The variables of the macros around the current part, by their depth. */
  readonly variables: unknown[] = [];

  constructor(readonly values: Values) {}

  /** Takes steps. @throws TooManyStepsError */
  readonly charge = (steps: number): void => {
    this.#left -= steps;
    if (this.#left < 0) {
      const message = `the expression took more than ${MAX_STEPS.toLocaleString("en")} steps`;
      throw new TooManyStepsError(message, 0, 0);
    }
  };

  /** Takes the steps of working through a text of this length. */
  readonly chargeText = (length: number): void => this.charge(length / CHARACTERS_A_STEP);
}
