/**
 * The principal's end of the link to its history: starts the history, starts it again when it ends, and ends it when it hangs or takes
 * too much memory. Reports and heartbeats do not wait for it. Only reads, the registration of a known agent, and the first start beside
 * an old history do.
 */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import {
  type HistoricFiring,
  type HistoricRun,
  type HistoryAvailability,
  type HistoryCalls,
  type HistoryHost,
  type HistoryNews,
  type HistoryPeer,
  type HistorySettings,
  HistoryUnavailableError,
  type HistoryVitals,
  type LatestEnd,
  type LineQuery,
  nameOfHistory,
  type Preparation,
  type PrincipalCalls,
  type PrincipalNews,
} from "../../contract/history.ts";
import type {
  ArchiveDatabase,
  ArchiveInfo,
  ArchiveProgress,
  FilePiece,
  ItemSummary,
  ListItems,
  ListRuns,
  LogPage,
  PreparedFiles,
  QueryDatabase,
  QueryResult,
  ReadFile,
  RunSummary,
  SearchLogs,
} from "../../contract/messages.ts";
import { CdktrError, errorMessage, UnprocessableError } from "../../errors.ts";
import { RateLimitedWarning } from "../../host/rate-limited-warning.ts";
import { type Answers, type Ears, errorOf, MessageLink } from "../../protocol/message-link.ts";
import { BackgroundService } from "../../service.ts";
import { BackOff, Timer } from "../../timer.ts";
import type { HistoryAccess } from "./history-access.ts";
import { HistoryLife, type HistoryState } from "./history-state.ts";
import { HistoryWatch, type MemoryLimits } from "./history-watch.ts";
import { type StateAnswersOptions, stateAnswers } from "./state-answers.ts";
import { type Position, StreamPositions } from "./stream-positions.ts";

/** Pauses before a history that has ended is started again, ms. */
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 10_000;
/** A history that worked this long was healthy: the pause is short again, ms. */
const HEALTHY_MS = 10_000;
/** Interval of looks while it stops, ms. */
const LOOK_MS = 250;
/** Silence after which lists do without it, reads fail, and it is killed, ms. */
const QUIET_MS = 1000;
const SLOW_MS = 3000;
const HANGS_MS = 20_000;
/** The same before its database is open: it may have to unpack its libraries. */
const STARTS_WITHIN_MS = 60_000;
/** How long the start waits for a history that was there before, ms. */
const OLD_HISTORY_MS = 30_000;
/** How long a read waits for a history that is being started, ms. */
const READ_WAITS_MS = 5000;
/** How long a registration waits for the position of a known stream, ms. */
const LOCATE_WAITS_MS = 2000;
/** How long after the history was last up registrations are put off, while nobody knows how much of a stream it has, ms. */
const POSITIONS_WITHIN_MS = 30_000;
/** A history whose database is not open after this time is probably on a disk that does not respond, ms. */
const OPENS_WITHIN_MS = 10_000;
/** How long a page of metrics waits for it, ms. */
const VITALS_WAIT_MS = 500;
/** How long it may be silent while it stops, ms. */
const STOP_SILENCE_MS = 15_000;
/** How long it may take to stop: with an open database, and without one, because its disk does not respond, ms. */
const STOP_MS = 30_000;
const STOP_UNOPENED_MS = 5000;
/** How long to wait for the end of one that was killed, ms: on a disk that hangs it may not end. */
const KILLED_MS = 2000;
const MIB = 1024 * 1024;
const NO_VITALS: HistoryVitals = {
  held: { lines: 0, bytes: 0, lagMs: 0 },
  sizes: { database: 0, archive: 0, missing: 0 },
  counts: { frames: 0, published: 0, malformed: 0, dropped: 0 },
};
/** Reads, apart from lists: they fail while the history is silent. */
const READS: readonly (keyof HistoryCalls)[] = [
  "search",
  "lines",
  "query",
  "evaluate",
  "findRun",
  "findItems",
  "findOutputs",
  "findFirings",
  "latestEnds",
  "prepare",
  "archive",
  "archiveInfo",
  "readFile",
  "awaitLine",
];
const HINT = "Runs continue, and nothing is lost in the meantime; try again later.";

