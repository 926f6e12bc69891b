/** The principal: wires its services, starts them in order and stops them in reverse. */

import { stat } from "node:fs/promises";
import type { ConsolaInstance } from "consola";
import { VERSION } from "../build-facts.ts";
import { type Clock, systemClock } from "../clock.ts";
import { type Config, daysOf } from "../config.ts";
import { type HistoryHost, IN_MEMORY } from "../contract/history.ts";
import type { TelemetrySettings } from "../contract/telemetry.ts";
import { PROTOCOL } from "../contract/version.ts";
import { EventHub } from "../event-hub.ts";
import { DeclaredTriggers, TRIGGER_KINDS } from "../events/declared/declared-triggers.ts";
import { FileHelper } from "../host/file-helper/file-helper.ts";
import { historyMemory } from "../host/history-memory.ts";
import { hostZone } from "../host/host-zone.ts";
import { log as processLog } from "../log.ts";
import type { CurveClientKeys } from "../protocol/client.ts";
import { connect } from "../protocol/connect.ts";
import type { Access } from "../protocol/doors/access.ts";
import { refuseOpenBinding } from "../protocol/doors/bind.ts";
import { BackgroundService, type Service, startServices, stopServices } from "../service.ts";
import { SqliteOperationalStore } from "../storage/operational/sqlite/store.ts";
import type { OperationalStore } from "../storage/operational/store.ts";
import { finishRestore } from "../storage/restore-journal.ts";
import { isDoneWithin } from "../timer.ts";
import { Activity } from "./activity.ts";
import { AgentKeys } from "./agents/agent-keys.ts";
import { AgentRegistry } from "./agents/agent-registry.ts";
import { QueryAlerts } from "./alert-queries/query-alerts.ts";
import { AlertViews } from "./alerts/alert-views.ts";
import { Alerts } from "./alerts/alerts.ts";
import { ChannelSecrets } from "./alerts/channel-secrets.ts";
import { ChannelSenders } from "./alerts/channel-senders.ts";
import { ChannelTests } from "./alerts/channel-tests.ts";
import { Deliveries } from "./alerts/deliveries.ts";
import { ExpectationWatch } from "./alerts/expectation-watch.ts";
import { Expectations } from "./alerts/expectations.ts";
import { logTails } from "./alerts/log-tail.ts";
import { entranceOf } from "./api/entrance.ts";
import { Front } from "./api/front.ts";
import { type HandlerServices, handlersOf } from "./api/handlers.ts";
import { LocalTarget } from "./api/local-target.ts";
import { AuditLog } from "./audit/audit-log.ts";
import { BackfillRunner } from "./backfills/backfill-runner.ts";
import { Backfills } from "./backfills/backfills.ts";
import { BlobKeeper } from "./blobs/blob-keeper.ts";
import { blobStoreOf } from "./blobs/blob-store-of.ts";
import { Bundles } from "./blobs/bundles.ts";
import type { MemberParts } from "./cluster/member-parts.ts";
import { ownSummary } from "./cluster/own-summary.ts";
import { Forecasts } from "./forecast/forecasts.ts";
import { HistoryLink } from "./history/history-link.ts";
import { lakeOf } from "./history/lake-settings.ts";
import { Housekeeping } from "./housekeeping.ts";
import { Installation } from "./installation.ts";
import { AdmissionWatch } from "./limits/admission-watch.ts";
import { Pauses } from "./limits/pauses.ts";
import { Pausing } from "./limits/pausing.ts";
import { PoolService } from "./limits/pool-service.ts";
import { ListenerRegistry } from "./listener-registry.ts";
import { LongPolls } from "./long-polls.ts";
import { Metrics } from "./metrics/metrics.ts";
import { principalPages } from "./metrics/pages.ts";
import type { PrincipalEvents } from "./principal-events.ts";
import { Rehearsal } from "./rehearsal.ts";
import { Approvals } from "./runs/approvals.ts";
import { Definitions } from "./runs/definitions.ts";
import { Dispatcher } from "./runs/dispatcher.ts";
import { DueWatch } from "./runs/due-watch.ts";
import { FollowUps } from "./runs/follow-ups.ts";
import { LeaseWatch } from "./runs/lease-watch.ts";
import { PauseWatch } from "./runs/pause-watch.ts";
import { ProgressOfRuns } from "./runs/progress-of-runs.ts";
import { QueueView } from "./runs/queue-view.ts";
import { RestWatch } from "./runs/rest-watch.ts";
import { RunChanges } from "./runs/run-changes.ts";
import { RunQueue } from "./runs/run-queue.ts";
import { RunService } from "./runs/run-service.ts";
import { WaitWatch } from "./runs/wait-watch.ts";
import { Waits } from "./runs/waits.ts";
import { DirectDelivery } from "./schedules/direct-delivery.ts";
import { sharedCursor } from "./schedules/shared-cursor.ts";
import { SecretStore } from "./secrets/secret-store.ts";
import { Tracing } from "./telemetry/tracing.ts";
import { declarationsOf } from "./workflows/declarations.ts";
import { WorkflowDirectory } from "./workflows/workflow-directory.ts";

