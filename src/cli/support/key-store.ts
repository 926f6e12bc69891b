/** The principal's keys on this host, for the commands that manage them: they work on its files. */

import { CLIENT_ROLES, type ClientRole } from "../../contract/roles.ts";
import { UsageError } from "../../errors.ts";
import { KeyStore } from "../../protocol/doors/key-store.ts";
import { audited, type Deed } from "./audited.ts";
import { settings } from "./connect.ts";

/** `--data-dir`, the same as the principal's. */
export const dataDirArg = {
  "data-dir": {
    type: "string",
    valueHint: "DIR",
    description: "The principal's data directory (else CDKTR_APP_DATA_DIRECTORY)",
  },
} as const;

/** The keys in the configured data directory. */
export function keyStore(dataDirectory: string | undefined): KeyStore {
  return new KeyStore(dataDirectoryOf(dataDirectory));
}

function dataDirectoryOf(dataDirectory: string | undefined): string {
  return settings(undefined, { CDKTR_APP_DATA_DIRECTORY: dataDirectory }).values.CDKTR_APP_DATA_DIRECTORY;
}

/**
 * Changes the keys in the configured data directory, and records that there.
 * @param done what is known afterwards
 */
export function changeKeys<T>(
  dataDirectory: string | undefined,
  deed: Deed,
  change: (store: KeyStore) => T,
  done?: (result: T) => Partial<Deed>,
): T {
  const data = dataDirectoryOf(dataDirectory);
  return audited(data, deed, () => change(new KeyStore(data)), done);
}

/**
 * Reads `--role`.
 * @throws UsageError when there is no such role
 */
export function roleOf(text: string): ClientRole {
  const role = CLIENT_ROLES.find((known) => known === text);
  if (role !== undefined) return role;
  throw new UsageError(`--role ${text}: the roles are ${CLIENT_ROLES.join(", ")}.`);
}
