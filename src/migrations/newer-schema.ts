/** A database that a newer cdktr has migrated. */
import { VERSION } from "../build-facts.ts";
import { CdktrError } from "../errors.ts";

/** What a step says of itself to programs that do not know it. */
export interface Additive {
  /**
   * A program that knows only the schema before can go on working with the file: there are new tables and indexes, and columns with
   * a default in tables whose rows are written by the names of their columns, and what they hold may be missing.
   */
  readonly isAdditive?: true;
}

/** The oldest schema whose programs can work with the file after `steps`, the first of which makes schema 1. */
export function oldestReader(steps: readonly Additive[]): number {
  return steps.findLastIndex(({ isAdditive }) => isAdditive !== true) + 1;
}

/** A change of a database's schema, as the database remembers it. */
export interface SchemaChange {
  /** The schema after it. */
  readonly version: number;
  /** The cdktr that made it; null when it did not say. */
  readonly cdktr: string | null;
  /** The copy that was made before; null for a new database. */
  readonly backup: string | null;
  /** The oldest schema whose programs can work with it. */
  readonly oldest_reader: number;
}

/** Whether a program that knows schema `known` can work with a file of schema `found`: only when the file says so itself. */
export function canRead(known: number, found: number, changes: readonly SchemaChange[]): boolean {
  const last = changes.at(-1);
  return last !== undefined && last.version === found && last.oldest_reader <= known;
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