/** Options of a principal in addition to the settings. */
export interface PrincipalOptions {
  /** Port 0 means any free one; see {@link Principal.ports}. */
  readonly config: Config;
  /** Where the history runs. */
  readonly history: HistoryHost;
  /** Binds addresses other than loopback even without keys. */
  readonly insecure?: boolean;
  /** Runs the scheduler; true by default. */
  readonly scheduler?: boolean;
  /** Serves the triggers that workflow files declare under `on:`; true by default. */
  readonly listeners?: boolean;
  readonly clock?: Clock;
  /** IANA name of the zone for schedules without one; by default the host's. */
  readonly zone?: string;
  /** How long an unconfirmed offer is valid, ms. */
  readonly leaseTimeoutMs?: number;
  readonly log?: ConsolaInstance;
  /** Where traces and logs are exported to; nowhere by default. */
  readonly telemetry?: TelemetrySettings | null;
  /** Wraps the operational state, for tests. */
  readonly wrapStore?: (store: OperationalStore) => OperationalStore;
  /** What it shares with the other terms of its member, if it is one of several. */
  readonly member?: MemberParts;
}

/** How long the announcement that it is ready waits for the history, ms. Requests are answered before. */
const HISTORY_OPENS_MS = 10_000;
/** How long the files of workflows are read before a new leader answers, ms: requests wait for it. */
const FILES_OF_TERM_MS = 1000;
/** How long to find out whether there is a history, ms: its disk may not answer. */
const FILE_ANSWERS_MS = 1000;

/** The bound ports. */
export interface PrincipalPorts {
  readonly api: number;
  readonly logsListening: number;
  readonly logsPublishing: number;
}

/** The coordinator; only one process may use a data directory. */
export class Principal extends BackgroundService {
  readonly name = "principal";
  /** What it is called when it is ready. */
  readonly title = "Principal";
  /** Random, new on every start. */
  readonly id = crypto.randomUUID();
  /** Without keys: everyone who can reach its ports is served, not just its own user and root. */
  readonly isOpen: boolean;
  readonly #config: Config;
  readonly #mayBind: () => void;
  readonly #hold: () => void;
  readonly #startedAtMs: number;
  readonly #access: Access | undefined;
  readonly #log: ConsolaInstance;
  readonly #files: FileHelper;
  readonly #bundles: Bundles;
  readonly #installation: Installation;
  readonly #front: Pick<Front, "services" | "port">;
  readonly #history: HistoryLink;
  readonly #services: readonly Service[];

