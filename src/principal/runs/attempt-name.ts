/** How agents and the principal identify an attempt. */
import type { AttemptName } from "../../storage/operational/store.ts";

export type { AttemptName };

/** The identifier as text. */
export function nameOf(attempt: AttemptName): string {
  return `${attempt.workflow_instance_id} ${attempt.attempt}`;
}
