/** The principal: its services, wired, started in order and stopped in reverse. */

import type { ConsolaInstance } from "consola";
import { VERSION } from "../build-facts.ts";
import { type Clock, systemClock } from "../clock.ts";
import type { Config } from "../config.ts";
import { PROTOCOL } from "../contract/version.ts";
import { DeclaredTriggers, TRIGGER_KINDS } from "../events/declared/declared-triggers.ts";
import { log as processLog } from "../log.ts";
import { MetricsServer } from "../metrics/metrics-server.ts";
import type { CurveClientKeys } from "../protocol/client.ts";
import { connect } from "../protocol/connect.ts";
import { type Service, startServices, stopServices } from "../service.ts";
import { SqliteOperationalStore } from "../storage/operational/sqlite/store.ts";
import type { OperationalStore } from "../storage/operational/store.ts";
import { ZmqError } from "../zmq/index.ts";
import { Access } from "./access/access.ts";
import { KeyStore } from "./access/key-store.ts";
import { Activity } from "./activity.ts";
import { AgentKeys } from "./agents/agent-keys.ts";
import { AgentRegistry } from "./agents/agent-registry.ts";
import { Api } from "./api/api.ts";
import { bindError, refuseOpenBinding } from "./api/bind.ts";
import { handlersOf, WORKFLOWS_TOPIC } from "./api/handlers.ts";
import { Historian } from "./history/historian.ts";
import { Housekeeping } from "./housekeeping.ts";
import { ListenerRegistry } from "./listener-registry.ts";
import { LogHub } from "./logs/log-hub.ts";
import { LongPolls } from "./long-polls.ts";
import { Metrics } from "./metrics/metrics.ts";
import { ResourceGuard } from "./resource-guard.ts";
import { Dispatcher } from "./runs/dispatcher.ts";
import { FollowUps } from "./runs/follow-ups.ts";
import { LeaseWatch } from "./runs/lease-watch.ts";
import { PauseWatch } from "./runs/pause-watch.ts";
import { RunChanges } from "./runs/run-changes.ts";
import { RunService } from "./runs/run-service.ts";
import { WorkflowDirectory } from "./workflows/workflow-directory.ts";

/** What may differ from principal to principal. */
export interface PrincipalOptions {
  /** A port of 0 means any free one; {@link Principal.ports} tells which. */
  readonly config: Config;
  /** Binds off loopback although no keys are set up. */
  readonly insecure?: boolean;
  /** Runs the scheduler; true by default. */
  readonly scheduler?: boolean;
  /** Serves what workflow files declare under `on:`; true by default. */
  readonly listeners?: boolean;
  readonly clock?: Clock;
  /** How long an assignment stands that no agent confirms, ms. */
  readonly leaseTimeoutMs?: number;
  readonly log?: ConsolaInstance;
  /** What stands between the services and the operational state. For tests. */
  readonly wrapStore?: (store: OperationalStore) => OperationalStore;
}

/** The ports that are bound. */
export interface PrincipalPorts {
  readonly api: number;
  readonly logsListening: number;
  readonly logsPublishing: number;
}

/** The coordinator: one process of it works on a data directory. */
export class Principal implements Service {
  readonly name = "principal";
  /** Random, new with every start. */
  readonly id = crypto.randomUUID();
  readonly #config: Config;
  readonly #insecure: boolean;
  readonly #log: ConsolaInstance;
  readonly #access: Access | undefined;
  readonly #api: Api;
  readonly #logHub: LogHub;
  readonly #dispatcher: Dispatcher;
  readonly #polls = new LongPolls();
  readonly #services: readonly Service[];
  readonly #startedAtMs: number;
  #stopping: Promise<void> | undefined;

