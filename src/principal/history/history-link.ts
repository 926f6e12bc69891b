/**
 * The principal's end of the link to its history: starts the history, starts it again when it ends, notices when it hangs or takes too
 * much memory, and keeps the positions of streams, so that reports and heartbeats do not wait for it. Only reads, the registration of
 * a known agent, and the first start beside an old history do.
 */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import {
  type HistoricRun,
  type HistoryAvailability,
  type HistoryCalls,
  type HistoryHost,
  type HistoryNews,
  type HistoryPeer,
  type HistorySettings,
  HistoryUnavailableError,
  type HistoryVitals,
  type LineQuery,
  type Preparation,
  type PrincipalCalls,
  type PrincipalNews,
} from "../../contract/history.ts";
import type {
  FilePiece,
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
import { residentMemoryOf } from "../../host/resident-memory.ts";
import { type Answers, type Ears, errorOf, MessageLink } from "../../protocol/message-link.ts";
import { dropOldest } from "../../recent.ts";
import { BackgroundService } from "../../service.ts";
import { BackOff, isDoneWithin, Timer } from "../../timer.ts";
import type { HistoryAccess } from "./history-access.ts";
import { HistoryLife, type HistoryState } from "./history-state.ts";
import { type StateAnswersOptions, stateAnswers } from "./state-answers.ts";

/** Pauses before a history that has ended is started again, ms. */
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 10_000;
/** A history that worked this long was healthy: the pause is short again, ms. */
const HEALTHY_MS = 10_000;
/** How often it is asked whether it is there: while somebody waits for it, and at rest, ms. */
const LOOK_MS = 250;
const LOOK_AT_REST_MS = 5000;
/** A look that comes later than this after its time says that this process was suspended, ms. */
const LATE_MS = 500;
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
/** Interval between looks at its memory while a statement of a user runs, ms. */
const MEMORY_LOOK_MS = 50;
/** Number of streams, and of agents with wrong clocks, to remember. */
const MAX_STREAMS = 100_000;
const MAX_CLOCKS = 10_000;
const MIB = 1024 * 1024;
const NO_VITALS: HistoryVitals = {
  held: { lines: 0, bytes: 0, lagMs: 0 },
  counts: { frames: 0, published: 0, malformed: 0, dropped: 0 },
};
/** Reads, apart from lists: they fail while the history is silent. */
const READS: readonly (keyof HistoryCalls)[] = [
  "search",
  "lines",
  "query",
  "findRun",
  "findOutputs",
  "prepare",
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
  /** Memory above which statements of users end, and above which the process ends, bytes. */
  readonly memory: { readonly queriesEnd: number; readonly processEnds: number };
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
type Position = { readonly received: number; readonly durable: number };

export class HistoryLink extends BackgroundService<HistoryLinkSignals> implements HistoryAccess {
  readonly name = "history link";
  readonly #o: HistoryLinkOptions;
  readonly #log: ConsolaInstance;
  readonly #endings: RateLimitedWarning;
  readonly #answers: Answers<PrincipalCalls>;
  #life = new HistoryLife();
  readonly #pauses = new BackOff(FIRST_PAUSE_MS, LONGEST_PAUSE_MS);
  readonly #again = this.timer(() => this.#begin());
  readonly #look = this.timer(() => this.#lookAtIt());
  readonly #lookAtMemory = this.timer(() => this.#checkMemory());
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
  /** When the first question was sent that it has not answered; undefined when it has answered all. */
  #askedAt: number | undefined;
  #hasSpoken = false;
  #lookDueAt = 0;
  /** Why it is being killed. */
  #killedFor: CdktrError | undefined;
  #queriesEnded = false;
  #readsOver = false;
  #statusesTold = false;
  readonly #positions = new Map<string, Position>();
  /** What is told again to a new history: the oldest line that agents hold, by stream, and the offsets of their clocks. */
  readonly #held = new Map<string, number>();
  readonly #clocks = new Map<string, number>();
  #vitals = NO_VITALS;

  constructor(options: HistoryLinkOptions) {
    super(options.clock);
    this.#o = options;
    this.#log = options.log.withTag("history");
    this.#endings = new RateLimitedWarning(this.#log);
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
    const isOver = () => condition() || this.#failure !== undefined;
    const first = Promise.race([this.signals.until("state", isOver), this.signals.until("bound", isOver)]);
    await isDoneWithin(limitMs, first, this.clock);
    if (this.#failure !== undefined) throw this.#failure;
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
      if (this.#silence() > STOP_SILENCE_MS) kill();
      else if (this.clock.monotonic() - begunMs > limitMs) {
        this.#log.warn(
          `The history did not end within ${limitMs / 1000} s and is killed: perhaps its disk does not respond. What it has not written is written at the next start; the state and the agents have it.`,
        );
        kill();
      } else this.#ping();
    }, this.clock);
    watch.every(LOOK_MS);
    // It has nothing to write yet.
    if (!this.#hasSpoken) kill();
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
    this.#askedAt = undefined;
    this.#hasSpoken = false;
    this.#beganAt = this.clock.monotonic();
    this.#queriesEnded = false;
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
    for (const [agent_id, offset_ms] of this.#clocks) link.tell("clockCompared", { agent_id, offset_ms });
    for (const [stream_id, first_seq] of this.#held) link.tell("streamHeld", { stream_id, first_seq });
    this.#ping();
    this.#lookIn(LOOK_MS);
  }

  #heard(link: Link, text: string): void {
    if (link !== this.#link) return;
    this.#hasSpoken = true;
    this.#askedAt = undefined;
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
    // What was received and is not in DuckDB is gone with it: agents send it again.
    for (const [stream, { durable }] of this.#positions)
      this.#positions.set(stream, { received: durable, durable });
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

  #ping(): void {
    this.#askedAt ??= this.clock.monotonic();
    this.#link?.ask("ping", null).catch(() => {});
  }

  /** How long it has not answered, ms. */
  #silence(): number {
    return this.#askedAt === undefined ? 0 : this.clock.monotonic() - this.#askedAt;
  }

  #lookAtIt(): void {
    const now = this.clock.monotonic();
    if (this.#peer === undefined) return;
    // This process did not run for a while either: what the history has said meanwhile is heard now.
    if (now - this.#lookDueAt > LATE_MS && this.#askedAt !== undefined) this.#askedAt = now;
    this.#judge(this.#silence());
    if (this.#askedAt === undefined) this.#ping();
    const isAwaited = this.state !== "UP" || this.#silence() > 0 || (this.#link?.pending ?? 0) > 1;
    this.#checkMemory();
    this.#lookIn(isAwaited ? LOOK_MS : LOOK_AT_REST_MS);
  }

  #lookIn(ms: number): void {
    this.#lookDueAt = this.clock.monotonic() + ms;
    this.#look.in(ms);
  }

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

  /** A statement can take gigabytes within a step that DuckDB does not interrupt. */
  #checkMemory(): void {
    const { pid } = this.#peer ?? {};
    if (pid === undefined) return;
    const memory = residentMemoryOf(pid);
    const { queriesEnd, processEnds } = this.#o.memory;
    if (memory !== undefined && memory > processEnds) {
      const limit = `${Math.round(processEnds / MIB)} MiB of memory`;
      this.#kill(
        `it used more than ${limit}`,
        new UnprocessableError(
          `The history process used more than ${limit} and was ended: what it was asked needs too much.`,
          {
            hint: "If it was a statement: narrow it, or open a copy made with 'cdktr db backup' in another DuckDB client. The history is started again; nothing is lost.",
          },
        ),
      );
    } else if (memory !== undefined && memory > queriesEnd && !this.#queriesEnded) {
      this.#queriesEnded = true;
      this.#link?.tell("endQueries", {
        why: `the history used more than ${Math.round(queriesEnd / MIB)} MiB of memory`,
      });
    }
    if (this.#link?.waitsFor("query")) this.#lookAtMemory.in(MEMORY_LOOK_MS);
    // The next statement is told too, even if the allocator has kept the memory of this one.
    else this.#queriesEnded = false;
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
      positions: (positions) => {
        for (const [stream, received, durable] of positions) this.#moved(stream, { received, durable });
      },
      flushed: ({ took_ms, ok }) => this.signals.emit("flushed", { tookMs: took_ms, ok }),
      logged: ({ type, tag, text }) => this.#o.log.withTag(tag)[type](text),
    };
  }

  #moved(streamId: string, position: Position): void {
    this.#positions.delete(streamId);
    this.#positions.set(streamId, position);
    dropOldest(this.#positions, MAX_STREAMS);
  }

  /** There are new status rows. */
  notifyStatus(): void {
    if (this.#statusesTold) return;
    this.#statusesTold = true;
    this.#link?.tell("statusesWritten", null);
  }

  /** An agent's clock was compared with the principal's. */
  clockCompared(agentId: string, offsetMs: number): void {
    if ((this.#clocks.get(agentId) ?? 0) === offsetMs) return;
    this.#clocks.delete(agentId);
    this.#clocks.set(agentId, offsetMs);
    dropOldest(this.#clocks, MAX_CLOCKS);
    this.#link?.tell("clockCompared", { agent_id: agentId, offset_ms: offsetMs });
  }

  // ---------------------------------------------------------------- positions

  position(streamId: string): Position {
    const known = this.#positions.get(streamId);
    if (known === undefined) this.agentHoldsFrom(streamId, this.#held.get(streamId) ?? 1);
    return known ?? { received: 0, durable: 0 };
  }

  agentHoldsFrom(streamId: string, firstSeq: number): void {
    if (this.#held.get(streamId) === firstSeq && this.#positions.has(streamId)) return;
    this.#held.delete(streamId);
    this.#held.set(streamId, firstSeq);
    dropOldest(this.#held, MAX_STREAMS);
    this.#link?.tell("streamHeld", { stream_id: streamId, first_seq: firstSeq });
  }

  async locate(streamId: string): Promise<boolean> {
    if (this.#positions.has(streamId)) return true;
    const late = () => new HistoryUnavailableError("The history does not tell its position.");
    const link = this.#link;
    try {
      // Also while it is starting: it answers as soon as it has read them.
      if (link === undefined) throw this.#whyNot();
      const limit = { ms: LOCATE_WAITS_MS, error: late };
      const [, received, durable] = await link.ask("locate", streamId, limit);
      this.#moved(streamId, { received, durable });
      return true;
    } catch {
      const isComing = this.state === "STARTING" || this.state === "DOWN";
      return !isComing || this.clock.monotonic() - this.#awaySince > POSITIONS_WITHIN_MS;
    }
  }

  async waitReceived(stream_id: string, seq: number, timeout_ms: number): Promise<boolean> {
    if ((this.#positions.get(stream_id)?.received ?? 0) >= seq) return true;
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
    this.#lookAtMemory.within(MEMORY_LOOK_MS);
    return reply;
  }

  findRun(workflow_instance_id: string, outputs: boolean): Promise<HistoricRun | null> {
    return this.#read("findRun", { workflow_instance_id, outputs });
  }

  async findOutputs(taskInstanceIds: readonly string[]): Promise<ReadonlyMap<string, string> | null> {
    const found = await this.#read("findOutputs", taskInstanceIds);
    return found === null ? null : new Map(found);
  }

  listRuns(filter: ListRuns, before_ms?: number): Promise<RunSummary[]> {
    if (this.#readsOver) return Promise.reject(stopping());
    if (this.#silence() > QUIET_MS) return Promise.reject(this.#silent(this.#silence()));
    return this.#ask("listRuns", { filter, before_ms });
  }

  prepare(what: Preparation): Promise<PreparedFiles> {
    return this.#read("prepare", what);
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
    if (this.#askedAt === undefined) this.#ping();
    this.#look.by(this.clock.monotonic() + LOOK_MS);
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

  #whenUp(limitMs: number): Promise<boolean> {
    const isDecided = () => this.state !== "STARTING" && this.state !== "DOWN";
    return isDoneWithin(limitMs, this.signals.until("state", isDecided), this.clock);
  }

  #whyNot(): HistoryUnavailableError {
    switch (this.state) {
      case "STARTING":
        return this.#starting(this.clock.monotonic() - this.#beganAt);
      case "SLOW":
        return this.#silent(this.#silence());
      case "OVER":
        return stopping();
      default:
        if (this.#failure !== undefined)
          return new HistoryUnavailableError(`The history cannot be started: ${this.#failure.message}`, {
            hint: HINT,
          });
        return new HistoryUnavailableError("The history process has ended and is started again.", {
          hint: HINT,
        });
    }
  }

  #starting(ms: number): HistoryUnavailableError {
    if (ms < OPENS_WITHIN_MS) return new HistoryUnavailableError("The history is starting.", { hint: HINT });
    return new HistoryUnavailableError(
      `The history database ${this.#o.settings.db_path} is not open after ${Math.round(ms / 1000)} s: does its disk respond?`,
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
