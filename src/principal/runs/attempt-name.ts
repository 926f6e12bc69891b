/** How agents and the principal identify an attempt of a run, or of a slice of it. */
import type { AttemptName } from "../../storage/operational/store.ts";

export type { AttemptName };

/** The identifier as agents give it. */
export function inFull<T extends Omit<AttemptName, "slice">>(attempt: T): T & AttemptName {
  return { slice: 0, ...attempt };
}

/** The identifier as text. */
export function nameOf(attempt: AttemptName): string {
  return `${attempt.workflow_instance_id} ${attempt.slice} ${attempt.attempt}`;
}
