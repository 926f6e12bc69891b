/** How agents and the principal name an attempt to each other. */
import type { AttemptRecord } from "../../storage/operational.ts";

/** Which attempt of which run. */
export type AttemptName = Pick<AttemptRecord, "workflow_instance_id" | "attempt">;

/** The name as one text. */
export function nameOf(attempt: AttemptName): string {
  return `${attempt.workflow_instance_id} ${attempt.attempt}`;
}
