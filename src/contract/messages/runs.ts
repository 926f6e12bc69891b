/** Triggering, following, cancelling and retrying runs. */
import { z } from "zod";
import { WorkflowDefinition } from "../../workflow/model.ts";
import { Outputs } from "../outputs.ts";
import { SHORTEST_PREFIX } from "../run-id.ts";
import { ApprovalSummary } from "./approvals.ts";
import { Instant, Name, Priority, Slice, Status, WaitMs } from "./common.ts";
import { ExpectationSummary } from "./expectations.ts";

/** What caused a run. */
const Trigger = z
  .string()
  .max(256)
  .regex(/^(cron|cli|tui|api|workflow|retry|listener:[^\s\x00-\x1f]+)$/, "is not a known trigger");

/** The most that an event may offer, bytes of its names and values together. */
export const MAX_EVENT_BYTES = 64 * 1024;

const EventValues = z
  .record(z.string().max(256), z.string())
  .refine((event) => eventBytes(event) <= MAX_EVENT_BYTES, `is longer than ${MAX_EVENT_BYTES} bytes`);

/** The size of what an event offers. */
export function eventBytes(event: Readonly<Record<string, string>>): number {
  return Object.entries(event).reduce(
    (sum, [name, value]) => sum + Buffer.byteLength(name) + Buffer.byteLength(value),
    0,
  );
}

/** A run that is triggered now may start this much later, ms. */
export const LONGEST_WAIT_MS = 10 * 366 * 24 * 3_600_000;

/** The longest value of a parameter, characters: it is an environment variable of each task. */
const MAX_PARAM = 64 * 1024;

export const Params = z.record(
  z.string().max(256),
  z.string().max(MAX_PARAM, `it has more than ${MAX_PARAM / 1024} KiB; pass large data on as a file`),
);

/** Options of `RUNTASK`. */
export const RunTaskOptions = z.object({
  params: Params.default({}),
  trigger: Trigger.default("api"),
  /** Idempotency key: a second request with the same key returns the run of the first. */
  dedupe_key: z.string().min(1).max(512).optional(),
  /** The time of the firing in the schedule, ms since the epoch. */
  scheduled_time_ms: Instant.nullable().default(null),
  /** The key of the entry of the workflow's schedules that fired. Older principals ignore it. */
  schedule: z.string().max(64).optional(),
  /** What the event offers that triggers it, for expressions. Older principals ignore it. */
  event: EventValues.optional(),
  /** Number of runs before it in a chain of `on: workflow`; the listener passes on the value from `LSFOLLOWUPS`. */
  trigger_depth: z.number().int().min(0).max(1000).default(0),
  /** When the run starts; it is stored now. A time that has passed is now. Principals before protocol 3 ignore it. */
  start_at_ms: Instant.optional(),
  /** The same as a time from now, ms; of both, `start_at_ms` counts. */
  start_in_ms: z.number().int().nonnegative().max(LONGEST_WAIT_MS).optional(),
  /** Instead of that of its workflow. Principals before protocol 4 ignore it. */
  priority: Priority.optional(),
  /** The `traceparent` of the span that triggers it; one that is not valid is ignored. Principals before protocol 5 ignore it. */
  traceparent: z.string().optional(),
});
export type RunTaskOptions = z.infer<typeof RunTaskOptions>;

/** Reply to `RUNTASK`. */
export const RunCreated = z.object({
  workflow_instance_id: z.string(),
  /** What whoever asked for it should know, as sentences; absent for nothing. */
  notes: z.array(z.string()).optional(),
  /** Why there is no such run yet, and perhaps never: its workflow is paused, and the event follows its `catchup` when it is resumed. */
  missed: z.literal("paused").optional(),
});
export type RunCreated = z.infer<typeof RunCreated>;

/** Reply to `RETRYRUN`. */
export const RunRetried = z.object({
  workflow_instance_id: z.string(),
  /** What whoever asked for it should know, as sentences; absent for nothing, and, unless it is held, when the request is repeated. */
  notes: z.array(z.string()).optional(),
});
export type RunRetried = z.infer<typeof RunRetried>;

/**
 * Whether a run of which nothing runs, because it waits for something, is told as WAITING. Programs that do not ask for it are told RUNNING:
 * those that are older than this status of runs take it for the end of one.
 */
