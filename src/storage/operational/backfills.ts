/** Backfills in the operational state: their records, and what is done with them. */
import type { RunStatus } from "../../workflow/status.ts";
import type { BackfillState } from "./backfill-state.ts";
import type { RunRecord } from "./records.ts";

/** A backfill. Its runs are runs like others; each of its firings that is done with has a {@link BackfillFiring}. */
export interface BackfillRecord {
  readonly backfill_id: string;
  readonly workflow_id: string;
  /** Hash of the definition when it was created. */
  readonly definition_hash: string;
  /** JSON: its plan, in the words of whoever created it, and the calendars that this needs; null for none. */
  readonly entries: string;
  readonly calendars: string | null;
  /** The bounds of all entries, both inclusive, ms since the epoch. */
  readonly from_ms: number;
  readonly to_ms: number;
  readonly is_reverse: boolean;
  readonly reprocess: string;
  /** How many of its runs may be under way at once. */
  readonly max_active: number;
  /** Null: it follows from that of the workflow. */
  readonly priority: number | null;
  readonly params: Readonly<Record<string, string>>;
  readonly actor: string | null;
  readonly state: BackfillState;
  /** The last firing that is done with; null for none. */
  readonly cursor_ms: number | null;
  readonly cursor_entry: string | null;
  /** How many firings it has. */
  readonly total: number;
  /** Why it does not go on; null if nothing is in its way. */
  readonly note: string | null;
  readonly created_at_ms: number;
  /** When it was over, with all its runs; null before. */
  readonly finished_at_ms: number | null;
}

/** What may change of a backfill. */
type BackfillStep = Partial<
  Pick<BackfillRecord, "state" | "cursor_ms" | "cursor_entry" | "note" | "finished_at_ms">
>;

/** How a firing of a backfill has ended: with its run, or PRESENT: it had one before. */
export type FiringOutcome = RunStatus | "PRESENT";

/** A firing that a backfill is done with: it has its run, or needs none. */
export interface BackfillFiring {
  readonly scheduled_time_ms: number;
  /** The key of its entry. */
  readonly entry: string;
  /** Null for one whose run is not known any more. */
  readonly workflow_instance_id: string | null;
  /** Null while its run is not over. */
  readonly outcome: FiringOutcome | null;
}

/** Identifies a firing within a backfill. */
type FiringKey = Pick<BackfillFiring, "scheduled_time_ms" | "entry">;

/** Backfills and their firings. */
export interface BackfillIntentions {
  addBackfill(backfill: BackfillRecord): Promise<void>;
  /** The one with this id, or those whose ids begin with it, up to `limit`. */
  findBackfills(idOrPrefix: string, limit: number): Promise<BackfillRecord[]>;
  /** Newest first. @param filter.open only those that are not over, of which no page is needed */
  listBackfills(filter: { limit: number; workflow_id?: string; open?: boolean }): Promise<BackfillRecord[]>;
  /** Changes a backfill whose state and cursor are unchanged since it was read. Returns the new state. */
  changeBackfill(backfill: BackfillRecord, to: BackfillStep): Promise<BackfillRecord>;
  /** Adds firings that it is done with. */
  addFirings(backfillId: string, firings: readonly BackfillFiring[]): Promise<void>;
  /** A run is over: so is its firing. */
  endFiring(
    run: Pick<RunRecord, "backfill_id" | "scheduled_time_ms" | "workflow_instance_id" | "status">,
  ): Promise<void>;
  /** How many firings have each outcome. */
  countFirings(backfillId: string): Promise<{ outcome: FiringOutcome | null; firings: number }[]>;
  /** In the order of their times. @param filter.outcome null for those whose runs are not over */
  listFirings(
    backfillId: string,
    filter: { limit: number; outcome?: FiringOutcome | null; after?: FiringKey },
  ): Promise<BackfillFiring[]>;
  /** Firings whose runs are over, or not known any more, although nobody has told: an older cdktr ended them. */
  untoldFirings(
    backfillId: string,
    limit: number,
  ): Promise<(BackfillFiring & { readonly status: RunStatus | null })[]>;
  /** Number of its runs that are not over. */
  countBackfillRuns(backfillId: string): Promise<number>;
  /** Its runs that are not over, and that nothing stops already, oldest first. */
  backfillRuns(backfillId: string, limit: number): Promise<RunRecord[]>;
  /** The runs of a workflow that have one of these times in its schedule. */
  runsAt(workflowId: string, timesMs: readonly number[]): Promise<RunRecord[]>;
  /** The run that has an idempotency key; null for none. */
  keyHolder(key: string): Promise<string | null>;
  /** The median of what the newest completed runs of a workflow took, so many, ms; null for none. */
  medianDuration(workflowId: string, among: number): Promise<number | null>;
  /** When its runs ended that were made last, so many, ms since the epoch. */
  endsOfBackfill(
    backfill: Pick<BackfillRecord, "backfill_id" | "workflow_id">,
    among: number,
  ): Promise<number[]>;
  /** Removes backfills that were over before. Does a bounded amount of work; returns whether there may be more. */
  forgetBackfills(beforeMs: number): Promise<boolean>;
}
