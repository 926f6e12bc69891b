/** Messages between agents and the principal, and about agents. */
import { z } from "zod";
import { MAX_ITEM_KEY_BYTES } from "../../workflow/item-id.ts";
import { IDENTIFIER, WorkflowDefinition } from "../../workflow/model.ts";
import { Outputs } from "../outputs.ts";
import { Identifier, Instant, Name, Protocol, Slice, Status, Text, WaitMs } from "./common.ts";

const AGENT_ID_RULE = 'is not an agent id: use letters, digits, ".", "_" and "-", at most 256';

/** An agent id in a positional field, with a message of its own. */
const AgentId = z.string().max(256, AGENT_ID_RULE).regex(IDENTIFIER, AGENT_ID_RULE);

/** The name of a blob: sha256 of its content. */
export const BlobHash = z.string().regex(/^[0-9a-f]{64}$/, "is not the name of a blob");
/** An archive of files that travels with a run. */
export const Blob = z.object({ hash: BlobHash, bytes: z.number().int().positive() });
export type Blob = z.infer<typeof Blob>;

/** The most that the names of the files have that a task run leaves, as JSON, bytes. */
export const MAX_FILE_NAMES_BYTES = 1024 * 1024;

/** A file in an archive. */
export const ArchivedFile = z.object({
  path: z.string().min(1).max(1024),
  bytes: z.number().int().nonnegative(),
  /** Of its content in the archive. */
  offset: z.number().int().nonnegative(),
});

/** What a task run leaves as files: an archive, and what is in it. */
export const Artifacts = Blob.extend({ files: z.array(ArchivedFile).max(10_000) });
export type Artifacts = z.infer<typeof Artifacts>;

/** An attempt of a slice, as an agent has it. */
export const AttemptName = z.object({
  workflow_instance_id: z.string(),
  slice: Slice,
  attempt: z.number().int(),
});
export type AttemptName = z.infer<typeof AttemptName>;

/** Which reply of the principal a process has heard last: of a process and a copy of it, one is behind. See the principal's contact-chain.ts. */
const ContactToken = z.string().max(64);

/** How an agent describes itself in `REGISTERAGENT`. */
export const AgentDescription = z.object({
  /** Random; new for every process. */
  session_id: z.string().max(64),
  /** Identifies the agent's outbox on disk: it stays the same over restarts. */
  stream_id: z.string().max(64),
  host: z.string().max(256),
  pid: z.number().int(),
  version: z.string().max(64),
  protocol: Protocol,
  max_concurrent_workflows: z.number().int().positive(),
  /** Those that it was given, and from protocol 2 on those that it has by itself: host, arch, os and cores. */
  labels: z.record(z.string().max(256), z.string().max(256)).default({}),
  /** Attempts that it still executes; the principal adopts or stops them. */
  running: z.array(AttemptName).default([]),
  /**
   * Number of the oldest log line that the agent can still send. A principal that has received less than the line before it
   * has lost its history: it cannot get the missing lines and continues with this one.
   */
  log_first_seq: z.number().int().positive().optional(),
  /**
   * Last report in its outbox. When a restarted agent gives it, the attempts of its former process are given up only once
   * the reports up to here are in: a run whose end was not delivered yet is not run again.
   */
  report_seq: z.number().int().nonnegative().optional(),
  /**
   * The process before this one on the same data directory. Older agents do not send it. A principal accepts a successor at once
   * only if it follows the process that the principal knows, in the same place, because a data directory may have been copied.
   */
  follows: z
    .object({
      /** Its session; null when no process has registered with this data directory before. */
      session_id: z.string().max(64).nullable(),
      /** Whether the directory is in the same place: the same file on the same host, which has not been restarted. */
      in_place: z.boolean(),
      /**
       * Set if the directory is where it was, but the host was restarted since. A principal that last heard the former process before that
       * knows that it has ended.
       */
      restarted: z
        .object({
          /** The boot of the host in which the former process ran. */
          boot_id: z.string().max(64),
          /** Time since the host was started again. */
          up_ms: z.number().nonnegative(),
        })
        .optional(),
    })
    .optional(),
  last_token: ContactToken.optional(),
  /**
   * By how much its clock is ahead of the principal's, ms, as the reply to its `PRINCIPALINFO` showed; 0 if the time that the reply took
   * explains the difference. Absent if the principal did not say its time; older agents do not send it.
   */
  clock_ahead_ms: z.number().optional(),
});
export type AgentDescription = z.infer<typeof AgentDescription>;

