/** What the principal does for each verb. */
import { isFiring } from "../../contract/firing.ts";
import type { PrincipalInfo, PrincipalSummary, RunSummary } from "../../contract/messages.ts";
import type { ReplyOf, RequestOf, Verb } from "../../contract/verbs.ts";
import { errorMessage, InvalidInputError, NotFoundError, UnprocessableError } from "../../errors.ts";
import { type Access, type Identity, OWN_NAME } from "../../protocol/doors/access.ts";
import type { OperationalStore } from "../../storage/operational/store.ts";
import type { Activity } from "../activity.ts";
import type { AgentRegistry } from "../agents/agent-registry.ts";
import type { QueryAlerts } from "../alert-queries/query-alerts.ts";
import type { AlertViews } from "../alerts/alert-views.ts";
import type { ChannelTests } from "../alerts/channel-tests.ts";
import type { Audit } from "../audit/audit.ts";
import type { AuditLog } from "../audit/audit-log.ts";
import { auditPage, auditSql } from "../audit/audit-query.ts";
import type { Backfills } from "../backfills/backfills.ts";
import type { BlobKeeper } from "../blobs/blob-keeper.ts";
import type { Forecasts } from "../forecast/forecasts.ts";
import type { HistoryAccess } from "../history/history-access.ts";
import type { Pausing } from "../limits/pausing.ts";
import type { PoolService } from "../limits/pool-service.ts";
import type { ListenerRegistry } from "../listener-registry.ts";
import type { LongPolls } from "../long-polls.ts";
import type { Approvals, Asker } from "../runs/approvals.ts";
import type { Dispatcher } from "../runs/dispatcher.ts";
import type { FollowUps } from "../runs/follow-ups.ts";
import type { Outcome } from "../runs/hearing.ts";
import type { QueueView } from "../runs/queue-view.ts";
import type { RunChanges } from "../runs/run-changes.ts";
import type { RunService } from "../runs/run-service.ts";
import type { SecretStore } from "../secrets/secret-store.ts";
import { thereIsNoWorkflow } from "../unknown-name.ts";
import type { WorkflowDirectory } from "../workflows/workflow-directory.ts";

import { originalDag, type PeerTraits } from "./original-clients.ts";

/** The services that the handlers call. */
export interface HandlerServices {
  readonly store: OperationalStore;
  readonly runs: RunService;
  readonly approvals: Approvals;
  readonly backfills: Backfills;
  readonly changes: RunChanges;
  readonly dispatcher: Dispatcher;
  readonly agents: AgentRegistry;
  readonly workflows: WorkflowDirectory;
  readonly history: HistoryAccess;
  readonly polls: LongPolls;
  readonly activity: Activity;
  readonly listeners: ListenerRegistry;
  /** Answers a request for a webhook that arrived at another member. */
  readonly webhook: (request: Request, peer: string, key: string | null) => Promise<Response>;
  readonly pausing: Pausing;
  readonly queryAlerts: Pick<QueryAlerts, "list">;
  readonly secrets: SecretStore;
  readonly pools: PoolService;
  readonly queue: QueueView;
  readonly followUps: FollowUps;
  readonly blobs: BlobKeeper;
  readonly forecasts: Forecasts;
  readonly audit: AuditLog;
  readonly channelTests: ChannelTests;
  readonly alerts: AlertViews;
  readonly now: () => number;
  readonly principalId: string;
  readonly heartbeatTimeoutMs: number;
  /** Absent without keys. */
  readonly access: Access | undefined;
  /** The principals of the installation. */
  readonly principals: () => readonly PrincipalSummary[];
  readonly info: () => Omit<
    PrincipalInfo,
    "workflows" | "invalid_workflow_files" | "runs" | "history" | "files" | "state_error"
  >;
}

/**
 * What each verb does. The API has parsed the request and checked the sender's role and agent before it calls a handler.
 * An error that a handler throws becomes an error reply.
 */
