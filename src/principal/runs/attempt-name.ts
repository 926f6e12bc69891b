/** How agents and the principal identify an attempt of a run, or of a slice of it. */
import type { AttemptName } from "../../storage/operational/store.ts";

export type { AttemptName };

/** The identifier as text. */
export function nameOf(attempt: AttemptName): string {
  return `${attempt.workflow_instance_id} ${attempt.slice} ${attempt.attempt}`;
}
