/** The agent: takes runs from the principal when it has free capacity, executes them, and reports the results. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../clock.ts";
import type { Config } from "../config.ts";
import type {
  AgentDescription,
  AgentOrders,
  AttemptName,
  RunAssignment,
  StopOrder,
} from "../contract/messages.ts";
import { VersionMismatchError } from "../contract/version.ts";
import { type CdktrError, errorMessage } from "../errors.ts";
import { bootId } from "../host/boot.ts";
import { log } from "../log.ts";
import type { PrincipalClient } from "../protocol/client.ts";
import { BackgroundService, startServices, stopServices } from "../service.ts";
import { variablesOf } from "../workflow/secrets.ts";
import { describeAgent } from "./agent-description.ts";
import { agentsDirectory, claimIdentity, identityOf, leftBehind } from "./agent-id.ts";
import { AgentLife, type AgentPhase } from "./agent-phase.ts";
import { BlobFetcher } from "./blob-fetcher.ts";
import { Cgroups } from "./cgroups.ts";
import { deliverAll, unreceivedLines } from "./deliver.ts";
import { AGENT_MARKER, inheritedEnvironment, runVariables, without } from "./environment.ts";
import { ForeignMounts } from "./foreign-mounts.ts";
import { connectAgent, intakeOf } from "./known-members.ts";
import { automaticLabels } from "./labels.ts";
import { LeftBehind } from "./left-behind.ts";
import { LogSender } from "./log-sender.ts";
import { limitAtStart } from "./open-files.ts";
import { endOrphans, StraySweep, ZombieReaper } from "./orphans.ts";
import type { Outbox } from "./outbox.ts";
import { OtherInstallationError, PrincipalLink } from "./principal-link.ts";
import { DEFAULT_GRACE_MS } from "./process-group.ts";
import { ReportSender } from "./report-sender.ts";
import { runReport } from "./reports.ts";
import { RunBundle } from "./run-bundle.ts";
import { RunDirectories } from "./run-directories.ts";
import { RunSecrets } from "./secrets/run-secrets.ts";
import type { SecretPlaces } from "./secrets/sources.ts";
import { type RunEnd, SliceRun } from "./slice-run.ts";
import { Survivors } from "./survivors.ts";
import type { AgentContext, TaskSink } from "./task-context.ts";
import { TaskFiles } from "./task-files.ts";
import type { TaskLog } from "./task-log.ts";
import { TaskPaths } from "./task-paths.ts";
import { TaskSlots } from "./task-slots.ts";
import { UserPlaces } from "./user-places.ts";
import { WorkFetcher } from "./work-fetcher.ts";

/** Options of an agent in addition to the settings. */
export interface AgentOptions {
  readonly config: Config;
  /** Appended to the host name to form the agent's id. */
  readonly suffix?: string;
  /** In addition to those that every agent has by itself, see labels.ts. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Maximum number of concurrent runs; `CDKTR_AGENT_MAX_CONCURRENCY` by default. */
  readonly maxConcurrentWorkflows?: number;
  /** The environment that tasks inherit; that of this process by default. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Whether that is also the environment of the principal. */
  readonly sharesEnvironment?: boolean;
  /** Time between TERM and KILL, ms; 5 s by default. */
  readonly graceMs?: number;
  readonly clock?: Clock;
  /** Maximum size on disk of log lines and reports that the principal does not have yet, bytes; `CDKTR_AGENT_OUTBOX_LIMIT_MB` by default. */
  readonly outboxLimitBytes?: number;
  /** Takes the place of this agent of the data directory, which has ended, to deliver what it left. */
  readonly inPlaceOf?: string;
  /** How long it waits at its end for a principal that takes nothing of what it has to deliver, ms; two timeouts of requests by default. */
  readonly patienceMs?: number;
  /** Wraps what takes the lines and reports of tasks, for whoever wants to see them too. */
  readonly seeing?: (sink: TaskSink) => TaskSink;
}