/** The most runs that an agent is given with one reply. */
export const MOST_RUNS_AT_ONCE = 16;

/** Options of `FETCHWORKFLOW`: the reply waits for work up to `wait_ms`. */
const FetchOptions = z.object({
  session_id: z.string().max(64).optional(),
  wait_ms: WaitMs.default(0),
  labels: z.record(z.string(), z.string()).default({}),
  /** Idempotency key: the principal answers a repeated request with the same run, and the same others. */
  fetch_id: z.string().max(64).optional(),
  /** How many runs the agent takes at once: if several of one workflow wait, the others come with the first. Older agents take one. */
  most: z.number().int().positive().max(MOST_RUNS_AT_ONCE).default(1),
  last_token: ContactToken.optional(),
});

/** How a task that is not in the assignment ended, for those in it that depend on it. */
const TaskResult = z.object({
  status: Status.exclude(["PENDING", "RUNNING", "WAITING"]),
  outputs: Outputs.nullable().default(null),
  /** Why it did not complete; only if somebody may read it. */
  error: z.string().nullable().optional(),
  /** It FAILED, and was allowed to. */
  is_allowed: z.boolean().optional(),
  /** Of a fan-out: the number of its items. What they published is among `item_results`, and here is nothing. */
  items_total: z.number().int().nonnegative().optional(),
});

/** The key and the place, from 0, of an item of a fan-out. */
const ItemName = z.object({
  key: z.string().min(1).max(MAX_ITEM_KEY_BYTES),
  index: z.number().int().nonnegative(),
});

/** An item of a fan-out that an agent executes. */
const AssignedItem = ItemName.extend({ value: z.unknown() });
export type AssignedItem = z.infer<typeof AssignedItem>;

/** How an item ended that is not run again. */
const ItemResult = ItemName.extend({ status: TaskResult.shape.status, outputs: TaskResult.shape.outputs });
export type ItemResult = z.infer<typeof ItemResult>;

/** How the tasks of a run have ended. */
const RunOutcome = z.object({
  status: Status,
  error: z.string().nullable(),
  /** Ids of those that FAILED or CRASHED and were not allowed to. */
  failed_tasks: z.array(z.string()),
});

/** The trace that the tasks of a run are part of. */
const TaskTrace = z.object({
  /** The context of the run. */
  traceparent: z.string(),
  /** Whether each task run has a span of its own, whose id follows from its own id; if not, tasks get the context as it is. */
  has_spans: z.boolean(),
});
export type TaskTrace = z.infer<typeof TaskTrace>;

