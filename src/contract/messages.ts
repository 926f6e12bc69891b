/**
 * The JSON of requests and replies, verb by verb. Field names are those of the database.
 * Schemas of what comes in are loose about additions (a newer peer may say more) and strict about types and lengths.
 */
import { z } from "zod";
import { IDENTIFIER, WorkflowDefinition } from "../workflow/model.ts";
import { RUN_STATUSES } from "../workflow/status.ts";
import { FIRST_PROTOCOL } from "./version.ts";

const id = z.string().min(1).max(256).regex(IDENTIFIER);
/** A `~` and something that nobody else subscribes to. */
export const PROBE = /^~[\w-]{16,63}$/;
const instant = z.number().int().nonnegative();
const text = z.string().max(64 * 1024);
const runStatus = z.enum(RUN_STATUSES);

/** What caused a run. */
export const Trigger = z
  .string()
  .max(256)
  .regex(/^(cron|cli|tui|api|workflow|retry|listener:[^\s\x00-\x1f]+)$/, "is not a trigger cdktr knows");

// ---------------------------------------------------------------- triggering

/** Options of `RUNTASK`. */
export const RunTaskOptions = z.object({
  params: z.record(z.string().max(256), z.string().max(64 * 1024)).default({}),
  trigger: Trigger.default("api"),
  /** A second request with the same key returns the run of the first. */
  dedupe_key: z.string().min(1).max(512).optional(),
  /** The instant a schedule meant, ms since the epoch. */
  scheduled_time_ms: instant.nullable().default(null),
});

/** Payload of the `OK` that answers `RUNTASK` and `RETRYRUN`. */
export const RunCreated = z.object({ workflow_instance_id: z.string() });

// ---------------------------------------------------------------- agents

/** The versions of the protocol that a peer speaks, see version.ts. Who does not say it speaks the first. */
const Protocol = z
  .object({ version: z.number().int().positive(), oldest: z.number().int().positive() })
  .default(FIRST_PROTOCOL);

/** What an agent says of itself, in `REGISTERAGENT`. */
export const AgentDescription = z.object({
  /** Random, new with every start of the agent's process. */
  session_id: z.string().max(64),
  /** Names the agent's outbox on disk: the same after a restart, another one on another disk. */
  stream_id: z.string().max(64),
  host: z.string().max(256),
  pid: z.number().int(),
  version: z.string().max(64),
  protocol: Protocol,
  max_concurrent_workflows: z.number().int().positive(),
  labels: z.record(z.string().max(256), z.string().max(256)).default({}),
  /** Attempts it still executes; the principal adopts or stops them. */
  running: z.array(z.object({ workflow_instance_id: z.string(), attempt: z.number().int() })).default([]),
  /**
   * Number of the oldest log line that the agent can still send. A principal that has received less than the line before it
   * has lost its history: it cannot get the lines between and goes on from this one.
   */
  log_first_seq: z.number().int().positive().optional(),
  /**
   * Last report in its outbox. When a restarted agent gives it, the attempts of its former process are given up only once
   * the reports up to here are in: a run whose end was not delivered yet is not run again.
   */
  report_seq: z.number().int().nonnegative().optional(),
});

/** `FETCHWORKFLOW`: `wait_ms` 0 answers at once, otherwise the reply waits for work so long. */
export const FetchOptions = z.object({
  session_id: z.string().max(64).optional(),
  wait_ms: z.number().int().min(0).max(60_000).default(0),
  labels: z.record(z.string(), z.string()).default({}),
  /** The same in a repeated request: the principal answers with the same run again. */
  fetch_id: z.string().max(64).optional(),
});

/** A run as an agent gets it. */
export const RunAssignment = z.object({
  workflow_id: z.string(),
  workflow_instance_id: z.string(),
  attempt: z.number().int().positive(),
  trigger: z.string(),
  scheduled_time_ms: z.number().int().nullable(),
  /** When the run was triggered: what tasks see as their scheduled time when there is none. */
  created_at_ms: z.number().int().optional(),
  params: z.record(z.string(), z.string()),
  /** Tasks that COMPLETED in an earlier attempt; they are not run again. */
  completed_tasks: z.array(z.string()),
  workflow: WorkflowDefinition,
});

