/** Failures of a task that do not make its run fail. */
import { z } from "zod";
import { exitCodes, hasExitCode } from "./exit-codes.ts";
import { Block, Field, type ValueOf } from "./field.ts";
import { flag } from "./scalars.ts";

const Codes = new Block({
  exit_codes: exitCodes().describe("Exit codes that are allowed; other failures are not"),
});

/** Which failures are allowed: any, or those with certain exit codes. */
type Allowed = true | ValueOf<typeof Codes>;

/** `true`, `false`, or a mapping with exit codes. */
export function allowFailure(): Field<Allowed | undefined> {
  // False is the default, which is not stored.
  const file = z.union([flag().file, Codes.file]).transform((allowed) => allowed || undefined);
  const stored = z.union([z.literal(true), Codes.stored]);
  return new Field<Allowed>(file as unknown as z.ZodType<Allowed>, stored as unknown as z.ZodType<Allowed>, {
    ...Codes.traits,
    noun: "true, false or {exit_codes: [...]}",
  }).sparse();
}

/**
 * Whether a failure of a task is allowed.
 * @param exitCode that of its last try; null if it ended otherwise, or did not start
 */
export function isAllowedFailure(
  { allow_failure: allowed }: { readonly allow_failure?: Allowed | undefined },
  exitCode: number | null,
): boolean {
  if (allowed === undefined) return false;
  return allowed === true || (exitCode !== null && hasExitCode(allowed.exit_codes, exitCode));
}
