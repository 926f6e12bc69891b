/** The state of a directory that was moved into PostgreSQL: it is kept under another name, and no principal begins a new one beside it. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { UsageError } from "../../errors.ts";

/** The state of one principal, and the name under which it is kept once it was moved. */
export const STATE_FILE = "state.db";
export const MOVED_FILE = `${STATE_FILE}.moved`;

/**
 * Refuses to begin a new state where the former one was moved into PostgreSQL.
 * @throws UsageError
 */
export function refuseMoved(directory: string): void {
  const moved = join(directory, MOVED_FILE);
  if (existsSync(join(directory, STATE_FILE)) || !existsSync(moved)) return;
  throw new UsageError(`The state of this principal was moved into PostgreSQL ('cdktr db move').`, {
    hint: `Set CDKTR_STORE_URL. To have one principal again, with what happened since: cdktr db move --to file. Without that, as of the move: rename ${moved} to ${STATE_FILE}.`,
  });
}