/** Options of {@link HistoryLink}. */
export interface HistoryLinkOptions {
  readonly host: HistoryHost;
  readonly settings: Omit<HistorySettings, "may_adopt">;
  /** Whether a new state may still take over the id of the installation from the history. */
  readonly mayAdopt: () => boolean;
  /**
   * Whether the start waits until the history is open: a new state takes over the id of the installation from a history that was there
   * before, because agents know that id.
   */
  readonly isAwaited: () => Promise<boolean>;
  /** What the history asks about. */
  readonly state: StateAnswersOptions;
  /** Without a tag: lines of the history have their own. */
  readonly log: ConsolaInstance;
  readonly clock?: Clock;
  readonly memory: MemoryLimits;
}

/** The ports of the history. */
export interface HistoryPorts {
  readonly listening: number;
  readonly publishing: number;
}

/** Events of the link. */
export interface HistoryLinkSignals {
  readonly state: HistoryState;
  /** The history has bound its ports, or said that it cannot. */
  readonly bound: undefined;
  /** A write was attempted: its duration and result. */
  readonly flushed: { readonly tookMs: number; readonly ok: boolean };
}

type Link = MessageLink<HistoryCalls, PrincipalNews, PrincipalCalls, HistoryNews>;

export class HistoryLink extends BackgroundService<HistoryLinkSignals> implements HistoryAccess {
  readonly name = "history link";
  readonly #o: HistoryLinkOptions;
  readonly #log: ConsolaInstance;
  readonly #endings: RateLimitedWarning;
  readonly #answers: Answers<PrincipalCalls>;
  #life = new HistoryLife();
  readonly #pauses = new BackOff(FIRST_PAUSE_MS, LONGEST_PAUSE_MS);
  readonly #again = this.timer(() => this.#begin());
  readonly #watch: HistoryWatch;
  readonly #streams = new StreamPositions((news, of) => this.#link?.tell(news, of));
  #starts = 0;
  #link: Link | undefined;
  #peer: HistoryPeer | undefined;
  #ports: HistoryPorts | undefined;
  #failure: CdktrError | undefined;
  #complaint = "";
  #available: HistoryAvailability = { ok: false, error: "The history is starting." };
  /** When the present one was started. */
  #beganAt = 0;
  /** Since when there is none that is open, while there is none. */
  #awaySince = 0;
  /** When it last entered UP. */
  #upAt = Number.POSITIVE_INFINITY;
  /** Why it is being killed. */
  #killedFor: CdktrError | undefined;
  #readsOver = false;
  #statusesTold = false;
  #vitals = NO_VITALS;

