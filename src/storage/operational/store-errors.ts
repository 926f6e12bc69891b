/** Tells the errors of the operational state from those of the code that uses it. */
import { SQLiteError } from "bun:sqlite";
import { NestedUnitError, StateConflictError, StoreUnavailableError } from "./store.ts";

/**
 * Whether an operation of a unit of work failed: the unit must not go on then. Inside of a unit, the errors of the database are not
 * converted yet.
 */
export function isStoreError(error: unknown): boolean {
  return [SQLiteError, StoreUnavailableError, StateConflictError, NestedUnitError].some(
    (kind) => error instanceof kind,
  );
}
