/** Handling of a database that was migrated by a newer cdktr. */
import { VERSION } from "../build-facts.ts";
import { CdktrError } from "../errors.ts";

/** What a migration step declares for programs that do not know it. */
export interface Additive {
  /**
   * Programs that know only the previous schema can still use the file: the step only adds tables, indexes, and columns with a default
   * to tables whose rows are inserted by column name, and the new data may be missing.
   */
  readonly isAdditive?: true;
}

/** The oldest schema whose programs can use the file after `steps`, the first of which creates schema 1. */
export function oldestReader(steps: readonly Additive[]): number {
  return steps.findLastIndex(({ isAdditive }) => isAdditive !== true) + 1;
}

/** A schema change, as recorded in the database. */
export interface SchemaChange {
  /** The schema version after it. */
  readonly version: number;
  /** The cdktr that made it; null if unknown. */
  readonly cdktr: string | null;
  /** The backup made before it; null for a new database. */
  readonly backup: string | null;
  /** The oldest schema whose programs can use the file. */
  readonly oldest_reader: number;
}

/** Whether a program that knows schema `known` can use a file with schema `found`: only if the file says so. */
export function canRead(known: number, found: number, changes: readonly SchemaChange[]): boolean {
  const last = changes.at(-1);
  return last !== undefined && last.version === found && last.oldest_reader <= known;
}

/** This cdktr is too old for a database. A restart cannot fix that, so the exit status is one after which systemd does not restart it. */
export class NewerSchemaError extends CdktrError {
  override readonly exitCode = 2;
}

/**
 * The message for a database whose schema is newer than `known`.
 * @param changes the recorded changes, in order
 */
export function newerSchema(
  file: string,
  known: number,
  found: number,
  changes: readonly SchemaChange[],
): { message: string; hint: string } {
  const writer = changes.at(-1)?.cdktr ?? null;
  // The backup made when the schema first went beyond what this cdktr knows.
  const backup = changes.find(({ version }) => version > known)?.backup ?? null;
  return {
    message: `${file} was written by a newer cdktr${writer === null ? "" : `, ${writer}`} (schema ${found}; this one, ${VERSION}, knows ${known}).`,
    hint:
      `Use ${writer === null ? "that version" : `cdktr ${writer}`} again.` +
      (backup === null
        ? ""
        : ` To go back to this one, put the backup from before the upgrade in its place: ${backup}. It lacks everything since then: see 'cdktr docs operations', Upgrades.`),
  };
}