  constructor(options: HistoryLinkOptions) {
    super(options.clock);
    this.#o = options;
    this.#log = options.log.withTag("history");
    this.#endings = new RateLimitedWarning(this.#log);
    this.#watch = new HistoryWatch({
      clock: this.clock,
      timer: (ring) => this.timer(ring),
      memory: options.memory,
    });
    const answers = stateAnswers(options.state, (path) => this.#link?.tell("stateFixed", path));
    this.#answers = {
      ...answers,
      takeStatuses: (request) => {
        this.#statusesTold = false;
        return answers.takeStatuses(request);
      },
    };
  }

  get state(): HistoryState {
    return this.#life.state;
  }

  /** Number of its process; undefined when it has none. */
  get pid(): number | undefined {
    return this.#peer?.pid;
  }

  /** How often a history was started. */
  get starts(): number {
    return this.#starts;
  }

  /** The bound ports; before that the configured ones. */
  get ports(): HistoryPorts {
    const { listening_port, publishing_port } = this.#o.settings;
    return this.#ports ?? { listening: listening_port, publishing: publishing_port };
  }

  get available(): HistoryAvailability {
    return this.state === "UP" ? this.#available : { ok: false, error: this.#whyNot().message };
  }

  /** Starts the history, and waits for it only if it has to: see {@link HistoryLinkOptions.isAwaited}. */
  protected override async onStart(): Promise<void> {
    this.#life = new HistoryLife();
    this.#awaySince = this.clock.monotonic();
    this.#readsOver = false;
    await this.#o.host.open();
    this.#begin();
    if (await this.#o.isAwaited()) await this.settled(OLD_HISTORY_MS);
  }

  /**
   * Resolves when the history has bound its ports, or after `limitMs`.
   * @throws CdktrError when it cannot bind them or read the keys
   */
  bound(limitMs: number): Promise<void> {
    return this.#until(() => this.#ports !== undefined, limitMs);
  }

  /**
   * Resolves when the history has opened its database, or cannot now, or after `limitMs`.
   * @throws CdktrError when it cannot bind its ports or read the keys
   */
  settled(limitMs: number): Promise<void> {
    return this.#until(() => this.state === "UP", limitMs);
  }

  async #until(condition: () => boolean, limitMs: number): Promise<void> {
    await this.#waitUntil(() => condition() || this.#failure !== undefined, limitMs);
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Resolves when a condition on the state or the ports holds, or after `limitMs`. */
  #waitUntil(condition: () => boolean, limitMs: number): Promise<void> {
    if (condition()) return Promise.resolve();
    return new Promise((resolve) => {
      const look = () => condition() && over();
      const ends = [
        this.signals.on("state", look),
        this.signals.on("bound", look),
        this.clock.after(limitMs, () => over()),
      ];
      const over = () => {
        for (const end of ends) end();
        resolve();
      };
    });
  }

  /** The principal is about to stop: who reads the history is told so now. An export could take an hour. */
  endReads(): void {
    this.#readsOver = true;
    this.#link?.fail(stopping(), [...READS, "listRuns", "flush", "dropFiles"]);
  }

  /** Lets the history write everything, and ends it. */
  protected override async onStop(): Promise<void> {
    const limitMs = this.state === "UP" ? STOP_MS : STOP_UNOPENED_MS;
    this.#enter("OVER");
    const [link, peer] = [this.#link, this.#peer];
    if (link !== undefined && peer !== undefined) {
      await this.#stopIt(link, peer, limitMs);
      link.end(stopping());
    }
    this.#o.host.close();
  }

  async #stopIt(link: Link, peer: HistoryPeer, limitMs: number): Promise<void> {
    const begunMs = this.clock.monotonic();
    const isGivenUp = Promise.withResolvers<void>();
    const end = new Timer(() => isGivenUp.resolve(), this.clock);
    const kill = () => {
      peer.kill();
      watch.cancel();
      end.in(KILLED_MS);
    };
    // It may take its time, but must not be silent.
    const watch = new Timer(() => {
      if (this.#watch.silenceMs > STOP_SILENCE_MS) kill();
      else if (this.clock.monotonic() - begunMs > limitMs) {
        this.#log.warn(
          `The history did not end within ${limitMs / 1000} s and is killed: perhaps its disk does not respond. What it has not written is written at the next start; the state and the agents have it.`,
        );
        kill();
      } else this.#watch.ping();
    }, this.clock);
    watch.every(LOOK_MS);
    // It has nothing to write yet.
    if (!this.#watch.hasSpoken) kill();
    await Promise.race([link.ask("stop", null).catch(() => {}), isGivenUp.promise]);
    watch.cancel();
    end.cancel();
    await peer.end();
  }

  // ---------------------------------------------------------------- life

  #begin(): void {
    if (!this.#enter("STARTING")) return;
    this.#starts++;
    this.#killedFor = undefined;
    this.#beganAt = this.clock.monotonic();
    this.#statusesTold = false;
    const link: Link = new MessageLink({
      send: (text) => {
        if (this.#peer === undefined) throw this.#whyNot();
        this.#peer.send(text);
      },
      answers: this.#answers,
      ears: this.#ears(),
    });
    this.#link = link;
    const { listening, publishing } = this.ports;
    try {
      this.#peer = this.#o.host.start(
        {
          ...this.#o.settings,
          // The same as before: peers connect again to these.
          listening_port: listening,
          publishing_port: publishing,
          may_adopt: this.#o.mayAdopt(),
        },
        (text) => this.#heard(link, text),
        (how) => this.#ended(link, how),
      );
    } catch (error) {
      this.#ended(link, errorMessage(error));
      return;
    }
    this.#streams.tellAgain();
    this.#watch.begin({
      pid: this.#peer.pid,
      isAwaited: () => this.state !== "UP" || link.pending > 0,
      isQueried: () => link.waitsFor("query") || link.waitsFor("evaluate"),
      ping: () => void link.ask("ping", null).catch(() => {}),
      judge: (silenceMs) => this.#judge(silenceMs),
      endQueries: () => this.#endQueries(link),
      endProcess: () => this.#endForMemory(),
    });
  }

  #heard(link: Link, text: string): void {
    if (link !== this.#link) return;
    this.#watch.heard();
    if (this.state === "SLOW" && this.#enter("UP")) this.#log.info("The history answers again.");
    try {
      link.take(text);
    } catch (error) {
      this.#log.error(`A message of the history cannot be understood: ${errorMessage(error)}`);
    }
  }

  #ended(link: Link, how: string): void {
    if (link !== this.#link) return;
    this.#peer = undefined;
    this.#watch.end();
    this.#streams.historyEnded();
    const isStopping = this.state === "OVER";
    if (this.state === "UP" || this.state === "SLOW") this.#awaySince = this.clock.monotonic();
    this.#enter("DOWN");
    const why =
      this.#killedFor ??
      new HistoryUnavailableError(`The history process has ended (${how}) and is started again.`, {
        hint: HINT,
      });
    link.end(why);
    if (isStopping || this.isStopping) return;
    if (this.clock.monotonic() - this.#upAt > HEALTHY_MS) this.#pauses.reset();
    this.#upAt = Number.POSITIVE_INFINITY;
    const pauseMs = this.#pauses.next();
    // If it has said why itself, that is logged already.
    if (this.#failure === undefined)
      this.#endings.warn(
        1,
        (count) =>
          `The history process has ended (${how})${count === 1 ? "" : `, ${count} times since this was logged last`}; it is started again in ${pauseMs / 1000} s. Runs continue, and agents keep their lines.`,
      );
    this.#again.in(pauseMs);
  }

  #enter(state: HistoryState): boolean {
    if (!this.#life.enter(state)) return false;
    if (state === "UP") this.#upAt = this.clock.monotonic();
    this.signals.emit("state", state);
    return true;
  }

  // ---------------------------------------------------------------- watch

  #judge(silenceMs: number): void {
    if (silenceMs < QUIET_MS) return;
    if (this.state === "STARTING") {
      if (silenceMs > STARTS_WITHIN_MS) this.#kill("it did not start");
      return;
    }
    this.#link?.fail(this.#silent(silenceMs), ["listRuns", "isSubscribed", "vitals"]);
    if (silenceMs >= SLOW_MS) {
      if (this.#enter("SLOW"))
        this.#log.warn(
          `The history process (${this.pid}) does not answer. Runs continue, and agents keep their lines.`,
        );
      this.#link?.fail(this.#silent(silenceMs), [...READS, "flush", "locate"]);
    }
    if (silenceMs >= HANGS_MS) this.#kill(`it did not answer for ${HANGS_MS / 1000} s`);
  }

  #kill(why: string, error?: CdktrError): void {
    if (this.#killedFor !== undefined) return;
    this.#killedFor =
      error ??
      new HistoryUnavailableError(`The history process was ended: ${why}. It is started again.`, {
        hint: HINT,
      });
    this.#log.error(`The history process (${this.pid}) is ended: ${why}.`);
    this.#peer?.kill();
  }

  #endForMemory(): void {
    const limit = `${Math.round(this.#o.memory.processEnds / MIB)} MiB of memory`;
    this.#kill(
      `it used more than ${limit}`,
      new UnprocessableError(
        `The history process used more than ${limit} and was ended: what it was asked needs too much.`,
        {
          hint: "If it was a statement: narrow it, or open a copy made with 'cdktr db backup' in another DuckDB client. The history is started again; nothing is lost.",
        },
      ),
    );
  }

  #endQueries(link: Link): void {
    link.tell("endQueries", {
      why: `the history used more than ${Math.round(this.#o.memory.queriesEnd / MIB)} MiB of memory`,
    });
  }

  // ---------------------------------------------------------------- news

  #ears(): Ears<HistoryNews> {
    return {
      bound: (ports) => {
        this.#ports = ports;
        this.#failure = undefined;
        this.#complaint = "";
        this.signals.emit("bound");
      },
      failed: (error) => {
        const failure = errorOf(error);
        this.#failure = failure instanceof CdktrError ? failure : new CdktrError(failure.message);
        // At the first start it is the principal's own failure.
        if (this.#ports !== undefined && this.#failure.message !== this.#complaint)
          this.#log.error(
            `The history cannot be started again, which is tried until it works: ${this.#failure.message}`,
          );
        this.#complaint = this.#failure.message;
        void this.#peer?.end();
        this.signals.emit("bound");
      },
      available: (available) => {
        this.#available = available;
        if (this.state === "STARTING") this.#enter("UP");
      },
      positions: (positions) => this.#streams.moved(positions),
      flushed: ({ took_ms, ok }) => this.signals.emit("flushed", { tookMs: took_ms, ok }),
      logged: ({ type, tag, text }) => this.#o.log.withTag(tag)[type](text),
    };
  }

  /** There are new status rows. */
  notifyStatus(): void {
    if (this.#statusesTold) return;
    this.#statusesTold = true;
    this.#link?.tell("statusesWritten", null);
  }

  /** An agent's clock was compared with the principal's. */
  clockCompared(agentId: string, offsetMs: number): void {
    this.#streams.clockCompared(agentId, offsetMs);
  }

  // ---------------------------------------------------------------- positions

  position(streamId: string): Position {
    return this.#streams.of(streamId);
  }

  agentHoldsFrom(streamId: string, firstSeq: number): void {
    this.#streams.heldFrom(streamId, firstSeq);
  }

  async locate(streamId: string): Promise<boolean> {
    if (this.#streams.has(streamId)) return true;
    const late = () => new HistoryUnavailableError("The history does not tell its position.");
    const link = this.#link;
    try {
      // Also while it is starting: it answers as soon as it has read them.
      if (link === undefined) throw this.#whyNot();
      const limit = { ms: LOCATE_WAITS_MS, error: late };
      this.#streams.moved([await link.ask("locate", streamId, limit)]);
      return true;
    } catch {
      const isComing = this.state === "STARTING" || this.state === "DOWN";
      return !isComing || this.clock.monotonic() - this.#awaySince > POSITIONS_WITHIN_MS;
    }
  }

  async waitReceived(stream_id: string, seq: number, timeout_ms: number): Promise<boolean> {
    if (this.#streams.has(stream_id) && this.#streams.of(stream_id).received >= seq) return true;
    return this.#read("awaitLine", { stream_id, seq, timeout_ms }).catch(() => false);
  }

  // ---------------------------------------------------------------- requests

  /** @throws HistoryUnavailableError also when the principal is stopping, which writes everything at its end */
  async flush(): Promise<void> {
    if (this.#readsOver) throw stopping();
    await this.#ask("flush", null);
  }

  searchLogs(search: SearchLogs): Promise<LogPage> {
    return this.#read("search", search);
  }

  queryLogs(query: LineQuery): Promise<string[]> {
    return this.#read("lines", query);
  }

  query(query: QueryDatabase): Promise<QueryResult> {
    const reply = this.#read("query", query);
    this.#watch.queried();
    return reply;
  }

  evaluate(query: QueryDatabase, timeoutMs: number): Promise<QueryResult> {
    const reply = this.#read("evaluate", { ...query, timeout_ms: timeoutMs });
    this.#watch.queried();
    return reply;
  }

  findRun(workflow_instance_id: string, outputs: boolean): Promise<HistoricRun | null> {
    return this.#read("findRun", { workflow_instance_id, outputs });
  }

  findItems(list: ListItems): Promise<ItemSummary[]> {
    return this.#read("findItems", list);
  }

  async findOutputs(taskInstanceIds: readonly string[]): Promise<ReadonlyMap<string, string> | null> {
    const found = await this.#read("findOutputs", taskInstanceIds);
    return found === null ? null : new Map(found);
  }

  findFirings(workflow_id: string, times_ms: readonly number[]): Promise<readonly HistoricFiring[]> {
    return this.#read("findFirings", { workflow_id, times_ms });
  }

  latestEnds(workflowIds: readonly string[]): Promise<readonly LatestEnd[]> {
    return this.#read("latestEnds", workflowIds);
  }

  listRuns(filter: ListRuns, before_ms?: number): Promise<RunSummary[]> {
    if (this.#readsOver) return Promise.reject(stopping());
    const { silenceMs } = this.#watch;
    if (silenceMs > QUIET_MS) return Promise.reject(this.#silent(silenceMs));
    return this.#ask("listRuns", { filter, before_ms });
  }

  prepare(what: Preparation, transfer_id?: string, without_archive?: boolean): Promise<PreparedFiles> {
    return this.#read("prepare", { what, transfer_id, without_archive });
  }

  archive(request: ArchiveDatabase): Promise<ArchiveProgress> {
    return this.#read("archive", request);
  }

  archiveInfo(): Promise<ArchiveInfo> {
    // Whoever looks at what is wrong does not wait for a history that is being started.
    return this.#ask("archiveInfo", null);
  }

  readFile(piece: ReadFile): Promise<FilePiece> {
    return this.#read("readFile", piece);
  }

  async dropFiles(transferId: string): Promise<void> {
    if (this.#readsOver) throw stopping();
    await this.#ask("dropFiles", transferId);
  }

  isSubscribed(probe: string): Promise<boolean> {
    return this.#ask("isSubscribed", probe).catch(() => false);
  }

  /** What the metrics show of it; while it does not answer, what it said last. */
  async vitals(): Promise<HistoryVitals> {
    const limit = { ms: VITALS_WAIT_MS, error: () => this.#silent(VITALS_WAIT_MS) };
    try {
      this.#vitals = await this.#ask("vitals", null, limit);
    } catch {
      // The page says that it is not available.
    }
    return this.#vitals;
  }

  /** Asks a history that is there. */
  #ask<V extends keyof HistoryCalls>(
    verb: V,
    request: HistoryCalls[V]["request"],
    limit?: { readonly ms: number; readonly error: () => CdktrError },
  ): Promise<HistoryCalls[V]["reply"]> {
    const link = this.#link;
    if (link === undefined || this.state !== "UP") return Promise.reject(this.#whyNot());
    this.#watch.asked();
    return link.ask(verb, request as never, limit) as Promise<HistoryCalls[V]["reply"]>;
  }

  /** Asks, and waits a little for a history that is being started. */
  async #read<V extends keyof HistoryCalls>(
    verb: V,
    request: HistoryCalls[V]["request"],
  ): Promise<HistoryCalls[V]["reply"]> {
    if (!this.#readsOver && (this.state === "STARTING" || this.state === "DOWN"))
      await this.#whenUp(READ_WAITS_MS);
    if (this.#readsOver) throw stopping();
    return this.#ask(verb, request);
  }

  #whenUp(limitMs: number): Promise<void> {
    return this.#waitUntil(() => this.state !== "STARTING" && this.state !== "DOWN", limitMs);
  }

  #whyNot(): HistoryUnavailableError {
    // It is started again and again until the cause is gone.
    if (this.#failure !== undefined && (this.state === "STARTING" || this.state === "DOWN"))
      return new HistoryUnavailableError(`The history cannot be started: ${this.#failure.message}`, {
        hint: HINT,
      });
    switch (this.state) {
      case "STARTING":
        return this.#starting(this.clock.monotonic() - this.#beganAt);
      case "SLOW":
        return this.#silent(this.#watch.silenceMs);
      case "OVER":
        return stopping();
      default:
        return new HistoryUnavailableError("The history process has ended and is started again.", {
          hint: HINT,
        });
    }
  }

  #starting(ms: number): HistoryUnavailableError {
    if (ms < OPENS_WITHIN_MS) return new HistoryUnavailableError("The history is starting.", { hint: HINT });
    return new HistoryUnavailableError(
      `The history database ${nameOfHistory(this.#o.settings)} is not open after ${Math.round(ms / 1000)} s: does its ${this.#o.settings.lake === undefined ? "disk" : "PostgreSQL server"} respond?`,
      { hint: HINT },
    );
  }

  #silent(ms: number): HistoryUnavailableError {
    return new HistoryUnavailableError(`The history does not answer (for ${Math.round(ms / 1000)} s).`, {
      hint: `${HINT} A history that is silent for ${HANGS_MS / 1000} s is ended and started again.`,
    });
  }
}

function stopping(): HistoryUnavailableError {
  return new HistoryUnavailableError("The principal is stopping.", {
    hint: "Nothing is lost; ask again when it has started.",
  });
}