/** `AGENTHEARTBEAT`: the reply waits up to `wait_ms` for something that the agent must know. */
export const Heartbeat = z.object({
  agent_id: id,
  session_id: z.string().max(64),
  wait_ms: z.number().int().min(0).max(60_000),
  running: z.array(z.object({ workflow_instance_id: z.string(), attempt: z.number().int() })),
  /** For principals before 0.2; others count the tasks that run from what is reported of them. */
  running_tasks: z.number().int().nonnegative(),
  /** As in {@link AgentDescription}. */
  log_first_seq: z.number().int().positive().optional(),
  /** `draining`: takes nothing new; `leaving`: its last heartbeat, it is gone from the list then. Left out: `up`. */
  state: z.enum(["up", "draining", "leaving"]).optional(),
});

/** Why an attempt must stop: the user cancelled it, or it is over for the principal and another may be running. */
export const StopOrder = z.object({
  workflow_instance_id: z.string(),
  attempt: z.number().int(),
  reason: z.enum(["cancelled", "superseded"]),
});

/** Payload of the `OK` that answers `AGENTHEARTBEAT`, and of the one for `AGENTREPORT`. */
export const AgentOrders = z.object({
  /** Random, new with every start of the principal. */
  principal_id: z.string(),
  stop: z.array(StopOrder),
  drain: z.boolean(),
  /** Last line of the agent's stream that the principal holds in memory or better; 0 for none. */
  log_received_seq: z.number().int(),
  /** Last line of the agent's stream that is in DuckDB; the outbox may forget up to here. */
  log_durable_seq: z.number().int(),
  /** Last report of the agent's stream that is on the principal's disk. */
  report_durable_seq: z.number().int(),
});

/** A new status of an attempt. */
export const RunReport = z.object({
  kind: z.literal("run"),
  seq: z.number().int().positive(),
  workflow_id: id,
  workflow_instance_id: z.string().max(64),
  attempt: z.number().int().positive(),
  status: runStatus,
  timestamp_ms: instant,
  error: text.nullable().default(null),
  /** Last line of the agent's stream that was written before this report: a query of this run waits for it. */
  log_seq: z.number().int().nonnegative(),
});

/** A new status of a task run. */
export const TaskReport = z.object({
  kind: z.literal("task"),
  seq: z.number().int().positive(),
  workflow_id: id,
  workflow_instance_id: z.string().max(64),
  /** Attempt of the run. */
  attempt: z.number().int().positive(),
  task_id: id,
  task_instance_id: z.string().max(64),
  /** Attempt of the task within this attempt of the run. */
  task_attempt: z.number().int().nonnegative(),
  status: runStatus,
  timestamp_ms: instant,
  exit_code: z.number().int().nullable().default(null),
  /** Name of the signal that ended the process. */
  signal: z.string().max(32).nullable().default(null),
  error: text.nullable().default(null),
  /** User and system time of the process and its waited-for children, ms. */
  cpu_ms: z.number().nonnegative().nullable().default(null),
  /** Peak resident memory, KiB. */
  max_rss_kb: z.number().nonnegative().nullable().default(null),
});

export const AgentReport = z.discriminatedUnion("kind", [RunReport, TaskReport]);

/** `AGENTREPORT`: reports in sequence; those that the principal has already are passed over. */
export const AgentReports = z.object({
  agent_id: id,
  session_id: z.string().max(64),
  stream_id: z.string().max(64),
  reports: z.array(AgentReport).max(10_000),
});

// ---------------------------------------------------------------- reading

/** A workflow as `LSWORKFLOWS` lists it. */
export const WorkflowSummary = z.object({
  id: z.string(),
  name: z.string(),
  description: z.string().nullable(),
  path: z.string(),
  cron: z.string().nullable(),
  timezone: z.string().nullable(),
  /** RFC 3339, as in the file. */
  start_time: z.string().nullable(),
  start_time_ms: z.number().nullable(),
  catchup: z.enum(["none", "latest", "all"]),
  /** When the file was first seen with this cron, or the last firing that became a run. */
  schedule_cursor_ms: z.number().nullable(),
  params: WorkflowDefinition.shape.params,
  /** Events, beside cron, that run it. */
  on: WorkflowDefinition.shape.on,
  tasks: z.number().int(),
  /** Why the file as it is now does not load; the last valid version is in force. */
  error: z.string().nullable(),
});

/**
 * `WATCHWORKFLOWS`: answers at once when `LSWORKFLOWS` may have another answer than at `revision`, else after `wait_ms`.
 * Without a revision it tells the present one.
 */
export const WatchWorkflows = z.object({
  revision: z.string().max(128).optional(),
  wait_ms: z.number().int().min(0).max(60_000).default(0),
});
export const WorkflowsRevision = z.object({ revision: z.string() });

