/**
 * The typed errors of cdktr. Each knows its exit status (DESIGN: 0 success, 1 internal error or the run did not complete,
 * 2 usage, 3 unreachable, 4 not found or invalid) and the reply it becomes on the wire.
 */

/** The kind of an error reply. */
export type ErrorReplyKind = "CLIENTERROR" | "UNPROC" | "SERVERERROR";

/** Base class of every error that is expected to reach a user. `hint` says what to do next. */
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

/** Wrong use of the command line. */
export class UsageError extends CdktrError {
  override readonly exitCode = 2;
  override readonly reply = "CLIENTERROR";
}

/** A setting whose value cannot be parsed or is out of bounds. */
export class ConfigError extends CdktrError {
  override readonly exitCode = 2;
}

/** The principal did not reply in time. */
export class PrincipalUnreachableError extends CdktrError {
  override readonly exitCode = 3;
  override readonly reply = "UNPROC";
}

/** The named thing does not exist. */
export class NotFoundError extends CdktrError {
  override readonly exitCode = 4;
  override readonly reply = "CLIENTERROR";
}

/** Input that can never be accepted. */
export class InvalidInputError extends CdktrError {
  override readonly exitCode = 4;
  override readonly reply = "CLIENTERROR";
}

/** Valid, but not possible now (wrong state, resource unavailable); a later retry may succeed. */
export class UnprocessableError extends CdktrError {
  override readonly exitCode = 1;
  override readonly reply = "UNPROC";
}

/** Not possible yet: the client should repeat the request, which will eventually succeed or be refused. Not a failure of the principal. */
export class NotYetError extends CdktrError {}

/** The message of anything thrown. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