  /** Creates the services, passing each the ones it needs; events between them are in principal-events.ts. */
  constructor(options: PrincipalOptions) {
    const { config, clock = systemClock } = options;
    super(clock);
    this.#config = config;
    this.#startedAtMs = clock.now();
    const { id: principalId } = this;
    const host = config.CDKTR_PRINCIPAL_HOST;
    const dataDirectory = config.CDKTR_APP_DATA_DIRECTORY;
    const heartbeatTimeoutMs = config.CDKTR_AGENT_HEARTBEAT_TIMEOUT_MS;
    const offerMs = options.leaseTimeoutMs ?? Math.max(10_000, 3 * config.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS);

    const zone = options.zone ?? hostZone();
    const telemetry = options.telemetry ?? null;
    const tracing = new Tracing(telemetry?.traces == null ? null : telemetry.sampling);

    // Shared infrastructure.
    const activity = new Activity(clock);
    const allLogs = activity.listeningTo(options.log ?? processLog);
    this.#log = allLogs;
    const log = (tag: string) => allLogs.withTag(tag);
    const events: PrincipalEvents = new EventHub();
    const polls = new LongPolls();
    const definitions = new Definitions();
    const progress = new ProgressOfRuns(definitions);
    const listeners = new ListenerRegistry(clock);

    // Access control and storage.
    const { member } = options;
    const insecure = options.insecure ?? false;
    const entrance = member?.entrance ?? entranceOf(config, { insecure, clock, log: log("access") });
    const { access, locals } = entrance;
    this.isOpen = entrance.isOpen;
    this.#mayBind = () => {
      if (access === undefined && member === undefined) refuseOpenBinding(host, insecure);
    };
    const ownStore =
      member?.store ?? new SqliteOperationalStore({ directory: dataDirectory, clock, log: log("state") });
    const store = options.wrapStore?.(ownStore) ?? ownStore;
    const agentKeys = access && new AgentKeys({ store, clock, access });
    const installation = new Installation(store);
    const secrets = new SecretStore({
      store,
      keyFile: config.CDKTR_SECRETS_KEY_FILE,
      isOpen: this.isOpen,
      clock,
      log: log("secrets"),
    });
    const lake = lakeOf(config);
    const history = new HistoryLink({
      host: options.history,
      settings: {
        db_path: config.CDKTR_DB_PATH,
        ...(lake && { lake: { ...lake, epoch: member?.epoch ?? null } }),
        data_directory: dataDirectory,
        flush_interval_ms: config.CDKTR_LOG_FLUSH_INTERVAL_MS,
        history_keep_days: daysOf(config.CDKTR_HISTORY_KEEP),
        archive_keep_days: daysOf(config.CDKTR_ARCHIVE_KEEP),
        host,
        listening_port: config.CDKTR_LOGS_LISTENING_PORT,
        publishing_port: config.CDKTR_LOGS_PUBLISHING_PORT,
        doors: access !== undefined ? "keys" : locals !== undefined ? "own user" : "everyone",
        log_level: allLogs.level,
        ...(telemetry === null ? {} : { telemetry }),
      },
      mayAdopt: () => !installation.isKnown,
      isAwaited: async () =>
        (await store.identity()).is_new && (lake !== undefined || (await isThere(config.CDKTR_DB_PATH))),
      state: {
        statuses: store,
        installation,
        keys: access && agentKeys && { access, agentKeys },
        retentions: () => workflows.retentions(),
        forget: (ids) => housekeeping.forgetRuns(ids),
      },
      log: allLogs,
      memory: historyMemory(),
    });
    events.on("statuses written", () => history.notifyStatus());
    events.on("agent clock compared", ({ agentId, offsetMs }) => history.clockCompared(agentId, offsetMs));

    const alerts = new Alerts({ store, clock, events, definitions, log: log("alerts") });
    const waits = new Waits(definitions, clock, !this.isOpen);
    const expectations = new Expectations({ clock, events, definitions, alerts, waits, zone });
    const paused = new Pauses({ clock, events, definitions, alerts, expectations });

