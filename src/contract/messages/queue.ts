/** Pools, priorities, and what waits in which order. */
import { z } from "zod";
import { POOL_NAME } from "../../workflow/pool.ts";
import { Name, Priority } from "./common.ts";

const PoolName = z.string().regex(POOL_NAME, "is not a name of a pool");

/** The largest pool, slots. */
export const MAX_POOL_SIZE = 100_000;

/** A task, or an item of a fan-out, that has slots. */
const PoolHolder = z.object({
  workflow_id: z.string(),
  workflow_instance_id: z.string(),
  /** `load`, or `load[KEY]`. */
  task_id: z.string(),
  slots: z.number().int(),
  agent_id: z.string(),
  /** Since when, ms since the epoch. */
  since_ms: z.number(),
});

/** An entry of `LSPOOLS`. */
export const PoolSummary = z.object({
  name: z.string(),
  /** Null for a pool that nobody made, and that tasks wait for. */
  size: z.number().int().nullable(),
  /** What says the size: a command, which wins, or `_cdktr.yml`; null if nobody made it. */
  source: z.enum(["command", "file"]).nullable(),
  /** The size in `_cdktr.yml`; null if it is not there. */
  file_size: z.number().int().nullable(),
  /** Slots that are taken; more than the size while a pool that was made smaller drains. */
  used: z.number().int(),
  /** Tasks and items of fan-outs that wait and take slots of it. */
  waiting: z.number().int(),
  /** Who has slots: at most 20, oldest first. */
  holders: z.array(PoolHolder),
  /** Whose command set the size; null if there was none, or no key. */
  changed_by: z.string().nullable(),
});
export type PoolSummary = z.infer<typeof PoolSummary>;

/** `SETPOOL`. */
export const SetPool = z.object({
  name: PoolName,
  /** Null: what `_cdktr.yml` says counts again. */
  size: z.number().int().min(0).max(MAX_POOL_SIZE).nullable(),
});

/** Reply to `SETPOOL`. */
export const PoolSet = z.object({
  /** The size that counts from now on; null if the pool does not exist any more. */
  size: z.number().int().nullable(),
  /** Slots that are taken. */
  used: z.number().int(),
});

/** `LSQUEUE`. */
export const ListQueue = z.object({ limit: z.number().int().min(1).max(1000).default(100) });

/** Something that waits for an agent or a pool: a run as a whole, or a slice of one. */
const QueueEntry = z.object({
  workflow_id: z.string(),
  workflow_instance_id: z.string(),
  /** 0 for a run as a whole. */
  slice: z.number().int(),
  /** The tasks of the slice, and items as `load[KEY]`, at most 100; none for a run as a whole. */
  tasks: z.array(z.string()),
  priority: z.number().int(),
  /** Since when it counts as waiting, ms since the epoch. */
  since_ms: z.number(),
  /** The kind of the reason: that of `waits` of a run, or `pool`, or `pause`. */
  kind: z.string(),
  reason: z.string(),
  hint: z.string().nullable(),
});

/** A run that is not in the queue yet. */
const HeldRun = z.object({
  workflow_id: z.string(),
  workflow_instance_id: z.string(),
  kind: z.enum(["pause", "group"]),
  /** Its concurrency group; absent for none. */
  group: z.string().optional(),
  priority: z.number().int(),
  since_ms: z.number(),
  reason: z.string(),
  hint: z.string().nullable(),
});

/** Reply to `LSQUEUE`: the first of the queue, in order, and of what is kept out of it. */
export const Queue = z.object({
  entries: z.array(QueueEntry),
  /** Number of all entries. */
  queued: z.number().int(),
  held: z.array(HeldRun),
});
export type Queue = z.infer<typeof Queue>;

/** `SETPRIORITY`. */
export const SetPriority = z.object({ workflow_instance_id: Name, priority: Priority });
