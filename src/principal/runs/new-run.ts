/** What a run is created from. */
import type { Blob } from "../../contract/messages.ts";
import type { RunRecord, TaskRunRecord } from "../../storage/operational/store.ts";
import { DEFAULT_PRIORITY } from "../../workflow/limits.ts";

/** What a run has to do with limits, schedules and backfills; by default nothing. */
type Limits = Pick<
  RunRecord,
  "group_key" | "group_max" | "on_conflict" | "priority" | "rank_ms" | "schedule" | "backfill_id"
>;

/** A run to be created. */
export interface NewRun extends Partial<Limits> {
  readonly workflow_instance_id: string;
  readonly workflow_id: string;
  readonly workflow_name: string;
  readonly definition_hash: string;
  /** JSON of the definition. */
  readonly definition: string;
  readonly params: Readonly<Record<string, string>>;
  /** What the event offered that triggers it, as far as its expressions read it; by default nothing. */
  readonly event?: Readonly<Record<string, string>> | null;
  readonly trigger: string;
  readonly scheduled_time_ms: number | null;
  readonly retry_of: string | null;
  /** Whether it retries that run from its beginning; by default not. */
  readonly from_start?: boolean;
  /** Who triggers it: the name of a key, or of a user; nobody by default. */
  readonly actor?: string | null;
  readonly trigger_depth: number;
  /** The run, and the node of its task, that starts it, and how many runs it is nested in then; by default none. */
  readonly parent_run?: string;
  readonly parent_task?: string;
  readonly depth?: number;
  /** The context of the trace that its trigger is part of; by default none. */
  readonly traceparent?: string | null;
  /** The agent, and its process, that has begun it by itself, and when, ms since the epoch; by default it waits for an agent. */
  readonly begun?: { readonly agent_id: string; readonly session_id: string; readonly at_ms: number };
  /** When it starts, ms since the epoch; at once by default. */
  readonly start_at_ms?: number | null;
  readonly tasks_total: number;
  /** The files of its workflow, packed; none by default. */
  readonly bundle?: Blob | null;
  /** Tasks that need not run again, as they ended; copied from the run that this one retries. */
  readonly carried: readonly TaskRunRecord[];
  /** The run whose items of fan-outs need not run again; none by default. */
  readonly items_of?: string | null;
  /** Those fan-outs, and the items of them that run again all the same, by their nodes. */
  readonly fan_outs?: readonly string[];
  readonly not_items?: readonly string[];
  /** Tasks that do not run, and why; by default none. */
  readonly skipped?: readonly { readonly task: string; readonly reason: string }[];
  /** What items published that only the history had, as JSON, by their task runs. */
  readonly item_outputs?: ReadonlyMap<string, string>;
}

/** Those of a run that is created, and is not held yet. @param group the one that it belongs to; null for what it was created with */
export function limitsOf(
  fresh: NewRun,
  group: Pick<RunRecord, "group_key" | "group_max" | "on_conflict"> | null,
): Limits & Pick<RunRecord, "hold" | "admitted" | "cancel_reason"> {
  const { group_key = null, group_max = null, on_conflict = null } = group ?? fresh;
  return {
    hold: null,
    group_key,
    group_max,
    on_conflict,
    admitted: false,
    priority: fresh.priority ?? DEFAULT_PRIORITY,
    rank_ms: fresh.rank_ms ?? null,
    schedule: fresh.schedule ?? null,
    backfill_id: fresh.backfill_id ?? null,
    cancel_reason: null,
  };
}