/**
 * `ISSUBSCRIBED`: whether the publisher of the live log knows a subscription to this probe: a prefix of the subscriber's own,
 * with which no workflow id begins. Subscriptions of a connection come in order, so the ones before it are in force then too.
 */
export const IsSubscribed = z.object({ probe: z.string().regex(PROBE) });
export const Subscribed = z.object({ subscribed: z.boolean() });

/** `GETWORKFLOW`. */
export const GetWorkflow = z.object({ workflow_id: z.string() });
export const WorkflowDetails = z.object({
  summary: WorkflowSummary,
  definition: WorkflowDefinition,
  source: z.string(),
});

/** `LSRUNS`: newest first. */
export const ListRuns = z.object({
  limit: z.number().int().min(1).max(10_000).default(20),
  workflow_id: z.string().optional(),
  status: runStatus.optional(),
});

/** A run as `LSRUNS` lists it. */
export const RunSummary = z.object({
  workflow_id: z.string(),
  workflow_instance_id: z.string(),
  status: runStatus,
  trigger: z.string(),
  agent_id: z.string().nullable(),
  attempt: z.number().int(),
  created_at_ms: z.number(),
  started_at_ms: z.number().nullable(),
  finished_at_ms: z.number().nullable(),
  /** Tasks of the definition, and how many of them are over in the newest attempt. */
  tasks_total: z.number().int().optional(),
  tasks_done: z.number().int().optional(),
});

/** The latest state of a task in an attempt of a run. */
export const TaskRunSummary = z.object({
  task_id: z.string(),
  task_instance_id: z.string(),
  attempt: z.number().int(),
  task_attempt: z.number().int(),
  status: runStatus,
  exit_code: z.number().nullable(),
  signal: z.string().nullable(),
  error: z.string().nullable(),
  cpu_ms: z.number().nullable(),
  max_rss_kb: z.number().nullable(),
  started_at_ms: z.number().nullable(),
  finished_at_ms: z.number().nullable(),
});

/** One try of a run on one agent. */
export const RunAttempt = z.object({
  attempt: z.number().int(),
  agent_id: z.string().nullable(),
  status: runStatus,
  started_at_ms: z.number().nullable(),
  finished_at_ms: z.number().nullable(),
  error: z.string().nullable(),
});

/** `GETRUN`, `WAITRUN`, `CANCELRUN`: the run as a whole. */
export const GetRun = z.object({ workflow_instance_id: z.string() });
/** `WAITRUN`: answers when the run is over, or with its state after `wait_ms`. */
export const WaitRun = z.object({
  workflow_instance_id: z.string(),
  wait_ms: z.number().int().min(0).max(60_000),
});
export const RunDetails = RunSummary.extend({
  workflow_name: z.string(),
  scheduled_time_ms: z.number().nullable(),
  params: z.record(z.string(), z.string()),
  error: z.string().nullable(),
  /** The run that this one retries. */
  retry_of: z.string().nullable(),
  attempts: z.array(RunAttempt),
  /** Tasks of the newest attempt; those carried over from an earlier one keep their own attempt number. */
  tasks: z.array(TaskRunSummary),
  /** What really ran; null for an old run of which only the history knows. */
  definition: WorkflowDefinition.nullable(),
});

/** `RETRYRUN`: a new run from the failed tasks of one that is over, or from the beginning. */
export const RetryRun = z.object({
  workflow_instance_id: z.string(),
  from_start: z.boolean().default(false),
  dedupe_key: z.string().min(1).max(512).optional(),
});

/** `SEARCHLOGS`: lines in order; with `limit` the newest so many. */
export const SearchLogs = z.object({
  workflow_id: z.string().optional(),
  workflow_instance_id: z.string().optional(),
  /** Task name or task run id. */
  task: z.string().optional(),
  level: z.enum(["DEBUG", "INFO", "WARN", "ERROR"]).optional(),
  since_ms: z.number().optional(),
  until_ms: z.number().optional(),
  /** RE2 regular expression, searched in the payload. */
  grep: z.string().max(4096).optional(),
  limit: z.number().int().min(1).max(1_000_000).optional(),
  /** Continues after this position, which the reply before gave. */
  after: z.number().int().optional(),
});

