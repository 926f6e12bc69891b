/** How agents and the principal name an attempt to each other. */
import type { AttemptName } from "../../storage/operational/store.ts";

export type { AttemptName };

/** The name as one text. */
export function nameOf(attempt: AttemptName): string {
  return `${attempt.workflow_instance_id} ${attempt.attempt}`;
}