/** A run, or a slice of one, that is assigned to an agent. */
export const RunAssignment = z.object({
  workflow_id: z.string(),
  workflow_instance_id: z.string(),
  slice: Slice,
  attempt: z.number().int().positive(),
  trigger: z.string(),
  scheduled_time_ms: z.number().int().nullable(),
  /** When the run was triggered; tasks get it as their scheduled time when there is none. */
  created_at_ms: z.number().int().optional(),
  params: z.record(z.string(), z.string()),
  /** What the event offered that triggered the run; absent for nothing. */
  event: z.record(z.string(), z.string()).optional(),
  /** Tasks that COMPLETED in an earlier attempt and are not run again. */
  completed_tasks: z.array(z.string()),
  /** The tasks of the slice; all of the workflow by default. */
  tasks: z.array(z.string()).optional(),
  /** Results of tasks on which those depend, by task id: of all that are not among `tasks`, or that COMPLETED in an earlier attempt. */
  results: z.record(z.string(), TaskResult).optional(),
  /** The items of fan-outs among `tasks` whose items are in several slices: those that are in this one. The agent computes all others. */
  items: z.record(z.string(), z.array(AssignedItem)).optional(),
  /**
   * By fan-out, in order: items that COMPLETED in an earlier attempt of this slice; and all items of those on which `tasks` depend that
   * published something.
   */
  item_results: z.record(z.string(), z.array(ItemResult)).optional(),
  workflow: WorkflowDefinition,
  /** The files of the workflow, as they were when the run was triggered. */
  bundle: Blob.optional(),
  /** What the tasks have left on which `tasks` depend, and their items. */
  artifacts: z.array(Blob.extend({ task_id: z.string(), item_key: z.string().nullable() })).optional(),
  /** For hooks: how the other tasks of the run have ended. */
  run: RunOutcome.optional(),
  /** The attempt of the run, of a task that polls: each of its tries is an attempt at the slice. By default `attempt`. */
  run_attempt: z.number().int().positive().optional(),
  /** Tasks that poll and go on with their next try: the task run, its tries so far, and the time since the first one, ms. */
  continues: z
    .record(
      z.string(),
      z.object({
        task_instance_id: z.string(),
        task_attempt: z.number().int().nonnegative(),
        elapsed_ms: z.number().nonnegative(),
      }),
    )
    .optional(),
  /** What earlier attempts have left of the time limit of a whole run, ms; by default all of it. */
  time_left_ms: z.number().int().nonnegative().optional(),
  /** The lease is held already: the tasks start at once, without a report that they do. Older principals always wait for one. */
  is_confirmed: z.boolean().optional(),
  /** More work waits, perhaps for this agent: if it has room, it may ask with several requests at once. Older principals do not say. */
  has_more: z.boolean().optional(),
  /** Absent for a run that is part of no trace. Older principals do not send it, and older agents ignore it. */
  trace: TaskTrace.optional(),
  /** Names of environment variables that hold secrets of the principal; an agent that shares its environment hides them from tasks. */
  secret_variables: z.array(z.string()).optional(),
  /** What the tasks need of the principal's store of secrets, by the names there: a value, or why there is none. */
  stored_secrets: z
    .record(
      z.string(),
      z.union([
        z.object({ value: z.string() }),
        z.object({ error: z.string(), hint: z.string().optional() }),
      ]),
    )
    .optional(),
});
export type RunAssignment = z.infer<typeof RunAssignment>;

/** Reply to `FETCHWORKFLOW`: a run, or a slice, and perhaps further runs of the same workflow. */
export const RunAssignments = RunAssignment.extend({
  others: z.array(RunAssignment.omit({ workflow: true })).optional(),
});
export type RunAssignments = z.infer<typeof RunAssignments>;

/** A process of a task that nothing could end: one of another user, or one that the kernel does not let go. */
export const Survivor = z.object({
  pid: z.number().int(),
  name: z.string().max(64),
  /** The user whose process it is. */
  user: z.string().max(64),
  /** Why it could not be ended. */
  reason: z.string().max(200),
});
export type Survivor = z.infer<typeof Survivor>;

/** `AGENTHEARTBEAT`: the reply waits up to `wait_ms` for something that the agent must know. */
export const Heartbeat = z.object({
  agent_id: Identifier,
  session_id: z.string().max(64),
  wait_ms: WaitMs,
  running: z.array(AttemptName),
  /** For principals before 0.2; newer ones count running tasks from their reports. */
  running_tasks: z.number().int().nonnegative(),
  /** As in {@link AgentDescription}. */
  log_first_seq: z.number().int().positive().optional(),
  /** The agent's clock when it sent this; agents before 0.3 do not say. */
  now_ms: z.number().optional(),
  /** At most 100; empty for agents that do not say. */
  survivors: z.array(Survivor).max(100).optional(),
  /** `draining`: it takes no new work. `leaving`: its last heartbeat. Default `up`. */
  state: z.enum(["up", "draining", "leaving"]).optional(),
  /** The `contact_token` of the last reply. Only in heartbeats that follow each other: the reply has the next one. */
  contact_token: ContactToken.optional(),
  /** The same in a heartbeat that overlaps with another one. */
  last_token: ContactToken.optional(),
  /** Runs of which it has or had slices, and keeps the directory until `over_runs` names them. */
  directories: z.array(z.string().max(64)).max(500).optional(),
});
export type Heartbeat = z.infer<typeof Heartbeat>;

