/** A database that a newer cdktr has migrated. */
import { VERSION } from "./build-facts.ts";
import { CdktrError } from "./errors.ts";

/** A change of a database's schema, as the database remembers it. */
export interface SchemaChange {
  /** The schema after it. */
  readonly version: number;
  /** The cdktr that made it; null when it did not say. */
  readonly cdktr: string | null;
  /** The copy that was made before; null for a new database. */
  readonly backup: string | null;
}

/** This cdktr is too old for a database. No repetition heals it: the exit status is one after which systemd does not start it again. */
export class NewerSchemaError extends CdktrError {
  override readonly exitCode = 2;
}

/**
 * What to say of a database whose schema is newer than `known`.
 * @param changes what the database remembers, in order
 */
export function newerSchema(
  file: string,
  known: number,
  found: number,
  changes: readonly SchemaChange[],
): { message: string; hint: string } {
  const writer = changes.at(-1)?.cdktr ?? null;
  // The copy that was made when the schema left what this cdktr knows.
  const backup = changes.find(({ version }) => version > known)?.backup ?? null;
  return {
    message: `${file} was written by a newer cdktr${writer === null ? "" : `, ${writer}`} (schema ${found}; this one, ${VERSION}, knows ${known}).`,
    hint:
      `Use ${writer === null ? "that version" : `cdktr ${writer}`} again.` +
      (backup === null
        ? ""
        : ` To go back to this one, put the copy that was made before the upgrade in its place: ${backup}. What came since is not in it: 'cdktr docs operations', Upgrades.`),
  };
}
