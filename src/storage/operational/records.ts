/** The records of the operational state. They are snapshots: changes go through the intentions of the store. */
import type { OnConflict } from "../../workflow/concurrency.ts";
import type { RunStatus } from "../../workflow/status.ts";
import type { AgentState } from "./agent-state.ts";
import type { LeaseState } from "./lease-state.ts";
import type { SliceState } from "./slice-state.ts";

/**
 * A run. Its status is that of its newest attempt. One agent executes it as a whole, under a lease on slice 0, unless its tasks are split
 * into slices, which many agents can execute at once.
 */
export interface RunRecord extends ListedRun {
  readonly params: Readonly<Record<string, string>>;
  /** What the event offered that triggered it, as far as its expressions read it. */
  readonly event: Readonly<Record<string, string>> | null;
  /** JSON object: the outputs of its workflow, once it has COMPLETED; null for none. */
  readonly outputs: string | null;
  /** What of this record cannot be read from the state, in words; it is empty here. Absent if all of it can be. */
  readonly damage?: string;
}

/** A run without its parameters, event and outputs, which may be large. */
export interface ListedRun {
  readonly workflow_instance_id: string;
  readonly workflow_id: string;
  readonly workflow_name: string;
  /** Hash of the stored definition. */
  readonly definition_hash: string;
  readonly trigger: string;
  readonly scheduled_time_ms: number | null;
  /** The run that this one retries. */
  readonly retry_of: string | null;
  /** Who triggered it: the name of a key, or of a user; null for nobody, as for a schedule. */
  readonly actor: string | null;
  /** Number of runs before it in a chain of `on: workflow`. */
  readonly trigger_depth: number;
  /** The run, and the node of its task, that has started this one; null for a run that no other has started. */
  readonly parent_run: string | null;
  readonly parent_task: string | null;
  /** How many runs it is nested in: 0 for a run without a parent. */
  readonly depth: number;
  /** Whether it retries the other run from its beginning. */
  readonly from_start: boolean;
  readonly created_at_ms: number;
  readonly status: RunStatus;
  /** Whether nothing of it runs while it is RUNNING, because it waits for something; see {@link toldStatus}. */
  readonly resting: boolean;
  /** Number of the newest attempt, 1-based. No slice of a split run has a higher one, except those of tasks that poll: their tries count there. */
  readonly attempt: number;
  /** Number of attempts that crashed and may have started: these are limited. Each slice of a split run counts its own. */
  readonly crashed_attempts: number;
  /** Whether it waits for an agent as a whole. */
  readonly queued: boolean;
  /** What the agent that gets it must have, in the words of whoever created it; "" for nothing special. A split run leaves this to its slices. */
  readonly needs: string;
  /** A number that changes with the progress of a split run and with the state of its slices; 0 for a run that is not split. */
  readonly revision: number;
  /** The agent that got its newest lease. */
  readonly agent_id: string | null;
  /** Number of agents that have got slices of a split run. */
  readonly agents: number;
  readonly cancel_requested_at_ms: number | null;
  /** When a split run exceeded its time limit. The agent that executes a whole run watches that limit itself. */
  readonly timed_out_at_ms: number | null;
  /** When the time of the run is up, by the store's clock; null without a limit, and before an agent has started it. */
  readonly deadline_ms: number | null;
  /** When it starts, ms since the epoch, while it waits for that time; null otherwise. It is not in the queue until then. */
  readonly start_at_ms: number | null;
  /** Whether its hooks are to be stopped: somebody cancelled it when its other tasks were over. */
  readonly hooks_stopped: boolean;
  /** Number of tasks of the definition, hooks included. */
  readonly tasks_total: number;
  /** Number of tasks that are over in the newest attempt, or completed before. */
  readonly tasks_done: number;
  /** Number of tasks that FAILED and were allowed to, once the run is over. */
  readonly allowed_failures: number;
  readonly started_at_ms: number | null;
  readonly finished_at_ms: number | null;
  /** How long it took, by one monotonic clock; null while it has not ended, and where that is not known. */
  readonly duration_ms: number | null;
  /** Time of the newest status row: the rows of a run never go back in time. */
  readonly status_at_ms: number;
  readonly error: string | null;
  /** The agent's log stream and its last line that belongs to the run, known when the run is over. */
  readonly log_stream_id: string | null;
  readonly log_seq: number;
  /** What keeps it out of the queue: a pause of its workflow, or its concurrency group, which is full; null for neither. */
  readonly hold: "pause" | "group" | null;
  /** Its concurrency group: `g NAME`, which workflows share, or `w WORKFLOW`; null for none. */
  readonly group_key: string | null;
  /** As of its definition: how many runs of its group may run when it begins, and what it does if that many run; null without a group. */
  readonly group_max: number | null;
  readonly on_conflict: OnConflict | null;
  /** Whether its group has let it in: it has one of the group's places then until it is over. */
  readonly admitted: boolean;
  /** From 0 to 9, which goes first. */
  readonly priority: number;
  /** Since when it waits, where its order is concerned, ms since the epoch; null: since it was created. */
  readonly rank_ms: number | null;
  /** The key of the entry of its workflow's schedules that made it; null for a workflow whose schedule is a text, and for what no schedule made. */
  readonly schedule: string | null;
  readonly backfill_id: string | null;
  /** Why cdktr itself cancels it; null if it does not. */
  readonly cancel_reason: string | null;
  /** The context of the trace that its trigger is part of, as in the header of the W3C; null for none. */
  readonly traceparent: string | null;
}

