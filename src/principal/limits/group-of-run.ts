/** The concurrency group of a run that is created. Pure. */
import { InvalidInputError } from "../../errors.ts";
import type { RunRecord } from "../../storage/operational/store.ts";
import { groupOf } from "../../workflow/group.ts";
import type { WorkflowDefinition } from "../../workflow/model.ts";
import type { RunWithFacts } from "../../workflow/run-facts.ts";

/** What of a run decides about its group. */
type Fresh = Omit<RunWithFacts, "attempt" | "created_at_ms"> & {
  readonly retry_of: string | null;
  readonly parent_run?: string;
  readonly backfill_id?: string | null;
};

type GroupOfRun = Pick<RunRecord, "group_key" | "group_max" | "on_conflict">;

/**
 * The group of a run. Runs that somebody asked for one by one always wait for a place: retries, those of backfills, and those that tasks
 * have started.
 * @param definition null if it cannot be read
 * @throws InvalidInputError if the name of the group cannot be computed
 */
export function groupOfRun(
  fresh: Fresh,
  definition: WorkflowDefinition | null,
  nowMs: number,
): GroupOfRun | null {
  if (definition?.concurrency === undefined) return null;
  const group = groupOf(definition, { ...fresh, attempt: 1, created_at_ms: nowMs });
  if (group === null) return null;
  if ("fail" in group)
    throw new InvalidInputError(`workflow "${definition.id}": ${group.fail}`, {
      hint: 'give the parameters from which the name of the group is computed other values, or write default(…, "NAME") in the file',
    });
  const isAskedFor = fresh.retry_of !== null || fresh.parent_run !== undefined || fresh.backfill_id != null;
  return {
    group_key: group.key,
    group_max: group.max,
    on_conflict: isAskedFor ? "queue" : group.on_conflict,
  };
}
