/** How agents and the principal identify an attempt of a run, or of a slice of it. */
import type { AttemptName } from "../../storage/operational/store.ts";

export type { AttemptName };

/** The attempt, for messages about its run. */
export function textOf({ slice, attempt }: AttemptName): string {
  return `attempt ${attempt}${slice === 0 ? "" : ` at slice ${slice}`}`;
}

/** The identifier as text. */
export function nameOf(attempt: AttemptName): string {
  return `${attempt.workflow_instance_id} ${attempt.slice} ${attempt.attempt}`;
}