/** The name in the key of a concurrency group, which begins with a letter for its kind. */
export function groupName(key: string): string {
  return key.slice(2);
}

/** One attempt of a run, or of a slice of it, on one agent, with its lease. An attempt that was never assigned has no record. */
export interface AttemptRecord {
  readonly workflow_instance_id: string;
  /** 0 for the run as a whole. */
  readonly slice: number;
  readonly attempt: number;
  readonly agent_id: string;
  /** The agent's process; null for agents that do not identify it. */
  readonly session_id: string | null;
  /** The agent's request that this lease answers. */
  readonly fetch_id: string | null;
  readonly assigned_at_ms: number;
  /** Correction to add to the times in the agent's reports, because its clock is wrong. */
  readonly clock_offset_ms: number;
  /** While it is OFFERED: when an unconfirmed offer expires, by the store's clock; null for one of an older cdktr. */
  readonly deadline_ms: number | null;
  readonly lease: LeaseState;
  readonly status: RunStatus;
  readonly started_at_ms: number | null;
  readonly finished_at_ms: number | null;
  readonly error: string | null;
  /** The agent's log stream and its last line that belongs to the slice, known when the agent has ended the slice. */
  readonly log_stream_id: string | null;
  readonly log_seq: number;
}

/** Tasks of a split run that one agent gets at once. */
export interface SliceRecord {
  readonly workflow_instance_id: string;
  /** 1-based number within the run. */
  readonly slice: number;
  /** Ids of its tasks. */
  readonly tasks: readonly string[];
  /** As in {@link RunRecord}. */
  readonly needs: string;
  /** Number of its newest attempt, 1-based. */
  readonly attempt: number;
  readonly crashed_attempts: number;
  readonly state: SliceState;
  /** When it was queued last. */
  readonly queued_at_ms: number;
  /** Whether its tasks are hooks, which run when all others are over. */
  readonly is_hook: boolean;
  /** JSON object: how many slots of which pools its task takes; null for none. */
  readonly pools: string | null;
  /** Since when it waits, where its order is concerned, ms since the epoch; null: since it was queued. */
  readonly rank_ms: number | null;
  /** Its tasks cannot be read from the state, in words; they are missing here. Absent if they can be. */
  readonly damage?: string;
}

/** What of a run waits, and what runs. */
export interface RunRest {
  /** Number of its tasks, and items of fan-outs, that wait. */
  readonly waiting: number;
  /** Since when the last of them waits, ms since the epoch; null for none. */
  readonly since_ms: number | null;
  /** Number of its tasks and items that run, of slices that agents have or are to get and none of whose tasks waits, and of child runs. */
  readonly busy: number;
}

/** Something that a run, or a task of it, waits for, and that no agent has to do with. */
export interface WaitRecord {
  readonly workflow_instance_id: string;
  /** Id of the task that waits; "" for the run itself. */
  readonly task: string;
  /** The task run; null for the run itself. */
  readonly task_instance_id: string | null;
  /**
   * `start`: the time at which the run starts. `time`: a time at which a task is over. `poll`: the time of the next try of a task. `run`: the
   * end of a child run; its time is the one at which something is to be done about that run. `person`: an answer.
   */
  readonly kind: "start" | "time" | "poll" | "run" | "person";
  /** When it is over, ms since the epoch; null for what has no such time. */
  readonly due_ms: number | null;
  /** JSON object: what else is to be known. */
  readonly data: string;
  /** Since when it waits, ms since the epoch. */
  readonly since_ms: number;
}

/** What waits longest of all that has the same needs. */
export interface QueueHead {
  readonly needs: string;
  readonly workflow_instance_id: string;
  /** Of the run. */
  readonly definition_hash: string;
  /** 0 for a run as a whole. */
  readonly slice: number;
  /** Its place in the queue: what has a lower position was there before; if both are equal, what has a lower turn. */
  readonly position: number;
  readonly turn: number;
  /** Since when it counts as waiting, ms since the epoch: its attempts before count, too. */
  readonly since_ms: number;
}

