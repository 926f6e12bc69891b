/** What the principal answers, verb by verb. */

import {
  AgentDescription,
  AgentReports,
  DrainAgent,
  DropFiles,
  FetchOptions,
  GetRun,
  GetWorkflow,
  Heartbeat,
  IsSubscribed,
  Join,
  type Joined,
  ListEvents,
  ListFollowUps,
  ListRuns,
  type PrincipalInfo,
  QueryDatabase,
  ReadFile,
  ReportListeners,
  RetryRun,
  RunTaskOptions,
  SearchLogs,
  WaitRun,
  WatchWorkflows,
} from "../../contract/messages.ts";
import type { Verb } from "../../contract/verbs.ts";
import { InvalidInputError, NotFoundError, UnprocessableError } from "../../errors.ts";
import { IDENTIFIER } from "../../workflow/model.ts";
import { RUN_STATUSES, type RunStatus } from "../../workflow/status.ts";
import type { Identity } from "../access/access.ts";
import type { Activity } from "../activity.ts";
import type { AgentKeys } from "../agents/agent-keys.ts";
import type { AgentRegistry } from "../agents/agent-registry.ts";
import type { HistoryAccess } from "../history/history-access.ts";
import type { ListenerRegistry } from "../listener-registry.ts";
import type { LongPolls } from "../long-polls.ts";
import type { Dispatcher } from "../runs/dispatcher.ts";
import type { FollowUps } from "../runs/follow-ups.ts";
import type { Outcome, RunChanges } from "../runs/run-changes.ts";
import type { RunService } from "../runs/run-service.ts";
import { quote, thereIsNo, thereIsNoWorkflow } from "../unknown-name.ts";
import type { WorkflowDirectory } from "../workflows/workflow-directory.ts";
import { positional, type Request, readJson } from "./requests.ts";

/** The services that answer. */
export interface HandlerServices {
  readonly runs: RunService;
  readonly changes: RunChanges;
  readonly dispatcher: Dispatcher;
  readonly agents: AgentRegistry;
  readonly workflows: WorkflowDirectory;
  readonly history: HistoryAccess;
  readonly polls: LongPolls;
  readonly activity: Activity;
  readonly listeners: ListenerRegistry;
  readonly followUps: FollowUps;
  readonly now: () => number;
  readonly principalId: string;
  readonly heartbeatTimeoutMs: number;
  /** Whether the publisher of the live log knows a subscription to this probe. */
  readonly isSubscribed: (probe: string) => boolean;
  /** Makes the key of a new host known; absent without keys. */
  readonly join: ((sender: Identity, join: Join) => Pick<Joined, "name" | "role">) | undefined;
  /** Says which key may speak for which agent; absent without keys. */
  readonly agentKeys: AgentKeys | undefined;
  readonly info: () => Omit<PrincipalInfo, "workflows" | "invalid_workflow_files" | "runs" | "history">;
}

/** A successful reply. `payload` is JSON already. */
export interface HandlerReply {
  readonly kind: "PONG" | "OK" | "SUCCESS";
  readonly payload?: string;
}

/** Answers a request of the holder of a key, when there are keys; throws the error that becomes an error reply. */
export type Handler = (request: Request, sender?: Identity) => Promise<HandlerReply>;

/** The topic of {@link LongPolls} for changes of the workflows. */
export const WORKFLOWS_TOPIC = "workflows";

/** How long a query of the log of a run that is over waits for its last lines, ms. */
const LAST_LINES_MS = 2000;