    // Workflows, runs and agents. Nearly all of these share the store, the clock, the events and the long polls.
    const base = { store, clock, events, polls, definitions, progress, alerts, expectations };
    // One process for all that defines workflows. The files that they watch have another, because a scan of them may take long.
    const files = new FileHelper();
    const queue = new RunQueue();
    const workflows = new WorkflowDirectory({
      ...base,
      files,
      log: log("workflows"),
      root: config.CDKTR_WORKFLOW_DIR,
      refreshMs: config.CDKTR_WORKFLOW_DIR_REFRESH_FREQUENCY_S * 1000,
      zone,
      pauses: paused,
      ...(member === undefined ? {} : { startMs: FILES_OF_TERM_MS }),
      poolsChanged: (tx) => queue.queued(tx),
    });
    alerts.follow(workflows);
    events.on("workflow paused", () => workflows.stateChanged());
    events.on("workflow resumed", () => workflows.stateChanged());
    events.on("expectations changed", () => workflows.stateChanged());
    const followUps = new FollowUps({ ...base, workflows });
    const blobs = blobStoreOf(config);
    const keeper = new BlobKeeper({
      store,
      blobs,
      limitBytes: config.CDKTR_BLOB_LIMIT_GB * 1024 ** 3,
      artifactsMs:
        config.CDKTR_ARTIFACTS_KEEP_DAYS === 0 ? null : config.CDKTR_ARTIFACTS_KEEP_DAYS * 86_400_000,
      artifactsBytes: config.CDKTR_ARTIFACTS_LIMIT_MB * 1024 ** 2,
      owner: () => installation.id,
      clock,
      log: log("files"),
    });
    const bundles = new Bundles({ keeper, blobs, workflows });
    const rests = new RestWatch({ ...base, log: log("dispatcher") });
    const changes = new RunChanges({
      ...base,
      tracing,
      queue,
      followUps,
      workflows,
      bundles,
      rests,
      pauses: paused,
    });
    const dispatcher = new Dispatcher({
      ...base,
      changes,
      queue,
      log: log("dispatcher"),
      offerMs,
      secretVariables: () => workflows.secretVariables(),
      secrets,
      tracing,
    });
    const toleranceMs = config.CDKTR_AGENT_HEARTBEAT_INTERVAL_MS;
    const pauses = new PauseWatch({ ...base, log: log("principal"), toleranceMs });
    const leases = new LeaseWatch({ ...base, log: log("dispatcher"), changes, pauses, offerMs });
    const agents = new AgentRegistry({
      ...base,
      log: log("agents"),
      changes,
      leases,
      pauses,
      logs: history,
      keys: agentKeys,
      principalId,
      installation,
      heartbeatTimeoutMs,
    });
    const dues = new DueWatch({ ...base, log: log("dispatcher"), changes });
    const { admission } = changes;
    const admissions = new AdmissionWatch({ ...base, log: log("dispatcher"), admission });
    const waitWatch = new WaitWatch({ ...base, log: log("dispatcher"), waits });
    const runs = new RunService({
      ...base,
      tracing,
      log: log("workflows"),
      changes,
      queue,
      waits,
      workflows,
      old: history,
      bundles,
      pauses: paused,
    });
    const pausing = new Pausing({
      ...base,
      log: log("workflows"),
      pauses: paused,
      queue,
      workflows,
      goOn: (tx, run) => admission.enter(tx, run),
      // Without a scheduler nothing is caught up.
      ...(options.scheduler === false
        ? {}
        : { missedFirings: (id: string, sinceMs: number) => workflows.missedFirings(id, sinceMs) }),
      missed: {
        async pack(id) {
          await workflows.load(id);
          return bundles.pack(id);
        },
        create: (tx, event, packed) => runs.createMissed(tx, event, packed),
      },
    });
    const approvals = new Approvals({ ...base, changes });
    history.signals.on("state", (state) => {
      if (state === "UP") void runs.historyOpened();
    });
    const backfills = new Backfills({ ...base, workflows, history, zone });
    const backfillRunner = new BackfillRunner({
      ...base,
      log: log("backfills"),
      changes,
      workflows,
      bundles,
      history,
      pauses: paused,
    });
    const forecasts = new Forecasts({
      ...base,
      workflows,
      history,
      zone,
      calendars: () => workflows.calendars,
      givesSecrets: !this.isOpen,
    });
    const channels = new ChannelSenders({
      channels: () => workflows.channels,
      secrets: new ChannelSecrets({ store, secrets, files, env: Bun.env }),
      logTail: logTails({ history, runs }),
      zone,
      installation: () => installation.id,
      now: () => clock.now(),
      log: log("alerts"),
    });
    const channelTests = new ChannelTests({ store, senders: channels, clock, log: log("alerts") });
    const expectationWatch = new ExpectationWatch({
      ...base,
      log: log("workflows"),
      workflows,
      graceMs: heartbeatTimeoutMs,
    });
    const pools = new PoolService({ ...base, queue, log: log("dispatcher") });
    const queueView = new QueueView({ ...base, waits });
    const deliveries = new Deliveries({ ...base, log: log("alerts"), channels });
    const alertViews = new AlertViews({ ...base, channels, deliveries });
    const rehearsal = new Rehearsal({ ...base, log: log("state"), changes });
    const housekeeping = new Housekeeping({ ...base, log: log("state"), agents });

    const queryAlerts = new QueryAlerts({ ...base, workflows, history, log: log("alerts") });

