/** What the doctor says. */

/** How bad it is: a warning will hurt some day, an error keeps something from working. */
export type Severity = "ok" | "warning" | "error";

/** One thing that was looked at. */
export interface Finding {
  /** What was looked at, in a word: `clock`, `disk`. */
  readonly check: string;
  readonly severity: Severity;
  /** What was found. */
  readonly message: string;
  /** Why that matters; null when all is well. */
  readonly why: string | null;
  /** What to do about it, with the command where there is one; null when nothing is to be done. */
  readonly remedy: string | null;
}

/** All is well. */
export function ok(check: string, message: string): Finding {
  return { check, severity: "ok", message, why: null, remedy: null };
}

/** It works, but not well, or not for long. */
export function warning(check: string, message: string, why: string, remedy: string): Finding {
  return { check, severity: "warning", message, why, remedy };
}

/** It does not work. */
export function failure(check: string, message: string, why: string, remedy: string): Finding {
  return { check, severity: "error", message, why, remedy };
}