/** A page of `SEARCHLOGS`: rows are arrays of the eight columns in order. `next` is null when nothing follows. */
export const LogPage = z.object({
  rows: z.array(
    z.tuple([
      z.string(),
      z.string(),
      z.string(),
      z.string(),
      z.string(),
      z.number(),
      z.enum(["DEBUG", "INFO", "WARN", "ERROR"]),
      z.string(),
    ]),
  ),
  next: z.number().nullable(),
  /** What the answer cannot show and why, when the history is not complete now. */
  warning: z.string().nullable(),
});

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
  labels: z.record(z.string(), z.string()),
  version: z.string(),
  /** The newest protocol that it speaks; older principals do not tell. */
  protocol: z.number().optional(),
});

/** `DRAINAGENT`: the agent finishes what runs and takes nothing new. */
export const DrainAgent = z.object({ agent_id: z.string() });

/** `PRINCIPALINFO`. */
export const PrincipalInfo = z.object({
  principal_id: z.string(),
  version: z.string(),
  protocol: Protocol,
  pid: z.number(),
  started_at_ms: z.number(),
  /** The clock of the principal when it answered; older ones do not tell. */
  now_ms: z.number().optional(),
  host: z.string(),
  api_port: z.number(),
  logs_listening_port: z.number(),
  logs_publishing_port: z.number(),
  workflows: z.number(),
  invalid_workflow_files: z.array(z.object({ path: z.string(), error: z.string() })),
  runs: z.object({ pending: z.number(), running: z.number() }),
  history: z.object({ available: z.boolean(), error: z.string().nullable() }),
});

/** `JOIN`: a new host, connected with a join token, asks that the key pair it made becomes known. */
export const Join = z.object({
  public_key: z.string().length(40),
  /** The name that the key is to have; it gets a number when there is one of that name. */
  name: z.string().min(1).max(128),
});

/** How the key that joined is known, and where the principal's other sockets are. */
export const Joined = z.object({
  name: z.string(),
  role: z.enum(["agent", "client", "admin"]),
  logs_listening_port: z.number(),
  logs_publishing_port: z.number(),
});

/** `LSEVENTS`: what the principal did and saw lately, oldest first; `after` is the `seq` of the last one known. */
export const ListEvents = z.object({
  after: z.number().int().nonnegative().optional(),
  limit: z.number().int().min(1).max(1000).default(200),
});

/** Something that happened to the principal itself. `seq` counts from 1 with each start of the principal. */
export const ActivityEvent = z.object({
  seq: z.number().int(),
  timestamp_ms: z.number(),
  /** The part of the principal that says it: `workflows`, `agents`, `history` … */
  kind: z.string(),
  level: z.enum(["INFO", "WARN", "ERROR"]),
  message: z.string(),
});

// ---------------------------------------------------------------- listeners

/** `backing off`: it failed and is started again soon. */
export const ListenerState = z.enum(["running", "backing off", "stopped"]);

const count = z.number().int().nonnegative();

/** How a listener is, and what it has done since its process started. */
export const ListenerStatus = z.object({
  name: z.string().min(1).max(256),
  state: ListenerState,
  /** Why it failed last; null while it runs. */
  error: z.string().max(4096).nullable(),
  /** How often it was started again. */
  restarts: count,
  /** Triggers that were asked for. */
  fired: count,
  /** Triggers that became runs. */
  delivered: count,
  /** Triggers that are gone: refused, or neither the disk nor the principal took them. */
  failed: count,
  /** Triggers that were dropped because they were too late. */
  dropped: count,
  /** Triggers that wait on the listener's disk. */
  buffered: count,
  /** Bytes of the file in which they wait. */
  buffer_bytes: count,
  /** When the last one was asked for; null when none was. */
  last_trigger_ms: instant.nullable(),
  /** Since when the principal does not take triggers; null while it does. */
  principal_away_since_ms: instant.nullable(),
});

/** `REPORTLISTENERS`: all listeners of a process, every few seconds and whenever the state of one changes. */
export const ReportListeners = z.object({
  /** Random, new with every start of the process. */
  source_id: z.string().min(1).max(64),
  host: z.string().max(256),
  pid: z.number().int(),
  listeners: z.array(ListenerStatus).max(100),
});

/** A listener as `LSLISTENERS` lists it. `lost`: its process has not reported for a while, and did not say that it ends. */
export const ListenerSummary = ListenerStatus.extend({
  state: z.enum([...ListenerState.options, "lost"]),
  host: z.string(),
  pid: z.number(),
  last_report_ms: z.number(),
});

/**
 * `LSFOLLOWUPS`: which runs must follow the end of which, in order, after a cursor that the reply before gave; waits up to
 * `wait_ms` when there are none. Without a cursor, those of the last minutes.
 */
