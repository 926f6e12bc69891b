/**
 * The history: log intake, live publishing, DuckDB. What it needs of the principal it asks over a link, see `contract/history.ts`; it
 * runs in a process of its own.
 */
import { type ConsolaInstance, createConsola } from "consola";
import type {
  HistoryAvailability,
  HistoryCalls,
  HistoryNews,
  HistorySettings,
  LogType,
  PrincipalCalls,
  PrincipalNews,
  StreamPositions,
} from "../contract/history.ts";
import { HistoryUnavailableError } from "../contract/history.ts";
import { ResourceGuard } from "../host/resource-guard.ts";
import { wordsOf } from "../log.ts";
import { Access } from "../protocol/doors/access.ts";
import { isTaken, portOf } from "../protocol/doors/bind.ts";
import { KeyStore } from "../protocol/doors/key-store.ts";
import { LocalPeers } from "../protocol/doors/local-peers.ts";
import { type Answers, type Ears, MessageLink, textOf } from "../protocol/message-link.ts";
import { dropOldest } from "../recent.ts";
import { BackgroundService, type Service, startServices, stopServices } from "../service.ts";
import { ArchiveKeeper } from "./archive-keeper.ts";
import { Historian } from "./historian.ts";
import { LakeKeeper } from "./lake/lake-keeper.ts";
import { LogHub } from "./logs/log-hub.ts";
import { RemoteStatuses } from "./remote-statuses.ts";
import { EXPORT_WITHIN_MS, Exporter } from "./telemetry/exporter.ts";

/** Positions are told together with those that change within this time, ms. */
const TELL_POSITIONS_MS = 5;
/** How long ports may be taken at the start, and how often they are tried, ms. */
const PORTS_GET_FREE_MS = 1000;
const LOOK_AGAIN_MS = 50;
/** Number of streams whose positions the principal is told. */
const MAX_STREAMS = 100_000;
/** Types of log lines that the principal's log has. */
const LOG_TYPES: readonly string[] = ["error", "warn", "info", "success", "debug"] satisfies LogType[];

/** Options of {@link History}. */
export interface HistoryOptions {
  readonly settings: HistorySettings;
  /** Sends a text to the principal; throws when it is gone. */
  readonly send: (text: string) => void;
}

export class History extends BackgroundService {
  readonly name = "history";
  readonly #link: MessageLink<PrincipalCalls, HistoryNews, HistoryCalls, PrincipalNews>;
  readonly #statuses: RemoteStatuses;
  readonly #historian: Historian;
  readonly #keeper: ArchiveKeeper;
  /** Absent where the history is in a file. */
  readonly #lakeKeeper: LakeKeeper | undefined;
  readonly #hub: LogHub;
  /** What guards the ports, and the ports. */
  readonly #doors: readonly Service[];
  readonly #guard: ResourceGuard;
  /** Absent where nothing is exported. */
  readonly #exporter: Exporter | undefined;
  /** Resolves when the database was opened, or could not be: what arrives at the ports is received from then on. */
  readonly #ready = Promise.withResolvers<void>();
  /** Resolves when DuckDB has been asked for its positions. */
  readonly #reconciled = Promise.withResolvers<void>();
  /** Streams whose positions the principal wants to know, and those that have moved since it was told. */
  readonly #wanted = new Set<string>();
  readonly #moved = new Set<string>();
  readonly #tell = this.timer(() => this.#tellPositions());
  #told: HistoryAvailability = { ok: false, error: "" };

