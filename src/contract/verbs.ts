/**
 * The verbs of the principal's API: who may use each, its request and its reply. The client's calls, the handlers, the checks of
 * roles and agents' ids, the manual's tables and the hostile traffic of the tests are derived from this table.
 *
 * Verbs with `fields` are the wire format of existing clients; new verbs take one JSON field.
 */
import { z } from "zod";
import { Nothing } from "./messages/common.ts";
import * as m from "./messages.ts";
import { ADMIN, AGENT, ANYBODY, CLIENT, JOIN_TOKEN, READER } from "./roles.ts";
import { type Speaker, verb, type WithKey } from "./verb-entry.ts";
import { ALERTS_SINCE, COMMANDS_SINCE, LIMITS_SINCE, MEMBERS_SINCE } from "./version.ts";

const asAgent = (): Speaker => "agent";
const asNewAgent = (): Speaker => "new agent";
const asSender = (): Speaker => "sender";

/** What a change of a backfill is called in the audit log. */
const CHANGED_BACKFILL = { PAUSED: "pause", ACTIVE: "resume", CANCELLED: "cancel" } as const;

export const VERBS = {
  // ------------------------------------------------------------ the principal
  PING: verb({
    about: "Checks that the principal is reachable",
    roles: ANYBODY,
    fields: [],
    request: Nothing,
    reply: z.null(),
    answers: "PONG",
    changes: "nothing",
  }),
  PRINCIPALINFO: verb({
    about: "Version, ports, counts, state of the history",
    roles: ANYBODY,
    request: Nothing,
    reply: m.PrincipalInfo,
    changes: "nothing",
  }),
  LSPRINCIPALS: verb({
    about: "The principals of the installation, with who leads; each answers it itself",
    roles: ANYBODY,
    request: Nothing,
    reply: z.array(m.PrincipalSummary),
    changes: "nothing",
    since: MEMBERS_SINCE,
  }),
  JOIN: verb({
    about: "Registers the key of a new host",
    roles: JOIN_TOKEN,
    request: m.Join,
    reply: m.Joined,
    changes: { key: "public_key" },
    audit: {
      action: "key.join",
      subject: ({ name }) => name,
      detail: ({ public_key }) => ({ public_key }),
    },
  }),
  LSEVENTS: verb({
    about: "What the principal itself logged, oldest first; `after` is the last `seq` known",
    roles: READER,
    request: m.ListEvents,
    reply: z.array(m.ActivityEvent),
    changes: "nothing",
  }),

  // ------------------------------------------------------------ workflows
  LSWORKFLOWS: verb({
    about: "All workflows by id",
    roles: READER,
    fields: [],
    request: Nothing,
    reply: z.record(z.string(), m.WorkflowSummary),
    changes: "nothing",
  }),
  GETWORKFLOW: verb({
    about: "A workflow with its definition and the text of its file",
    roles: READER,
    request: m.GetWorkflow,
    reply: m.WorkflowDetails,
    changes: "nothing",
  }),
  WATCHWORKFLOWS: verb({
    about: "Waits until the workflows have changed since `revision`",
    roles: READER,
    request: m.WatchWorkflows,
    reply: m.WorkflowsRevision,
    changes: "nothing",
    waits: "wait_ms",
  }),

  PAUSEWORKFLOW: verb({
    about: "Pauses a workflow: its schedules and events make no runs, and new runs are held",
    roles: CLIENT,
    request: m.PauseWorkflow,
    reply: m.WorkflowPaused,
    changes: "idempotent",
    audit: {
      action: "workflow.pause",
      subject: ({ workflow_id }) => workflow_id,
      detail: ({ workflow_id: _, ...how }) => how,
    },
    since: 4,
  }),
  RESUMEWORKFLOW: verb({
    about: "Ends the pause of a workflow",
    roles: CLIENT,
    request: m.ResumeWorkflow,
    reply: m.WorkflowResumed,
    changes: "idempotent",
    audit: { action: "workflow.resume", subject: ({ workflow_id }) => workflow_id },
    since: 4,
  }),
  FORECAST: verb({
    about: "What schedules will do, by default in the next 24 hours: firings, durations, waits, load",
    roles: READER,
    request: m.AskForecast,
    reply: m.Forecast,
    changes: "nothing",
    since: LIMITS_SINCE,
  }),

  // ------------------------------------------------------------ runs
  RUNTASK: verb({
    about: "Triggers a workflow; answers when the run is on disk",
    roles: CLIENT,
    fields: ["workflow", "options"],
    request: m.RunTask,
    reply: m.RunCreated,
    answers: "OK",
    changes: { key: "options.dedupe_key" },
    audit: {
      action: "run.trigger",
      subject: ({ workflow_id }) => workflow_id,
      detail: ({ options: { trigger, params, start_at_ms, start_in_ms, priority } }) => ({
        trigger,
        ...(Object.keys(params).length === 0 ? {} : { params }),
        start_at_ms,
        start_in_ms,
        priority,
      }),
    },
  }),
  LSRUNS: verb({
    about:
      "Runs, newest first; `complete: true` refuses the request if older ones may be missing because the history is not available",
    roles: READER,
    request: m.ListRuns,
    reply: z.array(m.RunSummary),
    changes: "nothing",
  }),
  GETRUN: verb({
    about:
      "A run with its attempts, tasks, parameters and definition; with `outputs: true` also what the tasks published",
    roles: READER,
    request: m.GetRun,
    reply: m.RunDetails,
    changes: "nothing",
  }),
  LSITEMS: verb({
    about: "The items of a fan-out in order; the next page with `after_index`",
    roles: READER,
    request: m.ListItems,
    reply: z.array(m.ItemSummary),
    changes: "nothing",
  }),
  WAITRUN: verb({
    about: "Waits until a run is over, at most `wait_ms`",
    roles: READER,
    request: m.WaitRun,
    reply: m.RunDetails,
    changes: "nothing",
    waits: "wait_ms",
  }),
  CANCELRUN: verb({
    about: "Cancels a run",
    roles: CLIENT,
    request: m.CancelRun,
    reply: m.RunDetails,
    changes: "idempotent",
    audit: {
      action: "run.cancel",
      subject: ({ workflow_instance_id }) => workflow_instance_id,
      detail: ({ hooks }) => (hooks ? { hooks } : {}),
    },
  }),
  RETRYRUN: verb({
    about:
      "Starts a new run from the failed tasks of one that is over, from chosen ones, or from its beginning",
    roles: CLIENT,
    request: m.RetryRun,
    reply: m.RunRetried,
    answers: "OK",
    changes: { key: "dedupe_key" },
    audit: {
      action: "run.retry",
      subject: ({ workflow_instance_id }) => workflow_instance_id,
      detail: ({ from_start, tasks, current_definition, params }) => ({
        ...(from_start ? { from_start } : {}),
        tasks,
        current_definition,
        params,
      }),
    },
  }),
  SETPRIORITY: verb({
    about: "Changes the priority of a run that is not over, and of what waits of it",
    roles: CLIENT,
    request: m.SetPriority,
    reply: m.RunDetails,
    changes: "idempotent",
    audit: {
      action: "run.priority",
      subject: ({ workflow_instance_id }) => workflow_instance_id,
      detail: ({ priority }) => ({ priority }),
    },
    since: LIMITS_SINCE,
  }),
  GETRECENTSTATUSES: verb({
    about: "The latest run of each workflow, newest first, at most 10",
    roles: READER,
    fields: [],
    request: Nothing,
    reply: z.array(m.RecentStatus),
    changes: "nothing",
  }),
  LSFOLLOWUPS: verb({
    about:
      "Runs that must follow the end of others (`on: workflow`); `cursor` is the one of the previous reply",
    roles: READER,
    request: m.ListFollowUps,
    reply: m.FollowUpPage,
    changes: "nothing",
    waits: "wait_ms",
  }),

  // ------------------------------------------------------------ approvals
  LSAPPROVALS: verb({
    about: "The tasks that wait for a person, oldest first",
    roles: READER,
    request: m.ListApprovals,
    reply: z.array(m.ApprovalSummary),
    changes: "nothing",
    since: 3,
  }),
  ANSWERAPPROVAL: verb({
    about: "Approves or rejects what a task waits for; each task is answered once",
    roles: CLIENT,
    request: m.AnswerApproval,
    reply: m.ApprovalAnswered,
    answers: "OK",
    changes: { key: "dedupe_key" },
    audit: {
      action: "approval.answer",
      subject: ({ workflow_instance_id }) => workflow_instance_id,
      detail: ({ task_id, item_key, answer, params, note }) => ({
        task_id,
        item_key,
        answer,
        ...(Object.keys(params).length === 0 ? {} : { params }),
        ...(note === "" ? {} : { note }),
      }),
    },
    since: 3,
  }),

  // ------------------------------------------------------------ backfills
  PLANBACKFILL: verb({
    about: "What a backfill would do now, firing by firing; the next page with `after: next`",
    roles: READER,
    request: m.PlanBackfill,
    reply: m.BackfillPlan,
    changes: "nothing",
    since: 4,
  }),
  CREATEBACKFILL: verb({
    about: "Creates a backfill: the firings of a schedule in a stretch of time, as runs",
    roles: CLIENT,
    request: m.CreateBackfill,
    reply: m.BackfillChanged,
    answers: "OK",
    changes: { key: "dedupe_key" },
    audit: {
      action: "backfill.create",
      subject: ({ workflow_id }) => workflow_id,
      detail: ({ workflow_id: _, dedupe_key: __, ...what }) => what,
    },
    since: 4,
  }),
  LSBACKFILLS: verb({
    about: "Backfills, newest first",
    roles: READER,
    request: m.ListBackfills,
    reply: z.array(m.BackfillSummary),
    changes: "nothing",
    since: 4,
  }),
  GETBACKFILL: verb({
    about: "A backfill with the firings that it is done with; the next page with `after: next`",
    roles: READER,
    request: m.GetBackfill,
    reply: m.BackfillDetails,
    changes: "nothing",
    since: 4,
  }),
  CHANGEBACKFILL: verb({
    about: "Pauses, resumes or cancels a backfill",
    roles: CLIENT,
    request: m.ChangeBackfill,
    reply: m.BackfillChanged,
    answers: "OK",
    changes: "idempotent",
    audit: {
      action: ({ to }) => `backfill.${CHANGED_BACKFILL[to]}`,
      subject: ({ backfill_id }) => backfill_id,
    },
    since: 4,
  }),

  // ------------------------------------------------------------ logs and history
  QUERYLOGS: verb({
    about: "Lines of the history as text; each field may be empty",
    roles: READER,
    fields: ["end ms", "start ms", "workflow", "run", "verbose"],
    request: m.QueryLogs,
    reply: z.array(z.string()),
    changes: "nothing",
  }),
  SEARCHLOGS: verb({
    about: "A page of lines; the next one with `after: next`",
    roles: READER,
    request: m.SearchLogs,
    reply: m.LogPage,
    changes: "nothing",
  }),
  ISSUBSCRIBED: verb({
    about: "Whether a subscription to the live log is active, see below",
    roles: READER,
    request: m.IsSubscribed,
    reply: m.Subscribed,
    changes: "nothing",
  }),
  QUERYDB: verb({
    about: "Runs one read-only SQL statement on the history",
    roles: READER,
    request: m.QueryDatabase,
    reply: m.QueryResult,
    changes: "nothing",
  }),
  EXPORTDB: verb({
    about: "Exports the history to Parquet files, for `READFILE`",
    roles: CLIENT,
    request: m.PrepareFiles,
    reply: m.PreparedFiles,
    changes: "nothing",
  }),
  BACKUPDB: verb({
    about: "Copies the history database to a file, for `READFILE`",
    roles: CLIENT,
    request: m.PrepareFiles,
    reply: m.PreparedFiles,
    changes: "nothing",
  }),
  BACKUP: verb({
    about: "Copies the principal's state and history as of one moment to files, for `READFILE`",
    roles: ADMIN,
    request: m.PrepareFiles,
    reply: m.PreparedFiles,
    changes: "nothing",
  }),
  GETARCHIVE: verb({
    about: "Sizes of the history, and how the archive is",
    roles: READER,
    request: Nothing,
    reply: m.ArchiveInfo,
    changes: "nothing",
    since: ALERTS_SINCE,
  }),
  ARCHIVEDB: verb({
    about:
      "A step of moving old days into the archive, or what would be moved; the next one with `after: next`",
    roles: ADMIN,
    request: m.ArchiveDatabase,
    reply: m.ArchiveProgress,
    changes: "idempotent",
    // It does what the settings say, and each deletion is a row of its own.
    audit: "none",
    since: ALERTS_SINCE,
  }),
  READFILE: verb({
    about: "A piece of a prepared file in base64; the next one with `offset: next`",
    roles: CLIENT,
    request: m.ReadFile,
    reply: m.FilePiece,
    changes: "nothing",
  }),
  DROPFILES: verb({
    about: "Deletes prepared files",
    roles: CLIENT,
    request: m.DropFiles,
    reply: Nothing,
    answers: "OK",
    changes: "idempotent",
    audit: "none",
  }),

  LSAUDIT: verb({
    about:
      "Who did what, oldest first; with the `revision` of the previous reply it waits until there are further rows",
    roles: READER,
    request: m.ListAudit,
    reply: m.AuditPage,
    changes: "nothing",
    waits: "wait_ms",
    since: ALERTS_SINCE,
  }),

  // ------------------------------------------------------------ files of runs
  LSARTIFACTS: verb({
    about:
      "What the tasks of a run have left as files: an archive (tar) for each task run, and what is in it",
    roles: READER,
    request: m.ListArtifacts,
    reply: z.array(m.ArtifactsSummary),
    changes: "nothing",
    since: 3,
  }),
  READBLOB: verb({
    about: "A piece of such an archive in base64; the next one with `offset: next`",
    roles: READER,
    request: m.ReadBlob,
    reply: m.FilePiece,
    changes: "nothing",
    since: 3,
  }),

  // ------------------------------------------------------------ alerts
  LSALERTS: verb({
    about: "Alerts with who was told of them, newest first",
    roles: READER,
    request: m.ListAlerts,
    reply: z.array(m.AlertSummary),
    changes: "nothing",
    since: ALERTS_SINCE,
  }),
  GETALERT: verb({
    about: "An alert with its particulars; its id may be cut short",
    roles: READER,
    request: m.GetAlert,
    reply: m.AlertDetails,
    changes: "nothing",
    since: ALERTS_SINCE,
  }),
  RETRYALERT: verb({
    about: "Tells channels again what was given up, of one alert or of all",
    roles: CLIENT,
    request: m.RetryAlert,
    reply: m.AlertRetried,
    changes: "idempotent",
    audit: { action: "alert.retry", subject: ({ alert_id }) => alert_id ?? "all" },
    since: ALERTS_SINCE,
  }),
  DISMISSALERT: verb({
    about: "What waits for a channel, or was given up, is not sent: of an alert, of a channel, or of both",
    roles: CLIENT,
    request: m.DismissAlert,
    reply: m.AlertDismissed,
    changes: "idempotent",
    audit: {
      action: "alert.dismiss",
      subject: ({ alert_id, channel }) => alert_id ?? channel ?? "",
    },
    since: COMMANDS_SINCE,
  }),
  LSCHANNELS: verb({
    about: "The channels of alerts: what waits, and whether they work",
    roles: READER,
    request: Nothing,
    reply: z.array(m.ChannelSummary),
    changes: "nothing",
    since: ALERTS_SINCE,
  }),
  TESTCHANNEL: verb({
    about: "Sends a message to a channel now, and waits at most `wait_ms` for its end",
    roles: CLIENT,
    request: m.TestChannel,
    reply: m.ChannelTested,
    changes: { key: "test_id" },
    audit: { action: "alert.test", subject: ({ channel }) => channel },
    waits: "wait_ms",
    since: ALERTS_SINCE,
  }),

  // ------------------------------------------------------------ secrets
  LSQUEUE: verb({
    about:
      "What waits for agents and pools, in order, and runs that are kept out of the queue, with the reasons",
    roles: READER,
    request: m.ListQueue,
    reply: m.Queue,
    changes: "nothing",
    since: LIMITS_SINCE,
  }),
  LSPOOLS: verb({
    about: "The pools: their sizes, who has slots, what waits",
    roles: READER,
    request: Nothing,
    reply: z.array(m.PoolSummary),
    changes: "nothing",
    since: LIMITS_SINCE,
  }),
  SETPOOL: verb({
    about:
      "Sets the size of a pool; without one, what the settings of the workflow directory say counts again",
    roles: ADMIN,
    request: m.SetPool,
    reply: m.PoolSet,
    changes: "idempotent",
    audit: { action: "pool.set", subject: ({ name }) => name, detail: ({ size }) => ({ size }) },
    since: LIMITS_SINCE,
  }),

  // ------------------------------------------------------------ secrets
  SETSECRET: verb({
    about: "Sets a secret for tasks",
    roles: ADMIN,
    request: m.SetSecret,
    reply: Nothing,
    answers: "OK",
    changes: "idempotent",
    audit: { action: "secret.set", subject: ({ name }) => name },
    since: 3,
  }),
  LSSECRETS: verb({
    about: "The names of the secrets, with when and by whom each was set",
    roles: ADMIN,
    request: Nothing,
    reply: z.array(m.SecretSummary),
    changes: "nothing",
    since: 3,
  }),
  DROPSECRET: verb({
    about: "Removes a secret",
    roles: ADMIN,
    request: m.DropSecret,
    reply: Nothing,
    answers: "OK",
    changes: "idempotent",
    audit: { action: "secret.remove", subject: ({ name }) => name },
    since: 3,
  }),

  // ------------------------------------------------------------ alert files
  LSALERTQUERIES: verb({
    about: "The alert files in use: when their queries were and will be evaluated, what they found, errors",
    roles: READER,
    request: Nothing,
    reply: z.array(m.AlertQueryStatus),
    changes: "nothing",
    since: ALERTS_SINCE,
  }),

  // ------------------------------------------------------------ listeners
  LSLISTENERS: verb({
    about: "Listeners, wherever they run, with their state and counts of triggers",
    roles: READER,
    request: Nothing,
    reply: z.array(m.ListenerSummary),
    changes: "nothing",
  }),
  REPORTLISTENERS: verb({
    about: "Reports the state of the listeners of a process",
    roles: CLIENT,
    request: m.ReportListeners,
    reply: Nothing,
    answers: "OK",
    changes: "idempotent",
    audit: "none",
  }),

  DELIVERWEBHOOK: verb({
    about: "Passes a request for a webhook on to the leader; other members send it",
    roles: ADMIN,
    request: m.DeliverWebhook,
    reply: m.WebhookAnswer,
    changes: { key: "delivery_key" },
    audit: "none",
    since: MEMBERS_SINCE,
  }),

  // ------------------------------------------------------------ agents
  GETREGISTEREDAGENTS: verb({
    about: "The agents (`last_ping_timestamp` in µs)",
    roles: READER,
    fields: [],
    request: Nothing,
    reply: z.array(m.AgentSummary),
    changes: "nothing",
  }),
  DRAINAGENT: verb({
    about: "Tells an agent to finish its runs and take no new ones",
    roles: ADMIN,
    request: m.DrainAgent,
    reply: Nothing,
    speaksFor: asSender,
    answers: "OK",
    changes: "idempotent",
    audit: { action: "agent.drain", subject: ({ agent_id }) => agent_id },
  }),
  REGISTERAGENT: verb({
    about: "Registers an agent; without a description the reply is a bare `OK`",
    roles: AGENT,
    fields: ["agent", "description"],
    request: m.RegisterAgent,
    reply: m.AgentOrders.nullable(),
    speaksFor: asNewAgent,
    answers: "OK",
    changes: "idempotent",
    audit: "none",
    budget: "agents",
  }),
  FETCHWORKFLOW: verb({
    about: "Waits for a run to execute; a bare `OK` when there is none after `wait_ms`",
    roles: AGENT,
    fields: ["agent", "options"],
    request: m.FetchWorkflow,
    reply: m.RunAssignments.nullable(),
    // An agent without a session need not have registered before.
    speaksFor: ({ options }) => (options.session_id === undefined ? "new agent" : "agent"),
    changes: { key: "options.fetch_id" },
    audit: "none",
    waits: "options.wait_ms",
    budget: "agents",
  }),
  AGENTHEARTBEAT: verb({
    about: "A heartbeat; the reply waits up to `wait_ms` for something that the agent must know",
    roles: AGENT,
    request: m.Heartbeat,
    reply: m.AgentOrders,
    speaksFor: asAgent,
    answers: "OK",
    changes: "idempotent",
    audit: "none",
    waits: "wait_ms",
    budget: "agents",
  }),
  AGENTREPORT: verb({
    about: "Reports statuses of runs and tasks; they are numbered, and each counts once",
    roles: AGENT,
    request: m.AgentReports,
    reply: m.AgentOrders,
    speaksFor: asAgent,
    answers: "OK",
    changes: { key: "reports" },
    audit: "none",
    budget: "agents",
  }),
  FETCHBLOB: verb({
    about:
      "A piece of the files of a run that the agent executes, in base64; the next one with `offset: next`",
    roles: AGENT,
    request: m.FetchBlob,
    reply: m.FilePiece,
    speaksFor: asAgent,
    changes: "nothing",
    budget: "agents",
    since: 3,
  }),
  WRITEBLOB: verb({
    about: "Sends a piece, in base64, of what a task has left; the reply says where the next one begins",
    roles: AGENT,
    request: m.WriteBlob,
    reply: m.Written,
    speaksFor: asAgent,
    answers: "OK",
    changes: "idempotent",
    audit: "none",
    budget: "agents",
    since: 3,
  }),
  AGENTWORKFLOWSTATUS: verb({
    about: "Reports the status of a run, for agents that do not number their reports",
    roles: AGENT,
    fields: ["agent", "workflow", "run", "status"],
    request: m.AgentWorkflowStatus,
    reply: z.null(),
    speaksFor: asAgent,
    answers: "OK",
    changes: "idempotent",
    audit: "none",
  }),
  AGENTTASKSTATUS: verb({
    about: "Reports the status of a task, for agents that do not number their reports",
    roles: AGENT,
    fields: ["agent", "task", "task run", "run", "status"],
    request: m.AgentTaskStatus,
    reply: z.null(),
    speaksFor: asAgent,
    answers: "OK",
    changes: "idempotent",
    audit: "none",
  }),
} as const;

export type Verb = keyof typeof VERBS;

export const VERB_NAMES = Object.keys(VERBS) as readonly Verb[];

/** A request as its handler gets it: parsed, with defaults. */
export type RequestOf<V extends Verb> = z.output<(typeof VERBS)[V]["request"]>;
/** A request as a client makes it: fields with a default are optional, its idempotency key is not. */
export type RequestFor<V extends Verb> = z.input<(typeof VERBS)[V]["request"]> &
  WithKey<(typeof VERBS)[V]["changes"]>;
export type ReplyOf<V extends Verb> = z.output<(typeof VERBS)[V]["reply"]>;

/** Whether a principal knows `text` as a verb. */
export function isVerb(text: string): text is Verb {
  return Object.hasOwn(VERBS, text);
}