  constructor(options: PrincipalOptions) {
    const { config } = options;
    const clock = options.clock ?? systemClock;
    const activity = new Activity(clock);
    const log = activity.listeningTo(options.log ?? processLog);
    const tagged = (tag: string) => log.withTag(tag);
    this.#config = config;
    this.#insecure = options.insecure ?? false;
    this.#log = tagged("principal");
    this.#startedAtMs = clock.now();

    const keys = new KeyStore(config.CDKTR_APP_DATA_DIRECTORY);
    const access = keys.exists
      ? new Access({
          store: keys,
          clock,
          log: tagged("access"),
        })
      : undefined;
    this.#access = access;
    const metrics = new Metrics();
    const listeners = new ListenerRegistry(clock);
    const directory = config.CDKTR_APP_DATA_DIRECTORY;
    const sqlite = new SqliteOperationalStore({ directory, clock, log: tagged("state") });
    const store = options.wrapStore?.(sqlite) ?? sqlite;
    const agentKeys =
      access === undefined
        ? undefined
        : new AgentKeys({ store, clock, identify: (publicKey) => access.identify(publicKey) });
    const history = new Historian({
      dbPath: config.CDKTR_DB_PATH,
      dataDirectory: config.CDKTR_APP_DATA_DIRECTORY,
      statuses: store,
      flushIntervalMs: config.CDKTR_LOG_FLUSH_INTERVAL_MS,
      log: tagged("history"),
    });
    history.signals.on("flushed", ({ tookMs, ok }) => metrics.flushed(tookMs, ok));
    const logHub: LogHub = new LogHub({
      host: config.CDKTR_PRINCIPAL_HOST,
      listeningPort: config.CDKTR_LOGS_LISTENING_PORT,
      publishingPort: config.CDKTR_LOGS_PUBLISHING_PORT,
      historian: history,
      log: tagged("logs"),
      access,
      agentKeys,
    });
    this.#logHub = logHub;
    access?.signals.on("revoked", () => {
      this.#api.cutOff();
      logHub.cutOff();
    });
    const changes: RunChanges = new RunChanges(clock, {
      queued: (tx) => dispatcher.queued(tx),
      offered: (waitedMs) => {
        metrics.dispatched(waitedMs);
        leases.offered();
      },
      ending: (tx, run) => followUps.ending(tx, run),
      ended: (run) => {
        metrics.ended(run.status);
        runs.ended(run);
      },
      orders: (agentId) => agents.ordersChanged(agentId),
      statusWritten: () => history.notifyStatus(),
    });
    const offerMs = options.leaseTimeoutMs ?? Math.max(10_000, 3 * config.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS);
    const dispatcher = new Dispatcher({ store, changes, log: tagged("dispatcher"), offerMs });
    const leases = new LeaseWatch({
      store,
      changes,
      clock,
      log: tagged("dispatcher"),
      offerMs,
      checkPause: () => pauses.check(),
    });
    const pauses = new PauseWatch({
      clock,
      toleranceMs: config.CDKTR_AGENT_HEARTBEAT_INTERVAL_MS,
      paused: (ms) => {
        this.#log.warn(`This principal stood still for ${Math.round(ms)} ms; agents get a fresh timeout.`);
        agents.forgive();
        leases.forgive();
      },
    });
    const agents: AgentRegistry = new AgentRegistry({
      store,
      changes,
      leases,
      polls: this.#polls,
      logs: history,
      keys: agentKeys,
      clock,
      log: tagged("agents"),
      principalId: this.id,
      heartbeatTimeoutMs: config.CDKTR_AGENT_HEARTBEAT_TIMEOUT_MS,
      checkPause: () => pauses.check(),
      dismiss: (agentId) => dispatcher.dismiss(agentId),
    });
    const workflows = new WorkflowDirectory({
      root: config.CDKTR_WORKFLOW_DIR,
      store,
      clock,
      log: tagged("workflows"),
      refreshMs: config.CDKTR_WORKFLOW_DIR_REFRESH_FREQUENCY_S * 1000,
      changed: () => this.#polls.wake(WORKFLOWS_TOPIC),
    });
    const followUps: FollowUps = new FollowUps({ store, workflows, polls: this.#polls, clock });
    const runs: RunService = new RunService({
      store,
      changes,
      workflows,
      polls: this.#polls,
      clock,
      old: history,
    });
    this.#dispatcher = dispatcher;
    this.#api = new Api({
      host: config.CDKTR_PRINCIPAL_HOST,
      port: config.CDKTR_PRINCIPAL_PORT,
      log: tagged("api"),
      keys: access === undefined || agentKeys === undefined ? undefined : { access, agentKeys },
      handlers: handlersOf({
        runs,
        changes,
        dispatcher,
        agents,
        workflows,
        history,
        polls: this.#polls,
        activity,
        listeners,
        followUps,
        now: () => clock.now(),
        principalId: this.id,
        heartbeatTimeoutMs: config.CDKTR_AGENT_HEARTBEAT_TIMEOUT_MS,
        isSubscribed: (probe) => logHub.isSubscribed(probe),
        join: access === undefined ? undefined : (sender, join) => access.join(sender, join),
        info: () => ({
          principal_id: this.id,
          version: VERSION,
          protocol: PROTOCOL,
          pid: process.pid,
          started_at_ms: this.#startedAtMs,
          host: config.CDKTR_PRINCIPAL_HOST,
          api_port: this.ports.api,
          logs_listening_port: this.ports.logsListening,
          logs_publishing_port: this.ports.logsPublishing,
        }),
      }),
    });
    const housekeeping = new Housekeeping({
      store,
      agents,
      clock,
      log: tagged("state"),
      forgot: () => runs.forgot(),
    });
    const metricsServer = new MetricsServer({
      port: config.CDKTR_METRICS_PORT,
      log: tagged("metrics"),
      setting: "CDKTR_METRICS_PORT",
      page: () =>
        metrics.page({
          startedAtMs: this.#startedAtMs,
          runs: () => runs.counts(),
          agents: () => agents.list(),
          workflows: () => ({ valid: workflows.size, invalid: workflows.invalidFiles.length }),
          history: () => ({ ...history.held, available: history.available.ok }),
          logs: () => logHub.counts,
          listeners: () => listeners.list(),
        }),
      health: async () => {
        // It coordinates as long as its state can be read; a history that is away is no illness of it.
        const { queued } = await runs.counts();
        return { principal_id: this.id, version: VERSION, queued, history: history.available };
      },
    });
    // Clients like any other: they reach the API through its socket, once that is bound.
    const triggers = new DeclaredTriggers({
      config,
      kinds: TRIGGER_KINDS.filter((kind) =>
        kind === "cron" ? (options.scheduler ?? true) : (options.listeners ?? true),
      ),
      connect: () => connect(config, { keys: this.ownKeys }, { port: this.ports.api }),
      log,
      clock,
    });
    this.#services = [
      ...(access === undefined ? [] : [access]),
      store,
      ...(agentKeys === undefined ? [] : [agentKeys]),
      history,
      withBindErrors(logHub, config),
      workflows,
      pauses,
      leases,
      agents,
      housekeeping,
      this.#api,
      new ResourceGuard({ ports: () => Object.values(this.ports), log: tagged("principal") }),
      metricsServer,
      triggers,
    ];
  }

  /** The ports that are bound, once started. */
  get ports(): PrincipalPorts {
    return {
      api: this.#api.port,
      logsListening: portOf(this.#logHub.listeningEndpoint),
      logsPublishing: portOf(this.#logHub.publishingEndpoint),
    };
  }

  /** The keys with which this process reaches the principal; undefined when it is not secured. Once started. */
  get ownKeys(): CurveClientKeys | undefined {
    return this.#access?.ownKeys;
  }

  /**
   * Resolves when requests are answered.
   * @throws UsageError when it would be open to others without protection
   * @throws NotPrivateError when its keys are open to others
   * @throws DataDirectoryInUseError when another principal works on the data directory
   * @throws CdktrError when a port is taken, or the state on disk cannot be opened
   */
  async start(): Promise<void> {
    if (this.#access === undefined) refuseOpenBinding(this.#config.CDKTR_PRINCIPAL_HOST, this.#insecure);
    await this.#polls.start();
    await startServices(this.#services);
  }

  /** Answers what waits, writes everything that is pending, and ends. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    await this.#polls.stop();
    this.#dispatcher.close();
    await stopServices(this.#services);
  }
}

function portOf(endpoint: string): number {
  return Number(/:(\d+)$/.exec(endpoint)?.[1] ?? 0);
}

/** The log hub, whose binding errors say which setting has the port. */
function withBindErrors(hub: LogHub, config: Config): Service {
  const { CDKTR_PRINCIPAL_HOST: host, CDKTR_LOGS_LISTENING_PORT, CDKTR_LOGS_PUBLISHING_PORT } = config;
  const listening = { what: "port for agents' logs", setting: "CDKTR_LOGS_LISTENING_PORT" };
  const publishing = { what: "port for live logs", setting: "CDKTR_LOGS_PUBLISHING_PORT" };
  return {
    name: hub.name,
    start: () =>
      hub.start().catch((error) => {
        const port = error instanceof ZmqError ? portOf(error.endpoint ?? "") : 0;
        if (port === CDKTR_LOGS_LISTENING_PORT) throw bindError(error, { host, port, ...listening });
        if (port === CDKTR_LOGS_PUBLISHING_PORT) throw bindError(error, { host, port, ...publishing });
        throw error;
      }),
    stop: () => hub.stop(),
  };
}
