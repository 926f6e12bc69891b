/**
 * The log hub: receives the lines that agents deliver, corrects their times where an agent's clock is wrong, passes them to the historian
 * and publishes each one to subscribers, exactly once and in the order of its stream, even if an agent sends it again.
 */
import type { ConsolaInstance } from "consola";
import type { Delivery, DeliveryVerdict, IntakeCounts } from "../../contract/history.ts";
import {
  decodeLogBatch,
  headColumn,
  headOf,
  isLogBatch,
  type LogBatch,
  LogLineReader,
  splitSingleLine,
} from "../../contract/log-line.ts";
import { MAX_FRAME_BYTES } from "../../contract/wire.ts";
import { errorMessage, InvalidInputError } from "../../errors.ts";
import { RateLimitedWarning } from "../../host/rate-limited-warning.ts";
import { type Access, OWN_NAME } from "../../protocol/doors/access.ts";
import { bindSocket, DOOR_OPTIONS, portOf } from "../../protocol/doors/bind.ts";
import type { LocalPeers } from "../../protocol/doors/local-peers.ts";
import {
  LONGEST_SUBSCRIPTION,
  QUEUED_LINES,
  QUEUED_SUBSCRIPTIONS,
  Watchers,
} from "../../protocol/doors/watchers.ts";
import { BackgroundService } from "../../service.ts";
import { turn } from "../../timer.ts";
import { type Message, Pull, XPublisher } from "../../zmq/index.ts";
import { AgentClocks } from "./agent-clocks.ts";
import { Probes } from "./probes.ts";
import { PublishedLines } from "./published-lines.ts";

/** Batches read from the socket at once. */
const RECEIVE_BATCHES = 32;
/** Batches queued per agent before backpressure applies: each may be 16 MiB, and more arrive quickly. */
const QUEUED_BATCHES = 8;
/** Subscriptions read from the publisher at once. */
const RECEIVE_SUBSCRIPTIONS = 256;
/** Interval at which subscriptions are read without a request, ms; the shorter one while there are some, because a peer that has left keeps its connection until all of its subscriptions are read. */
const TAKE_SUBSCRIPTIONS_MS = 1000;
const TAKE_MORE_MS = 10;
/** The same after so many reads in a row that found none, ms: each wakes the process. */
const RESTING_AFTER = 5;
const TAKE_AT_REST_MS = 5000;
/** Delay after an unexplained failure, ms: it may recur at once. */
const FAILURE_PAUSE_MS = 100;
/** Interval between checks for peers that are still connected although their key was revoked. */
const CUT_PAUSE_MS = 250;
/** After this time, ms, the event loop gets a turn; checked every few lines. */
const TURN_MS = 4;
const LINES_PER_LOOK = 200;

const NO_RUNS: ReadonlySet<string> = new Set();
const FOREIGN_RUN = "A log line names a run that was never assigned to its agent.";

/** What the hub needs from the historian. */
interface LogSink {
  offer(batch: LogBatch): void;
  position(streamId: string): { received: number; known: boolean };
  /** Backpressure: something to wait for before the next batch, when memory is full and a write will make space. */
  room(): Promise<void> | undefined;
}

/** Options of {@link LogHub}. */
export interface LogHubOptions {
  /** Address to bind. */
  readonly host: string;
  /** Port on which agents deliver; 0 for any free one. */
  readonly listeningPort: number;
  /** Port on which lines are published; 0 for any free one. */
  readonly publishingPort: number;
  readonly historian: LogSink;
  readonly log: ConsolaInstance;
  /** Decides who may deliver and who may subscribe; without it everyone may. */
  readonly access?: Access | undefined;
  /** Without {@link access}: says whose processes may connect; absent: everyone's. */
  readonly locals?: LocalPeers | undefined;
  /** With {@link access}: whether a key may deliver lines. */
  readonly mayDeliver?: (delivery: Delivery) => Promise<DeliveryVerdict>;
  /** Nothing is received before. Lines that wait in the socket hold their agents back. */
  readonly ready?: Promise<unknown>;
}

