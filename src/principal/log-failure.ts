/** Logs failures of background work. */
import type { ConsolaInstance } from "consola";
import { errorMessage, NotYetError } from "../errors.ts";
import { StoreUnavailableError } from "../storage/operational/store.ts";

/**
 * Logs a failure that will be retried. A failing disk is logged once by the operational state itself: its repeated consequences are
 * only logged at debug level.
 */
export function logFailure(log: ConsolaInstance, what: string, error: unknown): void {
  const text = `${what}: ${errorMessage(error)}`;
  if (error instanceof StoreUnavailableError || error instanceof NotYetError) log.debug(text);
  else log.error(text);
}