const KnowsWaiting = z.boolean().optional();

/** `LSRUNS`: newest first. */
export const ListRuns = z.object({
  limit: z.number().int().min(1).max(10_000).default(20),
  workflow_id: Name.optional(),
  status: Status.optional(),
  /** Only runs whose id begins with it; lower case. Older principals ignore it. */
  id_prefix: z.string().min(SHORTEST_PREFIX).max(64).optional(),
  /** Refuses the request if runs may be missing because the history is not available. Older principals ignore it. */
  complete: z.boolean().optional(),
  waiting: KnowsWaiting,
});
export type ListRuns = z.infer<typeof ListRuns>;

/** An entry of `LSRUNS`. */
export const RunSummary = z.object({
  workflow_id: z.string(),
  workflow_instance_id: z.string(),
  status: Status,
  trigger: z.string(),
  /** The agent that got it, or a part of it, last. */
  agent_id: z.string().nullable(),
  /** Number of agents that have, or had, parts of it; absent for a run that one agent has as a whole. */
  agents: z.number().int().optional(),
  attempt: z.number().int(),
  created_at_ms: z.number(),
  /** While it waits for the time at which it starts: that time. */
  start_at_ms: z.number().optional(),
  started_at_ms: z.number().nullable(),
  finished_at_ms: z.number().nullable(),
  /** How long it took, by one monotonic clock where that is known; null until it has ended. Older principals do not send it. */
  duration_ms: z.number().nullable().optional(),
  /** Tasks of the definition with its hooks, and how many of them have ended in the newest attempt. */
  tasks_total: z.number().int().optional(),
  tasks_done: z.number().int().optional(),
  /** Number of tasks that FAILED and were allowed to, once it is over; absent for none. */
  allowed_failures: z.number().int().optional(),
  /** The run that has started it, and the task of that, `load` or `load[KEY]`; absent for a run that no other has started. */
  parent: z.object({ workflow_instance_id: z.string(), task_id: z.string() }).optional(),
  /** Its priority, from 0 to 9, which goes first; absent for 5. */
  priority: z.number().int().optional(),
  /** What keeps it out of the queue: a pause of its workflow, or its concurrency group, which is full; absent for neither. */
  hold: z.enum(["pause", "group"]).optional(),
  /** The name of its concurrency group; that of its workflow if it says none; absent for a run without one. */
  group: z.string().optional(),
  /** The backfill that made it; absent for none. */
  backfill_id: z.string().optional(),
});
export type RunSummary = z.infer<typeof RunSummary>;

/** The items of a fan-out. */
const ItemCounts = z.object({
  /** Number of its items. */
  total: z.number().int(),
  /** How many of them have a status; the others have not begun. */
  by_status: z.partialRecord(Status, z.number().int()),
});
export type ItemCounts = z.infer<typeof ItemCounts>;

/** A run that a task has started, as far as it has got. */
const ChildRun = z.object({
  workflow_id: z.string(),
  workflow_instance_id: z.string(),
  status: Status,
  tasks_total: z.number().int(),
  tasks_done: z.number().int(),
});
export type ChildRun = z.infer<typeof ChildRun>;

/** The latest state of a task in an attempt of a run. */
export const TaskRunSummary = z.object({
  task_id: z.string(),
  task_instance_id: z.string(),
  slice: Slice,
  attempt: z.number().int(),
  task_attempt: z.number().int(),
  status: Status,
  exit_code: z.number().nullable(),
  signal: z.string().nullable(),
  error: z.string().nullable(),
  cpu_ms: z.number().nullable(),
  max_rss_kb: z.number().nullable(),
  started_at_ms: z.number().nullable(),
  finished_at_ms: z.number().nullable(),
  /** How long it took, by one monotonic clock where that is known; null until it has ended. Older principals do not send it. */
  duration_ms: z.number().nullable().optional(),
  /** The agent that executed it; null for none. Older principals do not send it. */
  agent_id: z.string().nullable().default(null),
  /** What it published; absent for nothing, and if it was not asked for. Older principals send it unasked. */
  outputs: Outputs.nullable().optional(),
  /** While it is WAITING: when its next attempt begins, ms since the epoch. Older principals do not send it. */
  next_attempt_ms: z.number().optional(),
  /** It FAILED, and was allowed to: the run does not fail for it. */
  is_allowed: z.boolean().optional(),
  /** The items, of a fan-out: they are not among the tasks. Older principals do not send it. */
  items: ItemCounts.optional(),
  /** It is a hook of its workflow: it runs when all other tasks are over. */
  hook: z.boolean().optional(),
  /** The run that it has started, once there is one; absent for other tasks, and if nothing is known of that run any more. */
  child: ChildRun.optional(),
});
export type TaskRunSummary = z.infer<typeof TaskRunSummary>;

