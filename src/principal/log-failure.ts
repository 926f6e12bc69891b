/** How failures of background work are logged. */
import type { ConsolaInstance } from "consola";
import { errorMessage } from "../errors.ts";
import { StoreUnavailableError } from "../storage/operational/store.ts";

/**
 * Logs what failed and will be tried again. That the disk fails the operational state says itself, once: whoever stumbles over
 * it afterwards, again and again, is worth a line only to those who look closely.
 */
export function logFailure(log: ConsolaInstance, what: string, error: unknown): void {
  const text = `${what}: ${errorMessage(error)}`;
  if (error instanceof StoreUnavailableError) log.debug(text);
  else log.error(text);
}
