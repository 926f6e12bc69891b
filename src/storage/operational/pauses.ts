/** Pauses of workflows in the operational state. A pause outlives the workflow's file. */
import type { RunRecord } from "./records.ts";

/** A workflow whose schedules and events make no runs for now. Runs that people ask for are held. */
export interface PauseRecord {
  readonly workflow_id: string;
  readonly paused_at_ms: number;
  /** Who paused it, or changed that last: the name of a key, or of a user; null for nobody. */
  readonly paused_by: string | null;
  readonly reason: string | null;
  /** Whether its `auto_pause` did. */
  readonly is_auto: boolean;
  /** When it ends by itself, ms since the epoch; null for never. */
  readonly until_ms: number | null;
}

/** An event for a paused workflow. */
export interface MissedEvent {
  readonly workflow_id: string;
  /** The run that it becomes. */
  readonly workflow_instance_id: string;
  readonly trigger: string;
  /** JSON: what the event came with. */
  readonly options: string;
  readonly at_ms: number;
}

/** Runs that a pause keeps from beginning. */
export interface HeldByPause {
  /** Those that are not in the queue. */
  readonly held: number;
  /** Those that were in the queue when the workflow was paused. */
  readonly parked: number;
  /** Runs that have begun and are not over: the pause does not concern them. */
  readonly begun: number;
}

/** Pauses, what they hold, and what was missed. */
export interface PauseIntentions {
  getPause(workflowId: string): Promise<PauseRecord | null>;
  /** By workflow. */
  listPauses(): Promise<PauseRecord[]>;
  /** Pauses a workflow, or changes its pause. */
  setPause(pause: PauseRecord, nowMs: number): Promise<void>;
  /** Ends a pause; failures are counted from 0 again. Returns whether there was one. */
  endPause(workflowId: string, nowMs: number): Promise<boolean>;
  /**
   * Runs that wait for an agent and never began, and their slices, are given to none from now on: their needs begin with
   * {@link PARKED}. Does a bounded amount of work; returns how much that was.
   */
  parkQueued(workflowId: string, limit: number): Promise<number>;
  /** They wait for agents again, in their places. Does a bounded amount of work; returns how much that was. */
  unparkQueued(workflowId: string, limit: number): Promise<number>;
  /** Runs that are held by a pause, in the order in which they go on. */
  pausedRuns(workflowId: string, limit: number): Promise<RunRecord[]>;
  countPaused(workflowId: string): Promise<HeldByPause>;
  /** Number of all runs that are held by a pause, or parked. */
  countAllPaused(): Promise<number>;
  /** Workflows of which runs are held by a pause or parked, or that have missed events. */
  workflowsAtRest(): Promise<string[]>;
  /** Stores an event, and forgets all but the newest `keep` of its workflow. Returns how many were forgotten. */
  addMissedEvent(event: MissedEvent, keep: number): Promise<number>;
  /** Oldest first. */
  missedEvents(workflowId: string, limit: number): Promise<MissedEvent[]>;
  dropMissedEvent(event: Pick<MissedEvent, "workflow_id" | "workflow_instance_id">): Promise<void>;
  /** A run of a workflow is over: counts failures in a row, from 0 again if it has not failed. Returns how many there are. */
  countFailure(workflowId: string, hasFailed: boolean, nowMs: number): Promise<number>;
  /** Forgets what is known of workflows that are neither loaded nor paused and have not changed since. */
  forgetWorkflowStates(beforeMs: number): Promise<void>;
}

/**
 * What the needs of parked runs and slices begin with. An older cdktr reads them as those of an agent of an impossible version, and gives
 * them to nobody.
 */
export const PARKED = "paused:";
/** What follows that if any agent may have it, whose needs are empty otherwise. Nothing else has such needs. */
export const PARKED_ANY = "1 {}";