export class LogHub extends BackgroundService {
  readonly name = "log hub";
  readonly #o: LogHubOptions;
  readonly #published = new PublishedLines();
  readonly #clocks = new AgentClocks();
  readonly #malformedWarning: RateLimitedWarning;
  readonly #droppedWarning: RateLimitedWarning;
  /** Stream id for lines that arrive without a number. */
  readonly #unnumbered = `unnumbered-${crypto.randomUUID()}`;
  readonly #counts = { frames: 0, published: 0, malformed: 0, dropped: 0 };
  #pull: Pull | undefined;
  #publisher: XPublisher | undefined;
  readonly #probes = new Probes();
  readonly #watchers: Watchers;
  readonly #taking = this.timer(() => this.#takeSubscriptions());
  #emptyTakes = 0;
  readonly #cut = this.timer(() => this.cutOff());
  #receiving: Promise<void> = Promise.resolve();
  #turnBegan = 0;

  constructor(options: LogHubOptions) {
    super();
    this.#o = options;
    options.access?.signals.on("revoked", () => this.cutOff());
    this.#malformedWarning = new RateLimitedWarning(options.log);
    this.#droppedWarning = new RateLimitedWarning(options.log);
    this.#watchers = new Watchers(options.log);
  }

  /** The endpoint on which agents deliver, with its real port; "" before the start. */
  get listeningEndpoint(): string {
    return this.#pull?.lastEndpoint ?? "";
  }

  /** The endpoint on which lines are published, with its real port; "" before the start. */
  get publishingEndpoint(): string {
    return this.#publisher?.lastEndpoint ?? "";
  }

  get counts(): IntakeCounts {
    return { ...this.#counts };
  }

  /** An agent's clock was compared with the principal's: `offsetMs` must be added to its times. */
  clockCompared(agentId: string, offsetMs: number): void {
    this.#clocks.compared(agentId, offsetMs);
  }

  /** A former process has published the lines of a stream up to `seq`. */
  wasPublished(streamId: string, seq: number): void {
    this.#published.continueAfter(streamId, seq);
  }

  /** @throws CdktrError when a port cannot be bound */
  protected override async onStart(): Promise<void> {
    const { host, listeningPort, publishingPort, access, locals } = this.#o;
    const pull = new Pull({
      ...DOOR_OPTIONS,
      receiveHighWaterMark: QUEUED_BATCHES,
      maxMessageSize: MAX_FRAME_BYTES,
      ...access?.socketOptions("logs-listening"),
      ...locals?.socketOptions("logs-listening"),
    });
    const publisher = new XPublisher({
      ...DOOR_OPTIONS,
      maxMessageSize: LONGEST_SUBSCRIPTION,
      sendHighWaterMark: QUEUED_LINES,
      receiveHighWaterMark: QUEUED_SUBSCRIPTIONS,
      // On a secured principal every subscription must show its connection, even a repeated one.
      verbose: access !== undefined,
      ...access?.socketOptions("logs-publishing"),
      ...locals?.socketOptions("logs-publishing"),
    });
    locals?.guard("logs-listening", pull);
    locals?.guard("logs-publishing", publisher);
    try {
      await bindSocket(publisher, {
        host,
        port: publishingPort,
        what: "port for live logs",
        setting: "CDKTR_LOGS_PUBLISHING_PORT",
      });
      await bindSocket(pull, {
        host,
        port: listeningPort,
        what: "port for agents' logs",
        setting: "CDKTR_LOGS_LISTENING_PORT",
      });
    } catch (error) {
      pull.close();
      publisher.close();
      throw error;
    }
    this.#pull = pull;
    this.#publisher = publisher;
    this.#receiving = this.#receive(pull);
    this.#takeSubscriptions();
  }

  /** Closes the connections of peers that may not deliver or subscribe (any more); others are unaffected. */
  cutOff(): void {
    const { access } = this.#o;
    if (access === undefined) return;
    this.#takeSubscriptions();
    this.#publisher?.endConnections(({ userId }) => !access.admits(userId, "logs-publishing"));
    this.#pull?.endConnections(({ userId }) => !access.admits(userId, "logs-listening"));
  }

  /**
   * Whether the publisher knows a subscription to this probe. It reads pending subscriptions itself: if a receive waited on the XPUB, the
   * socket would have to be polled after each published line.
   */
  isSubscribed(probe: string): boolean {
    this.#takeSubscriptions();
    return this.#probes.has(probe);
  }

  #takeSubscriptions(): void {
    const publisher = this.#publisher;
    const began = performance.now();
    let [taken, tookMs] = [0, 0];
    while (publisher?.closed === false && tookMs < TURN_MS) {
      const messages = publisher.tryReceiveBatch(RECEIVE_SUBSCRIPTIONS);
      for (const [frame] of messages) {
        this.#probes.take(frame);
        this.#watchers.take(frame);
      }
      taken += messages.length;
      tookMs = performance.now() - began;
      if (messages.length < RECEIVE_SUBSCRIPTIONS) break;
    }
    // However many come, half of the time is left for everything else.
    this.#emptyTakes = taken === 0 ? this.#emptyTakes + 1 : 0;
    if (taken > 0) this.#taking.in(Math.max(TAKE_MORE_MS, tookMs));
    else this.#taking.in(this.#emptyTakes > RESTING_AFTER ? TAKE_AT_REST_MS : TAKE_SUBSCRIPTIONS_MS);
    this.#watchers.endGreedy(portOf(this.publishingEndpoint), began);
  }