/**
 * Exit status of an agent: 0 when it was told to stop and everything is reported, 2 when it is too old for the principal (a restart
 * cannot fix that), 1 otherwise.
 */
export type AgentStatus = 0 | 1 | 2;

/** Events of an agent. */
interface AgentSignals {
  /** The agent has entered this phase. */
  readonly phase: AgentPhase;
  /** A run is over on this agent; the principal may not know it yet. */
  readonly "run over": undefined;
}

/** An attempt that this agent holds. */
interface Held {
  readonly assignment: RunAssignment;
  readonly run: SliceRun;
  /** Whether it occupies capacity, because it is not over yet. */
  active: boolean;
  /** Why the principal wants it stopped. */
  stopped?: StopOrder["reason"];
  /** Number of the report that brings it to the principal, which does not know it before; absent if it came from there. */
  readonly begun?: number;
}

/** The resources that `start` opens. */
interface Parts {
  readonly agentId: string;
  readonly isAdopted: boolean;
  readonly outbox: Outbox;
  readonly client: PrincipalClient;
  readonly link: PrincipalLink;
  readonly lines: LogSender;
  readonly reports: ReportSender;
  readonly work: WorkFetcher;
  readonly left: LeftBehind;
  readonly sweep: StraySweep;
  readonly reaper: ZombieReaper;
  readonly context: AgentContext;
  /** Where secrets of runs are. */
  readonly secrets: SecretPlaces;
}

/** How long one request for work waits at the principal (long poll), in heartbeat intervals. */
const FETCH_INTERVALS = 4;
/** Maximum number of runs that the principal is asked about at once; the others follow. */
const MOST_DIRECTORIES = 500;

/**
 * An agent. `start` resolves when it is ready to work, whether or not the principal is there; from then on {@link done} tells when
 * and how it ended: after `drain`, after `cancelAll`, by order of the principal, or because the principal is gone.
 */
export class Agent extends BackgroundService<AgentSignals> {
  readonly name = "agent";
  /** Resolves with the exit status when the agent has ended; never rejects. The reason for a status other than 0 is in the log. */
  readonly done: Promise<AgentStatus>;
  readonly #options: AgentOptions;
  readonly #sessionId = crypto.randomUUID();
  readonly #labels: Readonly<Record<string, string>>;
  readonly #held = new Map<string, Held>();
  readonly #done = Promise.withResolvers<AgentStatus>();
  readonly #registered = Promise.withResolvers<void>();
  #parts: Parts | undefined;
  #principalId: string | undefined;
  /** Last log line that the principal has confirmed. */
  #receivedSeq = 0;
  readonly #life = new AgentLife();
  /** Why the principal is unreachable or refuses this agent; undefined if it does not. */
  #trouble: CdktrError | undefined;
  #hasForeignId = false;

  constructor(options: AgentOptions) {
    super(options.clock);
    this.#options = options;
    this.#labels = { ...options.labels, ...automaticLabels() };
    this.done = this.#done.promise;
  }

  /** The id under which it registers; empty before `start`. */
  get id(): string {
    return this.#parts?.agentId ?? "";
  }

  /** Resolves after the first registration; never resolves if there is none, see {@link done}. */
  get registered(): Promise<void> {
    return this.#registered.promise;
  }

  /** Whether its loop is running: it hears from the principal, or notices that there is none. */
  get isWell(): boolean {
    return this.#parts?.link.isTurning() ?? true;
  }

  get phase(): AgentPhase {
    return this.#life.phase;
  }

  /**
   * Whether it was refused because the id that it took from its data directory belongs to an agent elsewhere. The next agent in this data
   * directory takes another id.
   */
  get hasForeignId(): boolean {
    return this.#hasForeignId;
  }

  /** The principal that it uses, as `HOST:PORT`; empty before `start`. */
  get principal(): string {
    return this.#parts?.client.address ?? "";
  }