/** The latest state of an item of a fan-out. */
export const ItemSummary = TaskRunSummary.extend({
  /** Unique among the items of the fan-out. */
  item_key: z.string(),
  /** Its place, 0 for the first. */
  item_index: z.number().int(),
});
export type ItemSummary = z.infer<typeof ItemSummary>;

/** `LSITEMS`: the items of a fan-out in order. */
export const ListItems = z.object({
  workflow_instance_id: Name,
  task_id: Name,
  /** Only items with this status. */
  status: Status.optional(),
  /** Only items behind this place: for the next page, that of the last item of the previous one. */
  after_index: z.number().int().nonnegative().optional(),
  /** Only items before this place. */
  before_index: z.number().int().nonnegative().optional(),
  /** Only items of whose id and status, `load[orders] FAILED`, all of these words are a part, in upper or lower case; with `!` in front: are not. */
  words: z.array(z.string().min(1).max(256)).max(16).optional(),
  limit: z.number().int().min(1).max(1000).default(100),
  /** Whether the reply has what the items published: at most 8 MiB, which may make the page shorter. */
  outputs: z.boolean().default(false),
});
export type ListItems = z.infer<typeof ListItems>;

/** An attempt of a run, or of a slice of it, on an agent. */
export const RunAttempt = z.object({
  slice: Slice,
  attempt: z.number().int(),
  agent_id: z.string().nullable(),
  status: Status,
  started_at_ms: z.number().nullable(),
  finished_at_ms: z.number().nullable(),
  error: z.string().nullable(),
});
export type RunAttempt = z.infer<typeof RunAttempt>;

/** A part of a run that waits for an agent, and why. */
export const SliceWait = z.object({
  slice: z.number().int(),
  /** Ids of the tasks that wait. */
  tasks: z.array(z.string()),
  /** The kind of reason, for programs. */
  kind: z.enum(["no agent", "draining", "labels", "version", "full", "ready"]),
  /** Part of a sentence, such as `no agent is up`. */
  reason: z.string(),
  /** What to do about it; null when nothing need be done. */
  hint: z.string().nullable(),
  /** Since when it waits, ms since the epoch. */
  since_ms: z.number(),
});
export type SliceWait = z.infer<typeof SliceWait>;

/** A part of a run that waits for slots of pools, and why. */
const PoolWait = SliceWait.extend({ kind: z.string() });

/** What keeps a run out of the queue that has not begun. */
const RunHold = z.object({
  kind: z.enum(["pause", "group"]),
  /** Part of a sentence, such as `group "eu" is full (max_runs: 1): held by run … of etl.daily since …`. */
  reason: z.string(),
  /** What to do about it; null when nothing need be done. */
  hint: z.string().nullable(),
  /** Since when it waits, ms since the epoch. */
  since_ms: z.number(),
});
export type RunHold = z.infer<typeof RunHold>;

/** `GETRUN`. */
export const GetRun = z.object({
  workflow_instance_id: Name,
  /** Whether the reply has what the tasks published. */
  outputs: z.boolean().default(false),
  waiting: KnowsWaiting,
});

/** `CANCELRUN`. */
export const CancelRun = z.object({
  workflow_instance_id: Name,
  /**
   * Also stops the hooks of a run whose other tasks are over because it was cancelled before; those of any other run whose tasks are over are
   * stopped without it. Older principals do not know it, nor hooks.
   */
  hooks: z.boolean().default(false),
});

/** `WAITRUN`: answers when the run has ended, or after `wait_ms`. */
export const WaitRun = z.object({
  workflow_instance_id: Name,
  wait_ms: WaitMs,
  waiting: KnowsWaiting,
});

