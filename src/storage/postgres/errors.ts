/** How a statement can fail on PostgreSQL, by what is known of its outcome. */
import { CdktrError } from "../../errors.ts";

/** The SQLSTATEs of refusals that somebody has to do something about. */
const LASTING = /^(28|3D|42501)/;

/** Whether a server says that it will not let cdktr in later either: the user, password, database or permissions are wrong. */
export function isLasting(why: unknown): boolean {
  if (!(why instanceof Error)) return false;
  const { errno } = why as { errno?: unknown };
  return (typeof errno === "string" && LASTING.test(errno)) || isLasting(why.cause);
}

/** A statement, or a connection, of PostgreSQL failed. */
abstract class PostgresFailure extends CdktrError {}

/** There is no connection: the statement was not sent, and nothing was done. A later try may succeed. */
export class PostgresUnavailableError extends PostgresFailure {
  override readonly reply = "UNPROC";
}

/** The statement was sent, and its answer has not come: it may have been carried out, or may be even later. */
export class OutcomeUnknownError extends PostgresFailure {
  override readonly reply = "UNPROC";
}

/** PostgreSQL answered that it does not carry the statement out: nothing was done. */
export class PostgresRefusedError extends PostgresFailure {
  /** The SQLSTATE. */
  readonly code: string;

  constructor(message: string, options: { code: string; cause?: unknown; hint?: string }) {
    super(message, options);
    this.code = options.code;
  }
}