/**
 * Why an attempt must stop: a user cancelled it, the principal has given it up and may have started another, or the run timed out. The
 * principal orders the latter for slices of a split run only: whoever executes a whole run keeps its time limit itself.
 */
export const StopOrder = AttemptName.extend({
  reason: z.enum(["cancelled", "superseded", "timed out"]),
  /** Only these items of a fan-out, because another one failed (`fail_fast`); the rest of the slice goes on. */
  items: z.array(ItemName.extend({ task_id: Identifier })).optional(),
});
export type StopOrder = z.infer<typeof StopOrder>;

/** Reply to `REGISTERAGENT`, `AGENTHEARTBEAT` and `AGENTREPORT`. */
export const AgentOrders = z.object({
  /** Random; new for every process of the principal. */
  principal_id: z.string(),
  /** Random; unchanged by restarts. An agent keeps its data for different installations apart. Older principals do not send it. */
  installation_id: z.string().optional(),
  stop: z.array(StopOrder),
  drain: z.boolean(),
  /** Last line of the agent's stream that the principal has received; 0 for none. */
  log_received_seq: z.number().int(),
  /** Last line of the agent's stream that is in DuckDB; the outbox may forget up to here. */
  log_durable_seq: z.number().int(),
  /** Last report of the agent's stream that is on the principal's disk. */
  report_durable_seq: z.number().int(),
  /** Those of the `directories` in the heartbeat whose runs are over; older principals do not say. */
  over_runs: z.array(z.object({ workflow_instance_id: z.string(), has_failed: z.boolean() })).optional(),
  /** In replies to registrations: one report may say that a task has begun and ended (`began_at_ms`). Older principals do not say. */
  takes_whole_tasks: z.boolean().optional(),
  /** The next heartbeat returns it. In replies to registrations, and to heartbeats that returned one. */
  contact_token: ContactToken.optional(),
});
export type AgentOrders = z.infer<typeof AgentOrders>;

/** In the report of an end: how long it took by the agent's monotonic clock, ms. Agents before 0.3 do not say. */
const Duration = z.number().int().nonnegative();

/** The most that the definition of a run has that an agent has begun by itself, characters of JSON. */
const MAX_BEGUN_DEFINITION = 1024 * 1024;

/** A run that an agent has begun by itself. */
const BegunRun = z.object({
  /** The session of the process that executes it: whoever reports for that process later has another. */
  session_id: z.string().max(64),
  /** JSON of its definition. */
  definition: z.string().min(1).max(MAX_BEGUN_DEFINITION),
});
export type BegunRun = z.infer<typeof BegunRun>;

/** A new status of an attempt: of the whole run, or of the slice. */
export const RunReport = z.object({
  kind: z.literal("run"),
  seq: z.number().int().positive(),
  workflow_id: Identifier,
  workflow_instance_id: z.string().max(64),
  slice: Slice,
  attempt: z.number().int().positive(),
  status: Status,
  timestamp_ms: Instant,
  error: Text.nullable().default(null),
  /** Last line of the agent's stream that was written before this report: a query of this run waits for it. */
  log_seq: z.number().int().nonnegative(),
  duration_ms: Duration.optional(),
  /** Number of tasks that FAILED and were allowed to; absent for none. */
  allowed_failures: z.number().int().positive().optional(),
  /** In the first report of a run that no principal has ordered. Principals before protocol 6 do not know it. */
  begun: BegunRun.optional(),
});
export type RunReport = z.infer<typeof RunReport>;