  /** Whether it has stopped accepting runs. */
  get isDraining(): boolean {
    return !this.#life.isTaking;
  }

  /** Whether the principal answered the last request. */
  get isConnected(): boolean {
    return this.#parts?.link.isUp ?? false;
  }

  /** Number of runs that it is executing. */
  get runningWorkflows(): number {
    let count = 0;
    for (const { active } of this.#held.values()) if (active) count++;
    return count;
  }

  get #mostRuns(): number {
    const { config, maxConcurrentWorkflows } = this.#options;
    return maxConcurrentWorkflows ?? config.CDKTR_AGENT_MAX_CONCURRENCY;
  }

  /**
   * Claims the agent's data, ends leftover processes of a killed agent, and begins to register.
   * @throws OutboxLockedError, OutboxUnavailableError, UsageError: see agent-id.ts
   */
  protected override async onStart(): Promise<void> {
    const { config, graceMs = DEFAULT_GRACE_MS, inPlaceOf, suffix } = this.#options;
    // The runtime closes pipes on threads that it starts when they are first needed. They must exist before processes run out.
    await readFile("/proc/self/stat").catch(() => {});
    const directory = agentsDirectory(config.CDKTR_APP_DATA_DIRECTORY);
    const limit = this.#options.outboxLimitBytes ?? config.CDKTR_AGENT_OUTBOX_LIMIT_MB * 1024 * 1024;
    const { agentId, outbox, isAdopted } =
      inPlaceOf === undefined
        ? claimIdentity(directory, suffix, limit)
        : identityOf(directory, inPlaceOf, suffix, limit);
    // Must happen before this agent registers: from then on the runs it had may be executed elsewhere.
    const survivors = new Survivors(() => this.#parts?.link.beatNow());
    survivors.add(await endOrphans(outbox, directory, graceMs));
    const client = connectAgent(
      config,
      agentId,
      join(directory, agentId),
      this.#options.sharesEnvironment === true,
    );
    const link = this.#makeLink(client, agentId);
    const lines = new LogSender({
      outbox,
      ...intakeOf(client, config),
      curve: client.curve,
      ask: () => link.ask(),
    });
    client.signals.on("moved", () => lines.turnTo(intakeOf(client, config)));
    const reports = new ReportSender({ outbox, link, client, lines, agentId, sessionId: this.#sessionId });
    outbox.attach({ lines: (frame) => lines.push(frame), reports: (isUrgent) => reports.hear(isUrgent) });
    const liveTasks = new Set<string>();
    const endedTasks = new Map<string, TaskLog>();
    const own = this.#options.environment ?? process.env;
    const paths = new TaskPaths(new ForeignMounts(["/", process.execPath, directory]));
    this.#parts = {
      agentId,
      isAdopted,
      outbox,
      client,
      link,
      lines,
      reports,
      work: new WorkFetcher({
        link,
        client,
        agentId,
        sessionId: this.#sessionId,
        labels: this.#labels,
        waitMs: Math.min(60_000, config.CDKTR_AGENT_HEARTBEAT_INTERVAL_MS * FETCH_INTERVALS),
        isTaking: () => this.#life.isTaking,
        room: () => this.#mostRuns - this.runningWorkflows,
        take: (assignment) => this.#take(assignment),
      }),
      left: new LeftBehind({
        find: () => leftBehind(directory, suffix, agentId),
        deliver: (other, signal) => this.#deliverFor(other, signal),
        lookForMs: 2 * config.CDKTR_AGENT_HEARTBEAT_TIMEOUT_MS,
      }),
      sweep: new StraySweep(outbox, { liveTasks, endedTasks, survivors, graceMs }),
      reaper: new ZombieReaper(),
      context: {
        outbox: this.#options.seeing?.(outbox) ?? outbox,
        slots: new TaskSlots(config.CDKTR_AGENT_MAX_TASKS, () => outbox.roomForTasks()),
        clock: this.clock,
        environment: inheritedEnvironment(own, config.CDKTR_SECRET_VARIABLES),
        directory: process.cwd(),
        openFiles: limitAtStart(),
        paths,
        graceMs,
        bootId: bootId(),
        liveTasks,
        endedTasks,
        survivors,
        files: new TaskFiles(join(directory, agentId)),
        directories: new RunDirectories(join(directory, agentId), this.clock),
        blobs: new BlobFetcher({
          directory: join(directory, agentId, "blobs"),
          limitBytes: config.CDKTR_BLOB_CACHE_MB * 1024 * 1024,
          client,
          link,
          agentId,
        }),
        users: new UserPlaces(join(directory, agentId)),
        cgroups: new Cgroups(),
      },
      secrets: {
        own,
        environment: { ...inheritedEnvironment(own), [AGENT_MARKER]: outbox.streamId },
        directory: process.cwd(),
        paths,
      },
    };
    this.#enter("REGISTERING");
    await startServices([this.#parts.sweep, this.#parts.reaper, this.#parts.left, lines, reports, link]);
    this.#parts.work.start();
    void this.#endIfIdle();
  }

  /** Drains: takes no new runs, finishes those it has, then ends. */
  drain(): void {
    if (this.#enter("DRAINING")) this.#takeNothingNew();
  }

  #takeNothingNew(): void {
    this.#parts?.work.hasRoom();
    void (this.#parts?.work.end() ?? Promise.resolve()).then(() => this.#endIfIdle());
  }

  /** Cancels its runs, takes no new ones, then ends. */
  cancelAll(): void {
    this.#endNow("CANCELLING");
  }

  /**
   * Stops its runs without a report, takes no new ones, then ends. When it leaves, the principal gives its runs to other agents as
   * their next attempt.
   */
  handOver(): void {
    this.#endNow("HANDING_OVER");
  }

  /** Enters a phase if the current one allows it. Returns whether it did. */
  #enter(phase: AgentPhase): boolean {
    const entered = this.#life.enter(phase);
    if (entered) this.signals.emit("phase", phase);
    return entered;
  }

  #endNow(phase: "CANCELLING" | "HANDING_OVER"): void {
    const wasTaking = this.#life.isTaking;
    if (!this.#enter(phase)) return;
    if (wasTaking) this.#takeNothingNew();
    this.#stopAll();
  }

  /** Cancels its runs and ends. */
  protected override async onStop(): Promise<void> {
    if (this.#parts === undefined) return;
    this.cancelAll();
    await this.done;
  }

  // ---------------------------------------------------------------- the principal

  #makeLink(client: PrincipalClient, agentId: string): PrincipalLink {
    const { config } = this.#options;
    return new PrincipalLink({
      client,
      agentId,
      heartbeatIntervalMs: config.CDKTR_AGENT_HEARTBEAT_INTERVAL_MS,
      timeoutMs: config.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS,
      attempts: config.CDKTR_RETRY_ATTEMPTS,
      now: () => this.clock.now(),
      describe: () => this.#describe(),
      beat: () => ({
        running: this.#runningAttempts(),
        running_tasks: this.#parts?.context.slots.used ?? 0,
        log_first_seq: this.#parts?.outbox.firstLogSeq,
        now_ms: this.clock.now(),
        survivors: this.#parts?.context.survivors.brief(),
        state: this.isDraining ? "draining" : "up",
        ...this.#sharedDirectories(),
      }),
      meet: (installation) => this.#meet(installation),
      isFor: (installation) => this.#parts?.outbox.isFor(installation) ?? true,
      registered: (orders) => this.#onRegistered(orders),
      obey: (orders) => this.#obey(orders),
      gone: (error) => this.#onGone(error),
      refused: (error) => this.#onRefused(error),
      postponed: async () => this.#parts?.reports.sendEarly(),
    });
  }

  /** Runs with parts that were here: only the principal knows when they are over. */
  #sharedDirectories(): { directories?: string[] } {
    const shared = this.#parts?.context.directories.shared ?? [];
    return shared.length === 0 ? {} : { directories: shared.slice(0, MOST_DIRECTORIES) };
  }

  #describe(): AgentDescription {
    return describeAgent({
      sessionId: this.#sessionId,
      outbox: this.#parts?.outbox,
      mostRuns: this.#mostRuns,
      labels: this.#labels,
      running: this.#runningAttempts(),
    });
  }

  /** Attempts that the principal knows, and whose end it does not have yet. */
  #runningAttempts(): AttemptName[] {
    return [...this.#held.values()].flatMap(({ assignment, begun = 0 }) => {
      if (begun > (this.#parts?.reports.lastDurable ?? 0)) return [];
      const { workflow_instance_id, slice, attempt } = assignment;
      return [{ workflow_instance_id, slice, attempt }];
    });
  }

  /**
   * Called before the principal registers this agent: it must not receive what the outbox holds for another installation.
   * @throws OtherInstallationError while this agent executes runs of the other one
   */
  #meet(installation: string): void {
    const { outbox, lines, reports, client } = this.#parts ?? {};
    if (outbox === undefined) return;
    const isSame = outbox.isFor(installation);
    if (!isSame && this.#held.size > 0) throw new OtherInstallationError(client?.address ?? "");
    outbox.turnTo(installation);
    if (isSame) return;
    lines?.hold();
    reports?.restart();
  }

  #onRegistered(orders: AgentOrders): void {
    const parts = this.#parts;
    if (parts === undefined) return;
    parts.outbox.registered(this.#sessionId);
    parts.outbox.joinsReports = orders.takes_whole_tasks === true;
    parts.outbox.catchUp(orders.report_durable_seq, orders.log_received_seq);
    this.#principalId = orders.principal_id;
    parts.lines.rewind(orders.log_received_seq);
    this.#obey(orders);
    this.#heardAgain();
    log.info(`Agent ${parts.agentId} is registered with the principal at ${parts.client.address}.`);
    this.#registered.resolve();
    if (this.#options.inPlaceOf === undefined && this.#life.isTaking) parts.left.registered();
  }

  /** Does what an agent that has ended would do if it was started again and told to stop. */
  async #deliverFor(inPlaceOf: string, signal: AbortSignal): Promise<void> {
    const agent = new Agent({ ...this.#options, inPlaceOf });
    const stop = () => agent.cancelAll();
    await agent.start();
    agent.drain();
    signal.addEventListener("abort", stop);
    if (signal.aborted) stop();
    await agent.done;
    signal.removeEventListener("abort", stop);
  }

  /** The principal is there and knows this agent. */
  #heardAgain(): void {
    this.#trouble = undefined;
    this.#enter("UP");
  }

  #obey(orders: AgentOrders): void {
    const parts = this.#parts;
    if (parts === undefined) return;
    if (this.#life.phase === "ALONE") this.#heardAgain();
    if (this.#principalId !== undefined && orders.principal_id !== this.#principalId) {
      this.#principalId = orders.principal_id;
      parts.lines.rewind(orders.log_received_seq);
    }
    this.#receivedSeq = orders.log_received_seq;
    parts.lines.received(orders.log_received_seq);
    parts.outbox.forgetLines(orders.log_durable_seq);
    parts.reports.acknowledge(orders.report_durable_seq);
    for (const order of orders.stop) this.#stopAttempt(order);
    for (const { workflow_instance_id, has_failed } of orders.over_runs ?? [])
      parts.context.directories.runOver(workflow_instance_id, has_failed);
    if (orders.drain && this.#life.isTaking) {
      log.info("The principal has ordered a drain: this agent stops when its runs are over.");
      this.drain();
    }
  }

  #onGone(error: CdktrError): void {
    this.#trouble = error;
    this.#enter("ALONE");
    log.error(error.hint === undefined ? error.message : `${error.message} ${error.hint}`);
    // Attempts that were never confirmed have not begun and never will.
    this.#stopUnconfirmed();
    if (this.runningWorkflows > 0) log.warn("The runs of this agent continue; it stops when they are over.");
    void this.#endIfIdle();
  }

  #onRefused(error: CdktrError): void {
    this.#trouble = error;
    log.error(`The principal does not take this agent: ${error.message}`);
    if (this.#parts?.isAdopted) {
      this.#hasForeignId = true;
      this.#parts.outbox.disown();
    }
    this.#enter("REFUSED");
    this.#parts?.work.abort();
    this.#parts?.work.hasRoom();
    // Runs that are being cancelled no longer belong to this agent either.
    for (const { run } of this.#held.values()) run.stop("superseded");
    void this.#endIfIdle();
  }

  // ---------------------------------------------------------------- runs

  /**
   * Executes a run that no principal has ordered, from now on, whether or not there is a principal. It is told about the run, and may cancel it.
   * @returns how it ended; null if it was stopped without a report
   */
  async execute(assignment: Omit<RunAssignment, "is_confirmed">): Promise<RunEnd> {
    const begun = { session_id: this.#sessionId, definition: JSON.stringify(assignment.workflow) };
    const report = { ...runReport({ assignment, clock: this.clock }, "RUNNING"), begun };
    const number = this.#parts?.outbox.addReport(report);
    this.#take({ ...assignment, is_confirmed: true }, number);
    return (await this.#held.get(keyOf(assignment))?.run.over) ?? null;
  }

  #take(assignment: RunAssignment, begun?: number): void {
    const parts = this.#parts;
    if (parts === undefined) return;
    const key = keyOf(assignment);
    if (this.#held.has(key)) return;
    const named = { assignment, clock: parts.context.clock };
    const confirmation = assignment.is_confirmed ? null : parts.outbox.addReport(runReport(named, "RUNNING"));
    try {
      const runDirectory = parts.context.directories.of(assignment);
      const context = {
        ...parts.context,
        environment: this.#environment(parts.context.environment, assignment),
        assignment,
        variables: runVariables(assignment, parts.outbox.streamId, runDirectory.path),
        runDirectory,
        ...(assignment.bundle === undefined || parts.context.blobs === undefined
          ? {}
          : { bundle: new RunBundle(assignment, assignment.bundle, parts.context.blobs, runDirectory) }),
        ...(assignment.workflow.secrets === undefined
          ? {}
          : { secrets: new RunSecrets(assignment, parts.secrets) }),
      };
      const held: Held = {
        assignment,
        run: new SliceRun(context),
        active: true,
        ...(begun === undefined ? {} : { begun }),
      };
      this.#held.set(key, held);
      void this.#execute(parts, held, confirmation);
      // It was in transit when everything was cancelled.
      const { stopReason } = this.#life;
      if (stopReason !== undefined) held.run.stop(stopReason);
    } catch (error) {
      log.error(`Run ${assignment.workflow_instance_id} cannot be executed: ${errorMessage(error)}`);
      parts.outbox.addReport(
        runReport(named, "FAILED", `the run cannot be executed: ${errorMessage(error)}`),
      );
    }
  }

  /**
   * Handles an attempt until the principal has its end.
   * @param confirmation number of the report that the principal must have before the tasks may start; null if it needs none
   */
  async #execute(parts: Parts, held: Held, confirmation: number | null): Promise<void> {
    const { run } = held;
    if (confirmation === null) queueMicrotask(() => run.start());
    // Orders that came with the confirmation have been carried out by then: a run that was stopped does not start.
    else void parts.reports.durable(confirmation).then(() => run.start());
    const end = await run.over;
    held.active = false;
    parts.work.hasRoom();
    this.signals.emit("run over");
    parts.sweep.schedule();
    void this.#endIfIdle();
    if (end !== null) await parts.reports.durable(parts.outbox.lastReportSeq);
    this.#held.delete(keyOf(held.assignment));
  }

  /**
   * What its tasks inherit: no variables that the workflow declares as secrets. An agent that a principal started has the principal's
   * environment, with further secrets that are not meant for tasks.
   */
  #environment(
    inherited: AgentContext["environment"],
    { secret_variables = [], workflow }: RunAssignment,
  ): AgentContext["environment"] {
    const shared = this.#options.sharesEnvironment === true ? secret_variables : [];
    const withheld = [...shared, ...variablesOf(workflow.secrets)];
    return withheld.length === 0 ? inherited : without(inherited, withheld);
  }

  #stopAttempt(order: StopOrder): void {
    const held = this.#held.get(keyOf(order));
    if (held === undefined || !held.active) return;
    if (order.items !== undefined) {
      // It is repeated until the slice is over.
      if (held.run.isStarted) held.run.stopItems(order.items);
      return;
    }
    held.run.stop(order.reason === "timed out" ? "run timed out" : order.reason);
    // The order comes with every heartbeat until the run has ended.
    if (held.stopped === order.reason) return;
    held.stopped = order.reason;
    const part = order.slice === 0 ? "" : `, slice ${order.slice}`;
    log.info(
      `Run ${order.workflow_instance_id}${part}, attempt ${order.attempt}, was stopped: ${STOPPED_BECAUSE[order.reason]}.`,
    );
  }

  #stopAll(): void {
    const { stopReason } = this.#life;
    if (stopReason === undefined) return;
    for (const { run } of this.#held.values()) run.stop(stopReason);
  }

  #stopUnconfirmed(): void {
    for (const { run } of this.#held.values()) if (!run.isStarted) run.stop("superseded");
  }

  // ---------------------------------------------------------------- the end

  /** Ends when there are no runs and none can arrive any more. */
  async #endIfIdle(): Promise<void> {
    const parts = this.#parts;
    if (parts === undefined || !this.#life.endsWhenIdle || this.runningWorkflows > 0) return;
    this.#enter("DRAINING");
    parts.work.abort();
    await parts.work.ended();
    // The last request for work may have brought a run, which is finished first.
    if (this.runningWorkflows === 0 && this.#enter("ENDING")) await this.#end(parts);
  }

  async #end(parts: Parts): Promise<void> {
    const { outbox, link, lines, reports, left: others, sweep, reaper, client, context } = parts;
    try {
      await others.stop();
      await sweep.stop();
      outbox.flush();
      const { config, patienceMs = config.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS * 2 } = this.#options;
      await deliverAll(parts, patienceMs);
      const left = outbox.pendingReports;
      const leftLines = unreceivedLines(outbox, this.#receivedSeq);
      if (left > 0 || leftLines > 0) {
        log.warn(
          `${left} reports and ${leftLines} log lines could not be delivered. They are kept, and delivered when this agent starts again.`,
        );
      }
      await link.leave();
      await stopServices([lines, reports, link, reaper]);
      await client.close();
      context.paths.close();
      context.directories.close();
      await context.users.close();
      outbox.close();
      this.#finish(this.#status(left + leftLines));
    } catch (error) {
      log.error(`The agent did not stop cleanly: ${errorMessage(error)}`);
      this.#finish(1);
    }
  }

  #finish(status: AgentStatus): void {
    this.#enter("ENDED");
    this.#done.resolve(status);
  }

  #status(left: number): AgentStatus {
    if (this.#trouble instanceof VersionMismatchError && this.#trouble.tooOld === "agent") return 2;
    return left > 0 || this.#trouble !== undefined ? 1 : 0;
  }
}

const STOPPED_BECAUSE: Readonly<Record<StopOrder["reason"], string>> = {
  cancelled: "it was cancelled",
  superseded: "the principal considers it over",
  "timed out": "the run timed out",
};

function keyOf({ workflow_instance_id, slice, attempt }: AttemptName): string {
  return `${workflow_instance_id} ${slice} ${attempt}`;
}