export const ListFollowUps = z.object({
  cursor: z.string().max(64).optional(),
  limit: z.number().int().min(1).max(1000).default(500),
  wait_ms: z.number().int().min(0).max(60_000).default(0),
});
export const FollowUpPage = z.object({
  follow_ups: z.array(
    z.object({
      /** The workflow that is to run. */
      workflow_id: z.string(),
      after_workflow_id: z.string(),
      after_workflow_instance_id: z.string(),
      after_status: runStatus,
      created_at_ms: z.number(),
    }),
  ),
  cursor: z.string(),
});

// ---------------------------------------------------------------- the history database

/** `QUERYDB`: one read-only statement. */
export const QueryDatabase = z.object({
  sql: z
    .string()
    .min(1)
    .max(128 * 1024),
  max_rows: z.number().int().min(1).max(1_000_000).default(10_000),
});
/** Values are JSON; what JSON lacks (dates, big numbers) comes as text. */
export const QueryResult = z.object({
  columns: z.array(z.object({ name: z.string(), type: z.string() })),
  rows: z.array(z.array(z.unknown())),
  truncated: z.boolean(),
  /** What the answer cannot show and why, when the history is not complete now. */
  warning: z.string().nullable().default(null),
});

/** `EXPORTDB` and `BACKUPDB` take no arguments and answer with files that `READFILE` hands over. */
export const PreparedFiles = z.object({
  transfer_id: z.string(),
  files: z.array(
    z.object({ name: z.string(), bytes: z.number(), sha256: z.string(), rows: z.number().nullable() }),
  ),
});
/** `READFILE`: a piece of a prepared file, base64. */
export const ReadFile = z.object({
  transfer_id: z.string().max(64),
  name: z.string().max(256),
  offset: z.number().int().nonnegative(),
});
export const FilePiece = z.object({ data: z.string(), next: z.number().nullable() });
/** `DROPFILES`: the client has what it wanted. */
export const DropFiles = z.object({ transfer_id: z.string().max(64) });

export type RunTaskOptions = z.infer<typeof RunTaskOptions>;
export type AgentDescription = z.infer<typeof AgentDescription>;
export type FetchOptions = z.infer<typeof FetchOptions>;
export type RunAssignment = z.infer<typeof RunAssignment>;
export type Heartbeat = z.infer<typeof Heartbeat>;
export type StopOrder = z.infer<typeof StopOrder>;
export type AgentOrders = z.infer<typeof AgentOrders>;
export type RunReport = z.infer<typeof RunReport>;
export type TaskReport = z.infer<typeof TaskReport>;
export type AgentReport = z.infer<typeof AgentReport>;
export type AgentReports = z.infer<typeof AgentReports>;
export type WorkflowSummary = z.infer<typeof WorkflowSummary>;
export type IsSubscribed = z.infer<typeof IsSubscribed>;
export type WatchWorkflows = z.infer<typeof WatchWorkflows>;
export type WorkflowDetails = z.infer<typeof WorkflowDetails>;
export type ListRuns = z.infer<typeof ListRuns>;
export type RunSummary = z.infer<typeof RunSummary>;
export type ListEvents = z.infer<typeof ListEvents>;
export type ActivityEvent = z.infer<typeof ActivityEvent>;
export type TaskRunSummary = z.infer<typeof TaskRunSummary>;
export type RunAttempt = z.infer<typeof RunAttempt>;
export type RunDetails = z.infer<typeof RunDetails>;
export type RetryRun = z.infer<typeof RetryRun>;
export type SearchLogs = z.infer<typeof SearchLogs>;
export type LogPage = z.infer<typeof LogPage>;
export type AgentSummary = z.infer<typeof AgentSummary>;
export type ListFollowUps = z.infer<typeof ListFollowUps>;
export type FollowUpPage = z.infer<typeof FollowUpPage>;
export type ListenerState = z.infer<typeof ListenerState>;
export type ListenerStatus = z.infer<typeof ListenerStatus>;
export type ReportListeners = z.infer<typeof ReportListeners>;
export type ListenerSummary = z.infer<typeof ListenerSummary>;
export type Join = z.infer<typeof Join>;
export type Joined = z.infer<typeof Joined>;
export type PrincipalInfo = z.infer<typeof PrincipalInfo>;
export type QueryDatabase = z.infer<typeof QueryDatabase>;
export type QueryResult = z.infer<typeof QueryResult>;
export type PreparedFiles = z.infer<typeof PreparedFiles>;
export type ReadFile = z.infer<typeof ReadFile>;
export type FilePiece = z.infer<typeof FilePiece>;