export const RunDetails = RunSummary.extend({
  workflow_name: z.string(),
  scheduled_time_ms: z.number().nullable(),
  params: z.record(z.string(), z.string()),
  error: z.string().nullable(),
  /** The run that this one retries. */
  retry_of: z.string().nullable(),
  /** Who triggered it: the name of a key, or without keys that of the user; absent for nobody, as for a schedule. */
  actor: z.string().optional(),
  /** The outputs of its workflow, once it has COMPLETED; absent for none. */
  outputs: Outputs.optional(),
  attempts: z.array(RunAttempt),
  /** Tasks of the newest attempt; those carried over from an earlier one keep their own attempt number. */
  tasks: z.array(TaskRunSummary),
  /** Slices that wait for an agent: at most 100, at least one for each reason. Older principals do not send it. */
  waits: z.array(SliceWait).optional(),
  /** Number of slices that wait; older principals say so only if it is more than `waits` has. */
  waiting_slices: z.number().int().optional(),
  /** Slices that wait for slots of pools, with the kind of reason `pool`, like `waits`, and how many there are; absent for none. */
  pool_waits: z.array(PoolWait).optional(),
  pool_waiting_slices: z.number().int().optional(),
  /** What keeps it out of the queue: it waits for no agent yet. Principals before protocol 4 do not send it; absent for nothing. */
  holds: z.array(RunHold).optional(),
  /** What is expected of it while it is not over; absent for nothing, and from principals before protocol 5. */
  expectations: z.array(ExpectationSummary).optional(),
  /** Its tasks, and items of fan-outs, that wait for a person: at most 100, oldest first; absent for none. */
  approvals: z.array(ApprovalSummary).optional(),
  /**
   * True if outputs were asked for, but have more than 8 MiB together, or are partly in the history alone while that is not available, so
   * that no task has any here. The history has them, in the column `outputs` of `task_runs`.
   */
  outputs_left_out: z.boolean().optional(),
  /** The definition that ran; null for an old run that only the history has. */
  definition: WorkflowDefinition.nullable(),
});
export type RunDetails = z.infer<typeof RunDetails>;

/** `RETRYRUN`: starts a new run from the failed tasks of one that has ended, or from the beginning. */
export const RetryRun = z.object({
  workflow_instance_id: Name,
  from_start: z.boolean().default(false),
  /**
   * Instead of those that did not complete, these tasks and items, `load` or `load[KEY]`, and all that depends on them. Principals before
   * protocol 3 pass over this and the following.
   */
  tasks: z.array(z.string().min(1).max(1024)).min(1).max(1000).optional(),
  /** Whether it runs with the definition as it is now, instead of that of the run. */
  current_definition: z.boolean().optional(),
  /** Parameters instead of those of the run; the others stay. */
  params: Params.optional(),
  dedupe_key: z.string().min(1).max(512).optional(),
});
export type RetryRun = z.infer<typeof RetryRun>;

/**
 * `LSFOLLOWUPS`: runs that must follow the end of others, in order, after the cursor of the previous reply; waits up to `wait_ms`
 * for some. Without a cursor, those of the last minutes.
 */
export const ListFollowUps = z.object({
  cursor: z.string().max(64).optional(),
  limit: z.number().int().min(1).max(1000).default(500),
  wait_ms: WaitMs.default(0),
});
export type ListFollowUps = z.infer<typeof ListFollowUps>;

export const FollowUpPage = z.object({
  follow_ups: z.array(
    z.object({
      /** The workflow to run. */
      workflow_id: z.string(),
      after_workflow_id: z.string(),
      after_workflow_instance_id: z.string(),
      after_status: Status,
      /** Number of runs in the chain before the new one. Older principals do not send it. */
      trigger_depth: z.number().int().optional(),
      created_at_ms: z.number(),
    }),
  ),
  cursor: z.string(),
});
export type FollowUpPage = z.infer<typeof FollowUpPage>;

export const RunTask = z.object({ workflow_id: Name, options: RunTaskOptions.prefault({}) });

/** An entry of `GETRECENTSTATUSES`: the latest run of a workflow. */
export const RecentStatus = z.object({
  workflow_id: z.string(),
  workflow_instance_id: z.string(),
  status: Status,
  timestamp_ms: z.number(),
});