export type Handlers = {
  readonly [V in Verb]: (
    request: RequestOf<V>,
    /** Whose key it came with, when there are keys. */
    sender: Identity | undefined,
    peer: PeerTraits,
    /** Records the request in the audit log, in the unit of work that makes the change. */
    audit: Audit,
  ) => ReplyOf<V> | Promise<ReplyOf<V>>;
};

/** How long a log query waits for the last lines of a run that has ended, ms. */
const LAST_LINES_MS = 2000;

/** Makes the handlers of all verbs. */
export function handlersOf(s: HandlerServices): Handlers {
  return {
    PING: () => null,
    PRINCIPALINFO: async () => {
      const { ok: available, error } = s.history.available;
      const { pending, running, error: state_error } = await s.runs.knownCounts();
      return {
        ...s.info(),
        now_ms: s.now(),
        workflows: s.workflows.size,
        invalid_workflow_files: s.workflows.invalidFiles.map(({ waiting, ...file }) =>
          waiting === undefined ? file : { ...file, waiting: waiting.length },
        ),
        runs: { pending, running },
        history: { available, error },
        files: s.blobs.held,
        state_error,
      };
    },
    LSPRINCIPALS: () => [...s.principals()],
    JOIN: async (request, sender, _, audit) => {
      if (sender === undefined || s.access === undefined)
        throw new UnprocessableError("This principal has no keys: there is nothing to join.");
      const { logs_listening_port, logs_publishing_port } = s.info();
      const joined = await s.access.join(sender, request);
      // The key is a file: a host that got no reply asks again, and is recorded then.
      await s.store.transact(async (tx) => {
        const fresh = crypto.randomUUID();
        if ((await tx.claimKey(`JOIN ${request.public_key}`, fresh, s.now())) === fresh)
          await audit(tx, { subject: joined.name, detail: { role: joined.role } });
      });
      return { ...joined, logs_listening_port, logs_publishing_port };
    },
    LSEVENTS: (request) => s.activity.list(request),

    LSWORKFLOWS: (_, __, { isPlain }) => s.workflows.summaries(isPlain ? originalDag : undefined),
    GETWORKFLOW: async ({ workflow_id: id }) => {
      const details = await s.workflows.details(id);
      if (details !== undefined) return details;
      throw new NotFoundError(thereIsNoWorkflow(id, s.workflows.ids(), s.workflows.invalidFiles));
    },
    WATCHWORKFLOWS: async ({ revision, wait_ms }) => {
      const prefix = `${s.principalId} `;
      const known = revision?.startsWith(prefix) ? revision.slice(prefix.length) : undefined;
      return { revision: prefix + (await s.workflows.watch(known, wait_ms)) };
    },

    FORECAST: (request) => s.forecasts.of(request),

    PAUSEWORKFLOW: (request, sender, { user }, audit) =>
      s.pausing.pauseWorkflow(request, askerOf(sender, user).name, audit),
    RESUMEWORKFLOW: ({ workflow_id }, _, __, audit) => s.pausing.resumeWorkflow(workflow_id, audit),

    RUNTASK: async ({ workflow_id, options }, sender, { user }, audit) => {
      const actor = actorOf(sender, user, options.trigger);
      const id = await s.runs.trigger(workflow_id, options, actor, audit);
      return { workflow_instance_id: id, ...(await s.pausing.about(id, workflow_id)) };
    },
    LSRUNS: async (request) => (await s.runs.list(request)).map((run) => knownTo(request, run)),
    GETRUN: async (request) =>
      knownTo(request, await s.runs.get(request.workflow_instance_id, request.outputs)),
    LSITEMS: (request) => s.runs.items(request),
    WAITRUN: async (request) =>
      knownTo(request, await s.runs.wait(request.workflow_instance_id, request.wait_ms)),
    CANCELRUN: async ({ workflow_instance_id: id, hooks }, _, __, audit) =>
      knownTo({}, await s.runs.cancel(id, hooks, audit)),
    RETRYRUN: async (request, sender, { user }, audit) => {
      const retried = await s.runs.retry(request, actorOf(sender, user), audit);
      const { notes = [] } = await s.pausing.about(retried.workflow_instance_id);
      return notes.length === 0 ? retried : { ...retried, notes: [...(retried.notes ?? []), ...notes] };
    },
    SETPRIORITY: async ({ workflow_instance_id: id, priority }, _, __, audit) =>
      knownTo({}, await s.runs.setPriority(id, priority, audit)),
    GETRECENTSTATUSES: () => s.runs.recentStatuses(10),
    LSAPPROVALS: (request, sender, { user }) => s.approvals.list(request, askerOf(sender, user)),
    ANSWERAPPROVAL: (request, sender, { user }, audit) =>
      s.approvals.answer(request, askerOf(sender, user), audit),
    LSFOLLOWUPS: (request) => s.followUps.list(request),

    PLANBACKFILL: (request) => s.backfills.plan(request),
    CREATEBACKFILL: async (request, sender, { user }, audit) => ({
      backfill: await s.backfills.create(request, actorOf(sender, user), audit),
    }),
    LSBACKFILLS: (request) => s.backfills.list(request),
    GETBACKFILL: (request) => s.backfills.get(request),
    CHANGEBACKFILL: async (request, _, __, audit) => ({
      backfill: await s.backfills.change(request, audit),
    }),

    QUERYLOGS: async ({ end_ms, start_ms, workflow_id, workflow_instance_id, verbose }) => {
      const missing = await lastLines(s, workflow_instance_id);
      const lines = await s.history.queryLogs({
        endMs: end_ms ?? null,
        startMs: start_ms ?? null,
        workflowId: workflow_id ?? null,
        workflowInstanceId: workflow_instance_id ?? null,
        verbose: verbose ?? false,
      });
      if (missing !== null) lines.push(`${new Date(s.now()).toISOString()} [WARN] cdktr: ${missing}`);
      return lines;
    },
    SEARCHLOGS: async (request) => {
      // Later pages do not wait again.
      const waitMs = request.after === undefined ? LAST_LINES_MS : 0;
      const missing = await lastLines(s, request.workflow_instance_id, waitMs);
      const page = await s.history.searchLogs(request);
      if (missing === null) return page;
      return { ...page, warning: page.warning === null ? missing : `${page.warning} ${missing}` };
    },
    ISSUBSCRIBED: async ({ probe }) => ({ subscribed: await s.history.isSubscribed(probe) }),
    QUERYDB: (request) => s.history.query(request),
    LSAUDIT: async (request) => {
      await s.audit.takeIn();
      if (request.revision !== undefined) await s.audit.waitFor(request.revision, request.wait_ms);
      // Before the rows are read, so that none is missed.
      const { revision } = s.audit;
      const result = await s.history.query({ sql: auditSql(request), max_rows: request.limit + 1 });
      return auditPage(result, request, revision);
    },
    EXPORTDB: ({ transfer_id }) => s.history.prepare("export", transfer_id),
    BACKUPDB: ({ transfer_id, without_archive }) =>
      s.history.prepare("database", transfer_id, without_archive),
    BACKUP: ({ transfer_id, without_archive }) =>
      s.history.prepare("everything", transfer_id, without_archive),
    GETARCHIVE: () => s.history.archiveInfo(),
    ARCHIVEDB: (request) => s.history.archive(request),
    READFILE: (request) => s.history.readFile(request),
    DROPFILES: async ({ transfer_id }) => {
      await s.history.dropFiles(transfer_id);
      return {};
    },

    LSQUEUE: ({ limit }) => s.queue.list(limit),
    LSPOOLS: () => s.pools.list(),
    SETPOOL: ({ name, size }, sender, { user }, audit) =>
      s.pools.set(name, size, actorOf(sender, user), audit),

    LSALERTS: (filter) => s.alerts.list(filter),
    GETALERT: ({ alert_id }) => s.alerts.get(alert_id),
    RETRYALERT: ({ alert_id }, _sender, _peer, audit) => s.alerts.retry(alert_id, audit),
    DISMISSALERT: (request, _sender, _peer, audit) => s.alerts.dismiss(request, audit),
    LSCHANNELS: () => s.alerts.channels(),
    TESTCHANNEL: (request, sender, { user }, audit) =>
      s.channelTests.run(request, actorOf(sender, user), audit),

    SETSECRET: async ({ name, value }, sender, _, audit) => {
      await s.secrets.set(name, value, sender?.name ?? null, audit);
      return {};
    },
    LSSECRETS: () => s.secrets.list(),
    DROPSECRET: async ({ name }, sender, _, audit) => {
      await s.secrets.remove(name, sender?.name ?? null, audit);
      return {};
    },

    LSALERTQUERIES: () => s.queryAlerts.list(),

    LSLISTENERS: () => s.listeners.list(),
    REPORTLISTENERS: (request) => {
      s.listeners.report(request);
      return {};
    },

    DELIVERWEBHOOK: async (delivery) => {
      const response = await s.webhook(requestOf(delivery), delivery.peer, delivery.delivery_key ?? null);
      return {
        status: response.status,
        headers: Object.fromEntries(response.headers),
        body: await response.text(),
      };
    },

    GETREGISTEREDAGENTS: () => s.agents.list(),
    DRAINAGENT: async ({ agent_id }, _, __, audit) => {
      await s.agents.drain(agent_id, audit);
      return {};
    },
    REGISTERAGENT: async ({ agent_id, description }, sender) => {
      if (description !== undefined) return s.agents.register(agent_id, description, sender);
      await s.agents.plain.register(agent_id, sender);
      return null;
    },
    LSARTIFACTS: ({ workflow_instance_id: id }) => s.blobs.list(id),
    READBLOB: (request) => s.blobs.read(request),
    FETCHBLOB: (request) => s.blobs.fetch(request),
    WRITEBLOB: (request) => s.blobs.write(request),
    FETCHWORKFLOW: (request, sender) => fetchWorkflow(s, request, sender),
    AGENTHEARTBEAT: (request, _, { heldMs = 0 }) => {
      const { now_ms } = request;
      return s.agents.heartbeat(now_ms === undefined ? request : { ...request, now_ms: now_ms + heldMs });
    },
    AGENTREPORT: (request) => s.agents.report(request, (runId) => s.runs.isAwaited(runId)),
    AGENTWORKFLOWSTATUS: async ({ agent_id, workflow_instance_id, status }) => {
      s.agents.plain.seen(agent_id);
      return heard(
        `run ${workflow_instance_id}`,
        await s.agents.plain.hear(agent_id, workflow_instance_id, (tx, attempt) =>
          s.changes.hearRun(tx, {
            agent_id,
            stream_id: null,
            workflow_instance_id,
            slice: 0,
            attempt,
            status,
            timestamp_ms: s.now(),
            error: null,
            log_seq: 0,
          }),
        ),
      );
    },
    AGENTTASKSTATUS: async ({ agent_id, task_id, task_instance_id, workflow_instance_id, status }) => {
      s.agents.plain.seen(agent_id);
      return heard(
        `task run ${task_instance_id}`,
        await s.agents.plain.hear(agent_id, workflow_instance_id, (tx, attempt) =>
          s.changes.hearTask(tx, {
            agent_id,
            workflow_instance_id,
            attempt,
            task_id,
            task_instance_id,
            slice: 0,
            task_attempt: 1,
            status,
            timestamp_ms: s.now(),
            exit_code: null,
            signal: null,
            error: null,
            cpu_ms: null,
            max_rss_kb: null,
            outputs: null,
          }),
        ),
      );
    },
  };
}