    // What is visible from outside.
    const audit = new AuditLog({ store, dataDirectory, clock, polls, log: log("audit") });
    const target = new LocalTarget({
      log: log("api"),
      keys: access && agentKeys && { access, agentKeys },
      audit,
      handlers: handlersOf({
        store,
        audit,
        runs,
        approvals,
        backfills,
        changes,
        dispatcher,
        agents,
        workflows,
        history,
        polls,
        activity,
        listeners,
        webhook: (request, peer, key) => triggers.webhook(request, peer, key),
        pausing,
        queryAlerts,
        secrets,
        pools,
        queue: queueView,
        followUps,
        blobs: keeper,
        forecasts,
        channelTests,
        alerts: alertViews,
        access,
        now: () => clock.now(),
        principalId,
        heartbeatTimeoutMs,
        info: () => ({ ...this.#info(), ...member?.place() }),
        principals: () => member?.principals() ?? [ownSummary(config, this.ports, this.#startedAtMs)],
      }),
    });
    const pages = principalPages({
      principalId,
      startedAtMs: this.#startedAtMs,
      metrics: new Metrics(events, history.signals, {
        most: config.CDKTR_METRICS_WORKFLOWS,
        ids: () => workflows.ids(),
        latestEnds: (ids) => history.latestEnds(ids),
      }),
      runs,
      pools,
      queue: queueView,
      agents,
      workflows,
      pauses: paused,
      expectations,
      mostWorkflows: config.CDKTR_METRICS_WORKFLOWS,
      deliveries,
      history,
      listeners,
      store,
      files: () => keeper.held,
    });
    const front =
      member?.front(target, pages) ?? new Front({ config, entrance, target, pages, log: allLogs });
    // Ordinary clients: they connect to the API through its socket once it is bound. This process cannot die without them, so they wait long.
    const triggers = new DeclaredTriggers({
      config,
      kinds: TRIGGER_KINDS.filter((kind) =>
        kind === "cron" ? (options.scheduler ?? true) : (options.listeners ?? true),
      ),
      connect: () => connect(config, { keys: this.ownKeys }, { port: this.ports.api }),
      declarations: declarationsOf(workflows),
      direct: new DirectDelivery({ runs, workflows, clock }),
      // The next leader goes on where this one was.
      ...(member === undefined ? {} : { cursor: sharedCursor(store, clock) }),
      refreshMs: 60_000,
      log: allLogs,
      clock,
      files,
    });

    this.#files = files;
    this.#bundles = bundles;
    this.#access = access;
    this.#installation = installation;
    this.#history = history;
    this.#front = front;
    this.#hold = () => member?.hold();
    // In start order. The last ones stop first: they answer pending requests.
    this.#services = [
      ...(member === undefined ? [access, locals] : []),
      store,
      agentKeys,
      history,
      installation,
      alerts,
      workflows,
      pausing,
      expectationWatch,
      pauses,
      leases,
      agents,
      waitWatch,
      dues,
      admissions,
      rests,
      queryAlerts,
      housekeeping,
      deliveries,
      keeper,
      audit,
      channelTests,
      ...front.services,
      triggers,
      rehearsal,
      backfillRunner,
      dispatcher,
      polls,
    ].filter((service) => service !== undefined);
  }

  /** The bound ports, once started. */
  get ports(): PrincipalPorts {
    const { listening, publishing } = this.#history.ports;
    return { api: this.#front.port, logsListening: listening, logsPublishing: publishing };
  }

  /** The keys with which this process connects to its own principal; undefined when it is not secured. Available once started. */
  get ownKeys(): CurveClientKeys | undefined {
    return this.#access?.ownKeys;
  }

  /**
   * Starts the services; afterwards they answer requests.
   * @throws UsageError when it would be open to others without protection
   * @throws NotPrivateError when its key files are accessible to others
   * @throws DataDirectoryInUseError when another principal uses the data directory
   * @throws CdktrError when a port is taken, the state on disk cannot be opened, or a restore cannot be finished
   */
  protected override async onStart(): Promise<void> {
    this.#mayBind();
    this.#files.prepare();
    finishRestore(this.#config.CDKTR_APP_DATA_DIRECTORY, (message) => this.#log.warn(message));
    await startServices(this.#services);
  }

  /**
   * Resolves when the ports of the history are bound, or after 10 s: only then is it certain that this principal stays.
   * @throws CdktrError when one is taken, or the history cannot read the keys
   */
  historyBound(): Promise<void> {
    return this.#history.bound(HISTORY_OPENS_MS);
  }

  /**
   * Resolves when the history is open, or says why it cannot be opened now, or after 10 s. Requests are answered before.
   * @throws CdktrError when a port of the history is taken, or it cannot read the keys: nothing can be delivered to it
   */
  historySettled(): Promise<void> {
    return this.#history.settled(HISTORY_OPENS_MS);
  }

  /** Answers pending requests, ends what reads the history, writes everything that is pending, and stops. */
  protected override async onStop(): Promise<void> {
    this.#hold();
    this.#history.endReads();
    await stopServices(this.#services);
    this.#bundles.close();
  }

  #info(): ReturnType<HandlerServices["info"]> {
    return {
      principal_id: this.id,
      installation_id: this.#installation.id,
      version: VERSION,
      protocol: PROTOCOL,
      pid: process.pid,
      started_at_ms: this.#startedAtMs,
      host: this.#config.CDKTR_PRINCIPAL_HOST,
      api_port: this.ports.api,
      logs_listening_port: this.ports.logsListening,
      logs_publishing_port: this.ports.logsPublishing,
    };
  }
}

/** Whether there is a history; false also when that cannot be found out. */
async function isThere(dbPath: string): Promise<boolean> {
  if (dbPath === IN_MEMORY) return false;
  let isFound = false;
  const found = stat(dbPath).then(
    () => {
      isFound = true;
    },
    () => {},
  );
  await isDoneWithin(FILE_ANSWERS_MS, found);
  return isFound;
}
