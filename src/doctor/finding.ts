/** Findings of the doctor. */

/** A warning will cause trouble some day; an error keeps something from working. */
export type Severity = "ok" | "warning" | "error";

/** The result of one check. */
export interface Finding {
  /** Name of the check in one word: `clock`, `disk`. */
  readonly check: string;
  readonly severity: Severity;
  /** What was found. */
  readonly message: string;
  /** Why that matters; null when nothing is wrong. */
  readonly why: string | null;
  /** How to fix it, with the command if there is one; null when nothing is wrong. */
  readonly remedy: string | null;
}

/** Nothing is wrong. */
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