/** A new status of a task run. */
export const TaskReport = z.object({
  kind: z.literal("task"),
  seq: z.number().int().positive(),
  workflow_id: Identifier,
  workflow_instance_id: z.string().max(64),
  slice: Slice,
  /** Attempt of the slice. */
  attempt: z.number().int().positive(),
  task_id: Identifier,
  /** The item of the fan-out `task_id` that the report is about; absent if it is about the task. */
  item: ItemName.optional(),
  /** In the report that a fan-out is RUNNING: the number of its items. */
  items_total: z.number().int().nonnegative().optional(),
  task_instance_id: z.string().max(64),
  /** Attempt of the task within this attempt of the slice. */
  task_attempt: z.number().int().nonnegative(),
  status: Status,
  timestamp_ms: Instant,
  exit_code: z.number().int().nullable().default(null),
  /** Name of the signal that ended the process. */
  signal: z.string().max(32).nullable().default(null),
  error: Text.nullable().default(null),
  /** User and system time of the process and its waited-for children, ms. */
  cpu_ms: z.number().nonnegative().nullable().default(null),
  /** Peak resident memory, KiB. */
  max_rss_kb: z.number().nonnegative().nullable().default(null),
  /** What a task that COMPLETED publishes; null for nothing. */
  outputs: Outputs.nullable().default(null),
  duration_ms: Duration.optional(),
  /** Of a task that is WAITING: how long after `timestamp_ms` its next try begins, ms. Agents before 0.4 do not say. */
  next_try_ms: z.number().int().nonnegative().optional(),
  /** It FAILED, and was allowed to. */
  is_allowed: z.boolean().optional(),
  /**
   * In the report of the end of a task run about which there is no other report: when it was RUNNING. Only for principals that say
   * `takes_whole_tasks`; an older one takes the end for the begin as well.
   */
  began_at_ms: Instant.optional(),
  /** What a task that COMPLETED leaves as files, which the principal has. */
  artifacts: Artifacts.optional(),
});
export type TaskReport = z.infer<typeof TaskReport>;

export const AgentReport = z.discriminatedUnion("kind", [RunReport, TaskReport]);
export type AgentReport = z.infer<typeof AgentReport>;

/** `AGENTREPORT`: reports in sequence; the principal skips those that it already has. */
export const AgentReports = z.object({
  agent_id: Identifier,
  session_id: z.string().max(64),
  stream_id: z.string().max(64),
  last_token: ContactToken.optional(),
  reports: z.array(AgentReport).max(10_000),
});
export type AgentReports = z.infer<typeof AgentReports>;

/** An agent as `GETREGISTEREDAGENTS` lists it. `last_ping_timestamp` is in µs, for existing clients. */
export const AgentSummary = z.object({
  agent_id: z.string(),
  last_ping_timestamp: z.number(),
  running_tasks: z.number(),
  host: z.string(),
  status: z.enum(["UP", "DRAINING", "LOST"]),
  running_workflows: z.number(),
  max_concurrent_workflows: z.number(),
  last_heartbeat_ms: z.number(),
  /** Time since then by the principal's clock, ms, which may differ from that of whoever asks; older principals do not send it. */
  silent_ms: z.number().optional(),
  labels: z.record(z.string(), z.string()),
  version: z.string(),
  /** The newest protocol version that it speaks; older principals do not send it. */
  protocol: z.number().optional(),
  /** Processes of its tasks that it could not end; older principals do not send it. */
  survivors: z.array(Survivor).optional(),
  /** Ids of the runs that it has, or of which it has parts; older principals do not send it. */
  run_ids: z.array(z.string()).optional(),
  /** By how much its clock is ahead of the principal's, ms; absent as long as it is less than a few seconds. */
  clock_ahead_ms: z.number().optional(),
});
export type AgentSummary = z.infer<typeof AgentSummary>;

/** `DRAINAGENT`: the agent finishes its runs and takes no new ones. */
export const DrainAgent = z.object({ agent_id: Name });

/** `REGISTERAGENT`: without a description only the name of the agent is known. */
export const RegisterAgent = z.object({ agent_id: AgentId, description: AgentDescription.optional() });

export const FetchWorkflow = z.object({ agent_id: AgentId, options: FetchOptions.prefault({}) });

/** `AGENTWORKFLOWSTATUS`: a new status of the newest attempt that the agent has of a run. */
export const AgentWorkflowStatus = z.object({
  agent_id: AgentId,
  workflow_id: Name,
  workflow_instance_id: Name,
  status: Status,
});

/** `AGENTTASKSTATUS`: a new status of a task in that attempt. */
export const AgentTaskStatus = z.object({
  agent_id: AgentId,
  task_id: z.string().regex(IDENTIFIER, "is not a task id"),
  task_instance_id: Name,
  workflow_instance_id: Name,
  status: Status,
});
