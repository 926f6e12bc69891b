/**
 * The typed errors of cdktr. Each knows the exit status of the command line (DESIGN: 0 done, 1 internal or
 * the run did not complete, 2 usage, 3 unreachable, 4 not found or invalid) and the reply it becomes on the wire.
 */

/** The head of an error reply: whose fault it is. */
export type ErrorReplyKind = "CLIENTERROR" | "UNPROC" | "SERVERERROR";

/** Base of every error that is expected to reach a person. `hint` says what to do next. */
export class CdktrError extends Error {
  readonly exitCode: number = 1;
  readonly reply: ErrorReplyKind = "SERVERERROR";
  readonly hint: string | undefined;

  constructor(message: string, options?: { cause?: unknown; hint?: string }) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.hint = options?.hint;
  }
}

/** The command line was used wrongly. */
export class UsageError extends CdktrError {
  override readonly exitCode = 2;
  override readonly reply = "CLIENTERROR";
}

/** A setting has a value that does not parse or is out of bounds. */
export class ConfigError extends CdktrError {
  override readonly exitCode = 2;
}

/** No answer came from the principal in time. */
export class PrincipalUnreachableError extends CdktrError {
  override readonly exitCode = 3;
  override readonly reply = "UNPROC";
}

/** What was named does not exist. */
export class NotFoundError extends CdktrError {
  override readonly exitCode = 4;
  override readonly reply = "CLIENTERROR";
}

/** Input that can never be accepted as it is. */
export class InvalidInputError extends CdktrError {
  override readonly exitCode = 4;
  override readonly reply = "CLIENTERROR";
}

/** Valid, but cannot be done now (wrong state, resource away); a later repeat may succeed. */
export class UnprocessableError extends CdktrError {
  override readonly exitCode = 1;
  override readonly reply = "UNPROC";
}

/** The text of anything thrown. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
