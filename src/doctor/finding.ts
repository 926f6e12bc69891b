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
  /** What to do about it; null when nothing is to be done. */
  readonly remedy: string | null;
}

/** All is well. */
export function ok(check: string, message: string): Finding {
  return { check, severity: "ok", message, remedy: null };
}

/** It works, but not well, or not for long. */
export function warning(check: string, message: string, remedy: string): Finding {
  return { check, severity: "warning", message, remedy };
}

/** It does not work. */
export function failure(check: string, message: string, remedy: string): Finding {
  return { check, severity: "error", message, remedy };
}