/** @throws InvalidInputError when it is none */
function requestOf({ method, url, headers, body }: RequestOf<"DELIVERWEBHOOK">): Request {
  const content = Buffer.from(body, "base64");
  const hasBody = content.length > 0 && method !== "GET" && method !== "HEAD";
  try {
    return new Request(`http://webhook${url}`, { method, headers, ...(hasBody ? { body: content } : {}) });
  } catch (error) {
    throw new InvalidInputError(`It is not a request of HTTP: ${errorMessage(error)}`);
  }
}

/** A run with a status that whoever asks for it knows: one that waits is RUNNING for older programs. */
function knownTo<R extends RunSummary>({ waiting }: { readonly waiting?: boolean | undefined }, run: R): R {
  return run.status === "WAITING" && waiting !== true ? { ...run, status: "RUNNING" } : run;
}

/** Whoever sends a request: the name of the key, or of the user if there are no keys. */
function askerOf(sender: Identity | undefined, user: string | undefined): Asker {
  return { name: sender?.name ?? user ?? null, role: sender?.role ?? null };
}

/**
 * Who triggers a run; null for nobody. The principal triggers those of its schedules itself. Where there are keys it can be told from
 * others by its key; without, there is only one user.
 */
function actorOf(sender: Identity | undefined, user: string | undefined, trigger?: string): string | null {
  if (sender !== undefined) return sender.name === OWN_NAME ? null : sender.name;
  return trigger !== undefined && isFiring(trigger) ? null : (user ?? null);
}

