/** Transactions of a lake that another one was faster than. */
import { errorMessage } from "../../errors.ts";

/** How often a transaction is tried again that was in conflict with another one, such as that of the upkeep. */
const TRIES = 10;

/**
 * Does it again after a conflict: nothing has changed then.
 * @throws errors of `work`
 */
export async function repeated<T>(work: () => Promise<T>): Promise<T> {
  for (let tries = TRIES; ; tries--) {
    try {
      return await work();
    } catch (error) {
      if (tries === 0 || !isConflict(error)) throw error;
    }
  }
}

/** Does a work when those before it are done. */
export type InTurn = <T>(work: () => Promise<T>) => Promise<T>;

/** Turns: of two transactions of one history at once that change the same rows, only one could commit. */
export function turns(): InTurn {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const done = last.then(work);
    last = done.catch(() => {});
    return done;
  };
}

/** Whether another transaction was faster, so that nothing of this one was committed: in DuckLake's words, or in PostgreSQL's. */
function isConflict(error: unknown): boolean {
  return /Transaction conflict|could not serialize access|maximum retry count|Failed to delete flushed inlined data/i.test(
    errorMessage(error),
  );
}