/** The table of verbs. */
export function handlersOf(s: HandlerServices): Record<Verb, Handler> {
  return {
    PING: async (request) => {
      positional(request, []);
      return { kind: "PONG" };
    },
    LSWORKFLOWS: async (request) => {
      positional(request, []);
      return success(s.workflows.summaries());
    },
    RUNTASK: async (request) => {
      const { workflow, options } = positional(request, ["workflow", "options"], 1);
      const id = await s.runs.trigger(workflow, readJson(RunTaskOptions, options || "{}", "options"));
      return ok({ workflow_instance_id: id });
    },
    REGISTERAGENT: async (request, sender) => {
      const { agent, description } = positional(request, ["agent", "description"], 1);
      checkAgentId(agent);
      if (description !== "") {
        return ok(
          await s.agents.register(agent, readJson(AgentDescription, description, "description"), sender),
        );
      }
      await s.agents.registerPlain(agent, sender);
      return { kind: "OK" };
    },
    FETCHWORKFLOW: (request, sender) => fetchWorkflow(s, request, sender),
    AGENTWORKFLOWSTATUS: async (request, sender) => {
      const { agent, run, status } = positional(request, ["agent", "workflow", "run", "status"]);
      speaksFor(s, sender, agent);
      const to = readStatus(status);
      s.agents.seenPlain(agent);
      return heard(
        `run ${run}`,
        await s.agents.hearPlain(agent, run, (tx, attempt) =>
          s.changes.hearRun(tx, {
            agent_id: agent,
            stream_id: null,
            workflow_instance_id: run,
            attempt,
            status: to,
            timestamp_ms: s.now(),
            error: null,
            log_seq: 0,
          }),
        ),
      );
    },
    AGENTTASKSTATUS: async (request, sender) => {
      const names = ["agent", "task", "task run", "run", "status"] as const;
      const { agent, task, "task run": taskRun, run, status } = positional(request, names);
      speaksFor(s, sender, agent);
      const to = readStatus(status);
      if (!IDENTIFIER.test(task)) throw new InvalidInputError(`${quote(task)} is no task id.`);
      s.agents.seenPlain(agent);
      return heard(
        `task run ${taskRun}`,
        await s.agents.hearPlain(agent, run, (tx, attempt) =>
          s.changes.hearTask(tx, {
            agent_id: agent,
            workflow_instance_id: run,
            attempt,
            task_id: task,
            task_instance_id: taskRun,
            task_attempt: 1,
            status: to,
            timestamp_ms: s.now(),
            exit_code: null,
            signal: null,
            error: null,
            cpu_ms: null,
            max_rss_kb: null,
          }),
        ),
      );
    },
    QUERYLOGS: async (request) => {
      const names = ["end ms", "start ms", "workflow", "run", "verbose"] as const;
      const fields = positional(request, names, names.length);
      const run = fields.run || null;
      if (run !== null) await lastLines(s, run);
      return success(
        await s.history.queryLogs(
          readTime("end ms", fields["end ms"]),
          readTime("start ms", fields["start ms"]),
          fields.workflow || null,
          run,
          readFlag("verbose", fields.verbose),
        ),
      );
    },
    GETRECENTSTATUSES: async (request) => {
      positional(request, []);
      return success(await s.runs.recentStatuses(10));
    },
    GETREGISTEREDAGENTS: async (request) => {
      positional(request, []);
      return success(await s.agents.list());
    },

    JOIN: async (request, sender) => {
      const join = argument(Join, request);
      if (sender === undefined || s.join === undefined) {
        throw new UnprocessableError("This principal has no keys: there is nothing to join.");
      }
      const { logs_listening_port, logs_publishing_port } = s.info();
      return success({ ...s.join(sender, join), logs_listening_port, logs_publishing_port } satisfies Joined);
    },
    PRINCIPALINFO: async () => {
      const { ok: available, error } = s.history.available;
      const { pending, running } = await s.runs.counts();
      return success({
        ...s.info(),
        now_ms: s.now(),
        workflows: s.workflows.size,
        invalid_workflow_files: [...s.workflows.invalidFiles],
        runs: { pending, running },
        history: { available, error },
      } satisfies PrincipalInfo);
    },
    GETWORKFLOW: async (request) => {
      const { workflow_id: id } = argument(GetWorkflow, request);
      const details = s.workflows.details(id);
      if (details !== undefined) return success(details);
      throw new NotFoundError(thereIsNoWorkflow(id, s.workflows.ids(), s.workflows.invalidFiles));
    },
    WATCHWORKFLOWS: async (request) => {
      const { revision, wait_ms } = argument(WatchWorkflows, request);
      const present = () => `${s.principalId} ${s.workflows.revision}`;
      const ticket = s.polls.ticket(WORKFLOWS_TOPIC);
      if (revision === present()) await ticket.wait(wait_ms);
      else ticket.drop();
      return success({ revision: present() });
    },
    LSRUNS: async (request) => success(await s.runs.list(argument(ListRuns, request))),
    GETRUN: async (request) => success(await s.runs.get(argument(GetRun, request).workflow_instance_id)),
    WAITRUN: async (request) => {
      const { workflow_instance_id: id, wait_ms } = argument(WaitRun, request);
      return success(await s.runs.wait(id, wait_ms));
    },
    CANCELRUN: async (request) =>
      success(await s.runs.cancel(argument(GetRun, request).workflow_instance_id)),
    RETRYRUN: async (request) =>
      ok({ workflow_instance_id: await s.runs.retry(argument(RetryRun, request)) }),
    SEARCHLOGS: async (request) => {
      const search = argument(SearchLogs, request);
      if (search.workflow_instance_id !== undefined) await lastLines(s, search.workflow_instance_id);
      return success(await s.history.searchLogs(search));
    },
    ISSUBSCRIBED: async (request) =>
      success({ subscribed: s.isSubscribed(argument(IsSubscribed, request).probe) }),
    LSEVENTS: async (request) => success(s.activity.list(argument(ListEvents, request))),
    LSFOLLOWUPS: async (request) => success(await s.followUps.list(argument(ListFollowUps, request))),
    REPORTLISTENERS: async (request) => {
      s.listeners.report(argument(ReportListeners, request));
      return ok({});
    },
    LSLISTENERS: async () => success(s.listeners.list()),
    DRAINAGENT: async (request) => {
      await s.agents.drain(argument(DrainAgent, request).agent_id);
      return ok({});
    },
    AGENTHEARTBEAT: async (request, sender) => {
      const beat = argument(Heartbeat, request);
      speaksFor(s, sender, beat.agent_id);
      return ok(await s.agents.heartbeat(beat));
    },
    AGENTREPORT: async (request, sender) => {
      const batch = argument(AgentReports, request);
      speaksFor(s, sender, batch.agent_id);
      return ok(await s.agents.report(batch));
    },
    QUERYDB: async (request) => success(await s.history.query(argument(QueryDatabase, request))),
    EXPORTDB: async () => success(await s.history.prepareExport()),
    BACKUPDB: async () => success(await s.history.prepareBackup()),
    READFILE: async (request) => success(await s.history.readFile(argument(ReadFile, request))),
    DROPFILES: async (request) => {
      s.history.dropFiles(argument(DropFiles, request).transfer_id);
      return ok({});
    },
  };
}