async function fetchWorkflow(
  s: HandlerServices,
  { agent_id: agentId, options }: RequestOf<"FETCHWORKFLOW">,
  sender: Identity | undefined,
): Promise<ReplyOf<"FETCHWORKFLOW">> {
  const sessionId = options.session_id ?? null;
  let waitMs = options.wait_ms;
  if (sessionId === null) {
    await s.agents.plain.fetches(agentId, sender);
    // It sends no heartbeats: its next request is its next sign of life.
    waitMs = Math.min(waitMs, s.heartbeatTimeoutMs / 2);
  } else s.agents.seen(agentId, sessionId, options.last_token);
  if (await s.agents.isDraining(agentId)) {
    const ticket = s.polls.ticket(`draining ${agentId}`);
    await ticket.wait(waitMs);
    return null;
  }
  const { fetch_id: fetchId = null, most } = options;
  return s.dispatcher.fetch({ agentId, sessionId, fetchId, waitMs, most });
}

/**
 * Waits for the last lines of a run that has ended, so that a client that saw the end also sees them.
 * @returns what has not arrived, or null
 */
async function lastLines(
  s: HandlerServices,
  runId: string | undefined,
  waitMs = LAST_LINES_MS,
): Promise<string | null> {
  if (runId === undefined) return null;
  const ends = await s.runs.logEnds(runId);
  const missing = await Promise.all(
    ends.map(async ({ streamId, agentId, seq }) => {
      if (await s.history.waitReceived(streamId, seq, waitMs)) return null;
      const lines = seq - s.history.position(streamId).received;
      if (lines <= 0) return null;
      // Those of other runs on this agent are among them.
      const count = lines === 1 ? "1 line has" : `up to ${lines} lines have`;
      return `${count} not arrived from agent ${agentId ?? "(unknown)"}`;
    }),
  );
  const said = missing.filter((what) => what !== null);
  if (said.length === 0) return null;
  return `The end of the log is not shown: ${said.join(", and ")}. The agent keeps its lines until the principal has them; its own log says what prevents that.`;
}

/** @throws UnprocessableError when the status was not applied */
function heard(what: string, outcome: Outcome): null {
  switch (outcome) {
    case "applied":
      return null;
    case "over":
    case "fenced":
      throw new UnprocessableError(
        `The ${what} does not belong to this agent (any more): nothing was changed.`,
      );
    case "illegal":
      throw new UnprocessableError(
        `The ${what} cannot change to that status from its current one: nothing was changed.`,
      );
  }
}