  constructor({ settings, send }: HistoryOptions) {
    super();
    this.#link = new MessageLink({
      send,
      answers: this.#answers(),
      ears: this.#ears(),
      // Who gets a reply knows the positions that it is about.
      beforeReply: () => this.#tellPositions(),
    });
    this.#statuses = new RemoteStatuses(this.#link);
    const log = this.#logger(settings.log_level);
    const dataDirectory = settings.data_directory;
    const access =
      settings.doors === "keys"
        ? new Access({
            store: new KeyStore(dataDirectory),
            clock: this.clock,
            log: log.withTag("access"),
            isSecond: true,
          })
        : undefined;
    const locals = settings.doors === "own user" ? new LocalPeers({ log: log.withTag("access") }) : undefined;
    this.#historian = new Historian({
      dbPath: settings.db_path,
      lake: settings.lake,
      dataDirectory,
      statuses: this.#statuses,
      // What is exported was written before.
      flushIntervalMs:
        settings.telemetry === undefined
          ? settings.flush_interval_ms
          : Math.min(settings.flush_interval_ms, EXPORT_WITHIN_MS),
      log: log.withTag("history"),
      mayAdopt: settings.may_adopt,
    });
    const { telemetry } = settings;
    if (telemetry !== undefined) {
      const exporter = new Exporter({
        settings: telemetry,
        log: log.withTag("telemetry"),
        broughtContexts: () => this.#historian.broughtContexts(),
      });
      this.#exporter = exporter;
      this.#historian.signals.on("written", ({ batch, isAll }) => exporter.written(batch, isAll));
    }
    this.#keeper = new ArchiveKeeper({
      withArchive: (work) => this.#historian.withArchive(work),
      // The days of a lake are in files from the beginning.
      historyKeepDays: settings.lake === undefined ? settings.history_keep_days : null,
      archiveKeepDays: settings.archive_keep_days,
      isLake: settings.lake !== undefined,
      retentions: () => this.#link.ask("retentions", null),
      forget: async (runs) => void (await this.#link.ask("forgetRuns", runs)),
      log: log.withTag("history"),
      clock: this.clock,
    });
    if (settings.lake !== undefined) {
      if (settings.history_keep_days !== null)
        log
          .withTag("history")
          .warn(
            "CDKTR_HISTORY_KEEP has no meaning for a history in a lake: CDKTR_ARCHIVE_KEEP deletes from it.",
          );
      this.#lakeKeeper = new LakeKeeper({
        keepUp: (...pass) => this.#historian.withArchive((archive) => archive.upkeep(...pass)),
        everyMs: settings.lake.compact_every_ms,
        log: log.withTag("history"),
        clock: this.clock,
      });
    }
    this.#hub = new LogHub({
      host: settings.host,
      listeningPort: settings.listening_port,
      publishingPort: settings.publishing_port,
      historian: this.#historian,
      log: log.withTag("logs"),
      access,
      locals,
      ...(access && { mayDeliver: (delivery) => this.#link.ask("mayDeliver", delivery) }),
      ready: this.#ready.promise,
    });
    this.#doors = [access, locals, this.#hub].filter((service) => service !== undefined);
    this.#guard = new ResourceGuard({
      doors: () => [
        { port: portOf(this.#hub.listeningEndpoint), share: 0.4 },
        { port: portOf(this.#hub.publishingEndpoint), share: 0.4 },
      ],
      log: log.withTag("logs"),
    });
    const { signals } = this.#historian;
    signals.on("moved", (streamId) => this.#hasMoved(streamId));
    signals.on("reconciled", () => {
      this.#reconciled.resolve();
      for (const streamId of this.#wanted) this.#hasMoved(streamId);
    });
    signals.on("availability", () => this.#tellAvailability());
    signals.on("flushed", ({ tookMs, ok }) => this.#link.tell("flushed", { took_ms: tookMs, ok }));
  }

  /** A text of the principal has arrived. */
  take(text: string): void {
    this.#link.take(text);
  }

  /** The principal is gone. */
  abandon(): void {
    this.#link.end(new HistoryUnavailableError("The principal has ended."));
  }

  /**
   * Binds the ports, then opens the database. If that fails, it is tried again, and the principal is told.
   * @throws CdktrError when a port is taken or keys cannot be read; the principal is told
   */
  protected override async onStart(): Promise<void> {
    try {
      await this.#openDoors();
    } catch (error) {
      this.#link.tell("failed", textOf(error));
      throw error;
    }
    this.#link.tell("bound", {
      listening: portOf(this.#hub.listeningEndpoint),
      publishing: portOf(this.#hub.publishingEndpoint),
    });
    await this.#guard.start();
    await this.#exporter?.start();
    await this.#historian.start();
    await this.#keeper.start();
    await this.#lakeKeeper?.start();
    this.#tellAvailability();
    this.#ready.resolve();
  }

  /** The history of a principal that was just killed may still be ending. */
  async #openDoors(): Promise<void> {
    const deadline = this.clock.monotonic() + PORTS_GET_FREE_MS;
    for (;;) {
      try {
        await startServices(this.#doors);
        return;
      } catch (error) {
        if (!isTaken(error) || this.clock.monotonic() > deadline || this.isStopping) throw error;
        await this.pause(LOOK_AGAIN_MS);
      }
    }
  }

  /** Processes what has arrived, writes what it holds, if possible, and closes the database. */
  protected override async onStop(): Promise<void> {
    this.#ready.resolve();
    // A step of the archive ends when the database is closed.
    const kept = Promise.all([this.#keeper.stop(), this.#lakeKeeper?.stop()]);
    await stopServices(
      [this.#exporter, this.#historian, this.#guard, ...this.#doors].filter(
        (service) => service !== undefined,
      ),
    );
    await kept;
    this.#tellPositions();
  }

  #answers(): Answers<HistoryCalls> {
    return {
      search: (request) => this.#historian.searchLogs(request),
      lines: (request) => this.#historian.queryLogs(request),
      query: (request) => this.#historian.query(request),
      evaluate: ({ timeout_ms, ...request }) => this.#historian.evaluate(request, timeout_ms),
      findRun: ({ workflow_instance_id, outputs }) => this.#historian.findRun(workflow_instance_id, outputs),
      findItems: (list) => this.#historian.findItems(list),
      findOutputs: async (ids) => {
        const found = await this.#historian.findOutputs(ids);
        return found === null ? null : [...found];
      },
      findFirings: ({ workflow_id, times_ms }) => this.#historian.findFirings(workflow_id, times_ms),
      latestEnds: (workflowIds) => this.#historian.latestEnds(workflowIds),
      listRuns: ({ filter, before_ms }) => this.#historian.listRuns(filter, before_ms),
      prepare: ({ what, transfer_id: id, without_archive }) => {
        if (what === "export") return this.#historian.prepareExport(id);
        return what === "database"
          ? this.#historian.prepareBackup(id, without_archive)
          : this.#historian.prepareFullBackup(id, without_archive);
      },
      archive: async (request) => {
        await this.#historian.flush();
        return this.#keeper.step(request);
      },
      archiveInfo: () => this.#keeper.info(),
      readFile: (request) => this.#historian.readFile(request),
      dropFiles: async (transferId) => {
        await this.#historian.dropFiles(transferId);
        return null;
      },
      flush: async () => {
        await this.#historian.flush();
        return null;
      },
      locate: async (streamId) => {
        this.#want(streamId);
        await this.#reconciled.promise;
        return this.#positionsOf(streamId);
      },
      awaitLine: ({ stream_id, seq, timeout_ms }) => this.#historian.waitReceived(stream_id, seq, timeout_ms),
      isSubscribed: (probe) => this.#hub.isSubscribed(probe),
      vitals: () => ({
        held: this.#historian.held,
        sizes: this.#historian.sizes,
        counts: this.#hub.counts,
        ...(this.#exporter && { telemetry: this.#exporter.counts }),
      }),
      ping: () => null,
      stop: async () => {
        await this.stop();
        return null;
      },
    };
  }

  #ears(): Ears<PrincipalNews> {
    return {
      statusesWritten: () => this.#historian.notifyStatus(),
      streamHeld: ({ stream_id, first_seq, published_seq }) => {
        if (published_seq !== undefined) this.#hub.wasPublished(stream_id, published_seq);
        this.#want(stream_id);
        this.#historian.agentHoldsFrom(stream_id, first_seq);
      },
      clockCompared: ({ agent_id, offset_ms }) => this.#hub.clockCompared(agent_id, offset_ms),
      stateFixed: (path) => this.#statuses.fixed(path),
      endQueries: ({ why }) => this.#historian.endQueries(why),
    };
  }

  #want(streamId: string): void {
    this.#wanted.delete(streamId);
    this.#wanted.add(streamId);
    dropOldest(this.#wanted, MAX_STREAMS);
    this.#hasMoved(streamId);
  }

  #hasMoved(streamId: string): void {
    if (!this.#wanted.has(streamId)) return;
    this.#moved.add(streamId);
    this.#tell.within(TELL_POSITIONS_MS);
  }

  #tellPositions(): void {
    if (this.#moved.size === 0) return;
    const positions = [...this.#moved].map((streamId) => this.#positionsOf(streamId));
    this.#moved.clear();
    this.#tell.cancel();
    this.#link.tell("positions", positions);
  }

  #positionsOf(streamId: string): StreamPositions {
    const { received, durable } = this.#historian.position(streamId);
    return [streamId, received, durable];
  }

  #tellAvailability(): void {
    const { available } = this.#historian;
    if (available.ok === this.#told.ok && available.error === this.#told.error) return;
    this.#told = available;
    this.#link.tell("available", available);
  }

  /** What it logs is logged by the principal: one process writes the log, and keeps it for those who ask. */
  #logger(level: number): ConsolaInstance {
    return createConsola({
      level,
      reporters: [
        {
          log: ({ type, tag, args }) =>
            this.#link.tell("logged", {
              type: LOG_TYPES.includes(type) ? (type as LogType) : "info",
              tag,
              text: wordsOf(args),
            }),
        },
      ],
    });
  }
}
