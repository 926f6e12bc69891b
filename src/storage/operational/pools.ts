/** What units of work do with pools and priorities: a part of the interface of the operational state, see store.ts. */
import type { QueueHead, RunRecord } from "./records.ts";

/** A pool, as the settings of the workflow directory and a command say. */
export interface PoolRecord {
  readonly name: string;
  /** The size that counts. */
  readonly size: number;
  /** The size in `_cdktr.yml`; null if it is not there. */
  readonly file_size: number | null;
  /** The size that a command has set, which wins; null for none. */
  readonly own_size: number | null;
  /** Who has set it; null for nobody, or the file. */
  readonly changed_by: string | null;
  readonly changed_at_ms: number;
}

/** A task, or an item, that has slots of a pool. */
export interface PoolHolder {
  readonly pool: string;
  readonly slots: number;
  readonly workflow_id: string;
  readonly workflow_instance_id: string;
  readonly slice: number;
  /** Its nodes: one. */
  readonly tasks: readonly string[];
  readonly agent_id: string;
  /** Since when, ms since the epoch. */
  readonly since_ms: number;
}

/** Something in the queue, with what a list of it shows. */
export type QueueEntry = QueueHead & Pick<RunRecord, "workflow_id" | "priority">;

/** Pools, and what waits in which order. Slots are not counted anywhere: what is taken follows from the open leases. */
export interface PoolIntentions {
  /** By name. */
  listPools(): Promise<PoolRecord[]>;
  /** Sets the size of a pool, whatever the file says; null: what the file says counts again. Returns whether that changes something. */
  setPool(name: string, size: number | null, by: string | null, nowMs: number): Promise<boolean>;
  /** Slots that are taken, by pool. */
  poolUse(): Promise<ReadonlyMap<string, number>>;
  /** Who has them, oldest first. */
  poolHolders(): Promise<PoolHolder[]>;
  /** How many slices in the queue have which needs. */
  queuedNeeds(): Promise<{ needs: string; slices: number }[]>;
  /** The first of the queue for each needs, at most this many of each. */
  queueEntries(limit: number): Promise<QueueEntry[]>;
  /** Runs that are kept out of the queue, those of a kind together, oldest first. */
  heldRuns(limit: number): Promise<Pick<RunRecord, "workflow_instance_id">[]>;
  /**
   * Gives a run that is not over, and what waits of it, another priority.
   * @param at gives needs at that priority
   */
  setPriority(run: RunRecord, priority: number, at: (needs: string) => string): Promise<RunRecord>;
}