/** The latest state of a task run. */
export interface TaskRunRecord {
  readonly workflow_instance_id: string;
  readonly task_instance_id: string;
  readonly task_id: string;
  readonly task_name: string;
  /** 0 if one agent has the run as a whole, and for tasks of a split run that ended without an agent. */
  readonly slice: number;
  /** Attempt of the run, or of the slice; 0 for a task that was carried over from the run that this one retries. */
  readonly attempt: number;
  readonly task_attempt: number;
  readonly status: RunStatus;
  readonly exit_code: number | null;
  readonly signal: string | null;
  readonly error: string | null;
  readonly cpu_ms: number | null;
  readonly max_rss_kb: number | null;
  readonly started_at_ms: number | null;
  readonly finished_at_ms: number | null;
  /** How long it took, by one monotonic clock; null while it has not ended, and where that is not known. */
  readonly duration_ms: number | null;
  readonly status_at_ms: number;
  /** While it is WAITING: when its next try begins; null where that is not known. */
  readonly due_ms: number | null;
  /** 1: it FAILED, and was allowed to. */
  readonly allowed: 0 | 1;
  /** The key and the place, from 0, of the item of a fan-out that it executes; null for a task. */
  readonly item_key: string | null;
  readonly item_index: number | null;
  /** Of a fan-out: the number of its items, once they are known; null for any other task. */
  readonly items_total: number | null;
  /** JSON object: what the task published; null for nothing. */
  readonly outputs: string | null;
}

/** Identifies an attempt of a run, or of a slice of it. */
export type AttemptName = Pick<AttemptRecord, "workflow_instance_id" | "slice" | "attempt">;

/** A registered agent. */
export interface AgentRecord {
  readonly agent_id: string;
  readonly session_id: string | null;
  readonly stream_id: string | null;
  readonly host: string;
  readonly pid: number | null;
  readonly version: string;
  /** The newest and the oldest protocol version that it speaks. */
  readonly protocol: number;
  readonly oldest_protocol: number;
  readonly max_concurrent_workflows: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly status: Exclude<AgentState, "GONE">;
  readonly registered_at_ms: number;
  /** As of the last change of the record. */
  readonly last_heartbeat_ms: number;
  /** When it becomes lost if it stays silent, by the store's clock; null for one written by an older cdktr. */
  readonly deadline_ms: number | null;
}

/** The position of a workflow's schedule. */
export interface ScheduleCursor {
  readonly workflow_id: string;
  /** The schedule that the cursor belongs to: cron, time zone and start time. With another schedule it starts over. */
  readonly schedule: string;
  /** When the file was first seen with this schedule, or the last firing that became a run. */
  readonly cursor_ms: number;
}

/** The position of one of several schedules of a workflow. */
export interface SchedulePosition {
  readonly workflow_id: string;
  /** The key of its entry. */
  readonly entry: string;
  /** As in {@link ScheduleCursor}. */
  readonly cursor_ms: number;
}

/** The newest valid version of a workflow file. */
export interface WorkflowVersion {
  readonly workflow_id: string;
  /** Relative to the workflow directory. */
  readonly path: string;
  /** What identifies the content of the file and who read it; empty if it must be read again. */
  readonly fingerprint: string;
  /** JSON of what is needed of every workflow. */
  readonly facts: string;
  /** The definition and the source text, compressed. */
  readonly texts: Uint8Array;
}

/** A version as it was stored by a cdktr that knew no other form. */
export interface PlainWorkflowVersion {
  readonly workflow_id: string;
  readonly path: string;
  /** JSON of the definition. */
  readonly definition: string;
  /** The source text of the file. */
  readonly source: string;
}

/** A run that must follow the end of another. */
export interface FollowUp {
  /** The workflow to run. */
  readonly workflow_id: string;
  readonly after_workflow_id: string;
  readonly after_workflow_instance_id: string;
  readonly after_status: RunStatus;
  /** The `trigger_depth` of the run that follows. */
  readonly trigger_depth: number;
  readonly created_at_ms: number;
}

/** Why a run waits, as it is written into the history. */
export interface RunNote {
  readonly reason: string;
  /** Which slices of a split run wait for what, as JSON; null for a whole run. */
  readonly waits: string | null;
}

/** What was written last about why a run waits, with the run's status and attempt at that time. */
export interface NotedReason extends RunNote {
  readonly workflow_instance_id: string;
  readonly status: RunStatus;
  readonly attempt: number;
}

/** The latest status of a workflow. */
export interface RecentStatus {
  readonly workflow_id: string;
  readonly workflow_instance_id: string;
  readonly status: RunStatus;
  readonly timestamp_ms: number;
}
