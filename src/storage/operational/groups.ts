/** What of the operational state is about concurrency groups. Who has a place in one is counted, never kept: whatever ends a run frees its place. */
import type { RunNote, RunRecord } from "./records.ts";

/** A run of a group that has a place in it. */
export interface GroupHolder
  extends Pick<
    RunRecord,
    | "workflow_instance_id"
    | "workflow_id"
    | "started_at_ms"
    | "created_at_ms"
    | "cancel_requested_at_ms"
    | "revision"
  > {}

/** A run that waits for a place in its group. */
export interface HeldInGroup
  extends Pick<RunRecord, "workflow_instance_id" | "workflow_id" | "parent_run" | "created_at_ms"> {
  readonly group_max: number;
  readonly on_conflict: NonNullable<RunRecord["on_conflict"]>;
  /** Grows with the order in which runs were created. */
  readonly seq: number;
}

/** Concurrency groups. Runs that are over are in none. */
export interface GroupIntentions {
  /** How many runs have a place in a group, and whether one waits for it. Until the unit of work is over, nobody else changes this. */
  groupState(key: string): Promise<{ readonly running: number; readonly isAwaited: boolean }>;
  /** Those that have a place, oldest first. */
  groupHolders(key: string, limit: number): Promise<GroupHolder[]>;
  /** Those that wait, in the order in which they get a place. @param onConflict only those that do this */
  groupHeld(key: string, limit: number, onConflict?: RunRecord["on_conflict"]): Promise<HeldInGroup[]>;
  /** How many wait before a run of its group; 0 for one that does not wait. */
  heldBefore(run: RunRecord): Promise<number>;
  /** The groups for which somebody waits, after a key, in the order of their keys. */
  heldGroups(afterKey: string, limit: number): Promise<string[]>;
  /** The workflows, in all their versions, of which runs wait for a group, with what those runs do. */
  heldVersions(
    key: string,
  ): Promise<Pick<RunRecord, "workflow_id" | "definition_hash" | "group_max" | "on_conflict">[]>;
  /**
   * Changes what the runs of such a version do that wait for a group. Those that always wait for their place, because they are retries, of
   * backfills, or started by other runs, go on doing so.
   */
  changeHeld(
    key: string,
    of: Pick<RunRecord, "workflow_id" | "definition_hash">,
    to: { readonly max: number; readonly on_conflict: NonNullable<RunRecord["on_conflict"]> },
  ): Promise<void>;
  /** The groups for which runs wait that others have started. */
  groupsOfHeldChildren(): Promise<string[]>;
  /** Those that have a place in a group and wait for runs that they have started, with these. */
  waitingHolders(key: string): Promise<{ readonly id: string; readonly child: string }[]>;
  /** How many runs are held, by what. */
  countHeld(): Promise<{ readonly group: number; readonly pause: number }>;
  /** Keeps a run that has not begun out of the queue, with a row that says why. */
  holdRun(run: RunRecord, hold: "pause" | "group", note: RunNote, nowMs: number): Promise<RunRecord>;
  /**
   * Lets a run that has not begun, and that is not queued, wait for an agent from now on; if it has a group, it has a place in it. If it was held,
   * there is a row for the history.
   * @param to whether it waits as a whole, what an agent must have, and the revision of a split one
   */
  admitRun(
    run: RunRecord,
    to: Pick<RunRecord, "queued" | "needs" | "revision">,
    nowMs: number,
  ): Promise<RunRecord>;
  /** Records why cdktr itself cancels a run that is not over. */
  noteCancelReason(run: RunRecord, reason: string): Promise<RunRecord>;
}