  /** Processes what has arrived, then closes. */
  protected override async onStop(): Promise<void> {
    const pull = this.#pull;
    this.#pull = undefined;
    pull?.close();
    await this.#receiving;
    this.#publisher?.close();
    this.#publisher = undefined;
  }

  async #receive(pull: Pull): Promise<void> {
    await this.#o.ready;
    for (;;) {
      try {
        await this.#handle(await pull.receiveBatch(RECEIVE_BATCHES));
      } catch (error) {
        // What was queued in the closed socket is not lost: agents send again what did not become durable.
        if (pull.closed) return;
        this.#o.log.error(`The log hub could not process a message from an agent: ${errorMessage(error)}`);
        await this.pause(FAILURE_PAUSE_MS);
      }
    }
  }

  async #handle(messages: readonly Message[]): Promise<void> {
    for (const message of messages) {
      this.#counts.frames++;
      if (this.#o.access?.admits(message.userId, "logs-listening") === false) {
        this.#malformed(1, "their key was revoked");
        this.#cut.within(CUT_PAUSE_MS);
        continue;
      }
      await this.#giveTurn();
      // Batches that wait in the socket hold their agents back; batches that arrive when memory is full must be sent again.
      await this.#o.historian.room();
      let pending: readonly string[];
      try {
        pending = await this.#take(message);
      } catch (error) {
        if (!(error instanceof InvalidInputError)) throw error;
        this.#malformed(1, error.message);
        continue;
      }
      for (const [index, line] of pending.entries()) {
        // A slow subscriber misses lines that it cannot receive; they are in the history.
        if (this.#publisher?.closed === false) this.#publisher.trySend(line);
        if (index % LINES_PER_LOOK === 0) await this.#giveTurn();
      }
      this.#counts.published += pending.length;
    }
  }

  /** Yields to timers and other sockets when this has run for a while. */
  async #giveTurn(): Promise<void> {
    if (performance.now() - this.#turnBegan < TURN_MS) return;
    await turn();
    this.#turnBegan = performance.now();
  }

  /**
   * Passes the lines of a message to the historian.
   * @returns the lines to publish
   * @throws InvalidInputError when the message is malformed
   */
  async #take(message: Message): Promise<readonly string[]> {
    const { frame, userId } = this.#open(message);
    const text = frame.toString("utf8");
    if (isLogBatch(text)) {
      const batch = decodeLogBatch(text);
      return this.#takeBatch(batch, await this.#foreignRuns(userId, batch.lines, batch));
    }
    const lines = splitSingleLine(text);
    const foreign = await this.#foreignRuns(userId, lines);
    if (foreign.size > 0) throw new InvalidInputError(FOREIGN_RUN);
    return this.#takeUnnumbered(lines);
  }

  /**
   * What a message delivers, and the key of who delivers it. Another member of the installation passes on what it gets, with that key in
   * front.
   * @throws InvalidInputError when the message is malformed, or that key was revoked
   */
  #open(message: Message): { readonly frame: Buffer; readonly userId: string | undefined } {
    const { access } = this.#o;
    const [first, second, ...more] = message;
    if (second === undefined) return { frame: first, userId: message.userId };
    if (more.length > 0 || access?.identify(message.userId)?.name !== OWN_NAME)
      throw new InvalidInputError(`A log message has 1 part; this one has ${message.length}.`);
    const userId = first.toString("latin1");
    if (access.admits(userId, "logs-listening")) return { frame: second, userId };
    throw new InvalidInputError("their key was revoked");
  }

  /**
   * Runs for which the sender may not deliver lines.
   * @throws InvalidInputError when it may not deliver for that agent
   */
  async #foreignRuns(
    userId: string | undefined,
    lines: readonly string[],
    batch?: LogBatch,
  ): Promise<ReadonlySet<string>> {
    const { mayDeliver } = this.#o;
    if (mayDeliver === undefined || userId === undefined) return NO_RUNS;
    const { refusal, foreign } = await mayDeliver({
      public_key: userId,
      batch: batch === undefined ? null : { agent_id: batch.agent_id, stream_id: batch.stream_id },
      runs: [...runsOf(lines)],
    });
    if (refusal !== null) throw new InvalidInputError(refusal);
    return foreign.length === 0 ? NO_RUNS : new Set(foreign);
  }

  #takeBatch(batch: LogBatch, foreign: ReadonlySet<string>): readonly string[] {
    const reader = new LogLineReader();
    const correct = this.#clocks.correction(batch.agent_id, this.clock.now());
    let bad = 0;
    let reason = "";
    // A malformed line keeps its number, or the lines after it would never fit.
    const lines = batch.lines.map((line) => {
      const wrong = reader.check(line) ?? (foreign.size > 0 && foreign.has(runOf(line)) ? FOREIGN_RUN : null);
      if (wrong === null) return correct?.(line) ?? line;
      bad++;
      reason = wrong;
      return "";
    });
    if (bad > 0) this.#malformed(bad, `${reason} (agent ${batch.agent_id.slice(0, 100)})`);
    const before = this.#o.historian.position(batch.stream_id);
    this.#o.historian.offer({ ...batch, lines });
    const from = this.#published.advance(batch, before);
    const pending = from === 0 ? lines : lines.slice(from);
    return bad === 0 ? pending : pending.filter((line) => line !== "");
  }

  #takeUnnumbered(lines: readonly string[]): readonly string[] {
    const { historian } = this.#o;
    const received = historian.position(this.#unnumbered).received;
    historian.offer({ agent_id: "", stream_id: this.#unnumbered, first_seq: received + 1, lines });
    if (historian.position(this.#unnumbered).received === received) {
      this.#counts.dropped += lines.length;
      this.#droppedWarning.warn(
        lines.length,
        (count) =>
          `${count} unnumbered log lines were lost: the history is not available and memory is full.`,
      );
    }
    return lines;
  }

  #malformed(count: number, reason: string): void {
    this.#counts.malformed += count;
    this.#malformedWarning.warn(
      count,
      (total) => `${total} log lines or messages were dropped, the last one because: ${reason}`,
    );
  }
}

function runOf(line: string): string {
  return headColumn(headOf(line), "workflow_instance_id");
}

/** The runs of a batch. */
function runsOf(lines: readonly string[]): ReadonlySet<string> {
  const runs = new Set<string>();
  let head = "";
  for (const line of lines) {
    if (head !== "" && line.startsWith(head)) continue;
    head = headOf(line);
    runs.add(headColumn(head, "workflow_instance_id"));
  }
  return runs;
}