/** See {@link AgentKeys.check}. */
function speaksFor(s: HandlerServices, sender: Identity | undefined, agentId: string): void {
  if (sender !== undefined) s.agentKeys?.check(sender, agentId);
}

async function fetchWorkflow(
  s: HandlerServices,
  request: Request,
  sender: Identity | undefined,
): Promise<HandlerReply> {
  const { agent, options } = positional(request, ["agent", "options"], 1);
  checkAgentId(agent);
  const fetch = readJson(FetchOptions, options || "{}", "options");
  const sessionId = fetch.session_id ?? null;
  let waitMs = fetch.wait_ms;
  if (sender !== undefined) s.agentKeys?.checkClaim(sender, agent);
  if (sessionId === null) {
    await s.agents.fetchesPlain(agent, sender);
    // It sends no heartbeats: its next request is its next sign of life.
    waitMs = Math.min(waitMs, s.heartbeatTimeoutMs / 2);
  }
  speaksFor(s, sender, agent);
  if (sessionId !== null) s.agents.seen(agent, sessionId);
  if (await s.agents.isDraining(agent)) {
    const ticket = s.polls.ticket(`draining ${agent}`);
    await ticket.wait(waitMs);
    return { kind: "OK" };
  }
  const assignment = await s.dispatcher.fetch({
    agentId: agent,
    sessionId,
    fetchId: fetch.fetch_id ?? null,
    waitMs,
  });
  return assignment === null ? { kind: "OK" } : success(assignment);
}

/** A client that saw a run end sees all its lines. */
async function lastLines(s: HandlerServices, runId: string): Promise<void> {
  const end = await s.runs.logEnd(runId);
  if (end !== null) await s.history.waitReceived(end.streamId, end.seq, LAST_LINES_MS);
}

function argument<S extends Parameters<typeof readJson>[0]>(schema: S, request: Request) {
  const { arguments: text } = positional(request, ["arguments"], 1);
  return readJson(schema, text || "{}", "arguments");
}

function heard(what: string, outcome: Outcome): HandlerReply {
  switch (outcome) {
    case "applied":
      return { kind: "OK" };
    case "over":
    case "fenced":
      throw new UnprocessableError(`The ${what} is not this agent's (any more): nothing was changed.`);
    case "illegal":
      throw new UnprocessableError(
        `The ${what} cannot get that status from the one it has: nothing was changed.`,
      );
  }
}

function checkAgentId(agentId: string): void {
  if (agentId.length > 256 || !IDENTIFIER.test(agentId)) {
    throw new InvalidInputError(
      `${quote(agentId)} is no agent id: letters, digits, ".", "_" and "-", at most 256.`,
    );
  }
}

function readStatus(text: string): RunStatus {
  const status = RUN_STATUSES.find((known) => known === text);
  if (status !== undefined) return status;
  throw new InvalidInputError(thereIsNo("status", text, RUN_STATUSES));
}

function readTime(name: string, text: string): number | null {
  if (text === "") return null;
  const ms = Number(text);
  if (!/^-?\d{1,16}$/.test(text) || !Number.isSafeInteger(ms)) {
    throw new InvalidInputError(
      `${name} is ${quote(text)}: it must be a whole number of ms since the epoch, or empty.`,
    );
  }
  return ms;
}

function readFlag(name: string, text: string): boolean {
  if (/^(true|1)$/i.test(text)) return true;
  if (/^(false|0|)$/i.test(text)) return false;
  throw new InvalidInputError(`${name} is ${quote(text)}: it must be true, false or empty.`);
}

function ok(json: unknown): HandlerReply {
  return { kind: "OK", payload: JSON.stringify(json) };
}

function success(json: unknown): HandlerReply {
  return { kind: "SUCCESS", payload: JSON.stringify(json) };
}
