import { errorMessage } from "../errors.ts";
import { log } from "../log.ts";
import { type CurveClientKeys, curveOptions } from "../protocol/client.ts";
import { watchHandshakes } from "../protocol/handshake.ts";
import { BackgroundService } from "../service.ts";
import { isDoneWithin } from "../timer.ts";
import { hostAndPort, Push, tcpEndpoint } from "../zmq/index.ts";
import type { LogFrame, Outbox } from "./outbox.ts";

/** Frames under way to a principal that is slow; the rest waits on disk. */
const HIGH_WATER_MARK = 64;
/** Of what is sent again at most so much is under way without a word that it has come, bytes. */
const WINDOW_BYTES = 16 * 1024 * 1024;
/** How often the principal is asked how far it is, while lines are under way, ms. */
const CHECK_MS = 500;
/** Lines are taken for lost when none has come for so long, ms. */
const LOST_AFTER_MS = 1000;
/** How often it is asked while the window is full, ms. */
const WINDOW_CHECK_MS = 50;
/** The longest pause between two attempts to send again lines that the principal does not take, ms. */
const LONGEST_PATIENCE_MS = 30_000;

/** What {@link LogSender} needs. */
export interface LogSenderOptions {
  readonly outbox: Outbox;
  /** Where the principal is. */
  readonly host: string;
  /** Port of its log socket. */
  readonly port: number;
  readonly curve?: CurveClientKeys | undefined;
  /** Asks the principal how far it is; what it answers comes as {@link LogSender.received}. */
  ask(): Promise<void>;
}

/**
 * Delivers log lines: pushes each frame as it is written and waits for nothing. Lines that got lost on the way, or for which the
 * principal had no room, are sent again from the outbox.
 */
export class LogSender extends BackgroundService {
  readonly name = "log sender";
  readonly #o: LogSenderOptions;
  readonly #outbox: Outbox;
  readonly #socket: Push;
  readonly #ask: () => Promise<void>;
  /** Number of the last line that was handed to the socket; undefined until the principal said what it has. */
  #sent: number | undefined;
  /** Number of the last line that the principal has. */
  #received = 0;
  /** Frames that were sent and not received, oldest first. */
  #underWay: { readonly last: number; readonly bytes: number }[] = [];
  #underWayBytes = 0;
  /** Counts how often sending began anew. */
  #rewinds = 0;
  #isPumping = false;
  readonly #check = this.timer(() => void this.#checkProgress());
  #isChecking = false;
  /** When the last lines came, or were sent again. */
  #progressAt = 0;
  /** How long it may take from then on. */
  #patience = LOST_AFTER_MS;
  readonly #handOvers: { readonly seq: number; readonly resolve: () => void }[] = [];

  constructor(options: LogSenderOptions) {
    super();
    this.#o = options;
    this.#outbox = options.outbox;
    this.#ask = options.ask;
    this.#socket = new Push({
      immediate: true,
      linger: 0,
      sendHighWaterMark: HIGH_WATER_MARK,
      reconnectInterval: 100,
      reconnectMaxInterval: 2000,
      heartbeatInterval: 5000,
      heartbeatTimeout: 15_000,
      ...curveOptions(options.curve),
    });
  }

  protected override onStart(): void {
    const { host, port, curve } = this.#o;
    const endpoint = tcpEndpoint(host, port);
    watchHandshakes(this.#socket, endpoint, hostAndPort(host, port), curve, (error) => {
      // It is tried again and again; the requests to the API say it at first.
      log.debug(error.message);
    });
    this.#socket.connect(endpoint);
  }

  /** A new frame is in the outbox. */
  push(frame: LogFrame): void {
    if (this.#sent === undefined || this.#isPumping) return;
    if (frame.first <= this.#sent + 1 && this.#trySend(frame.frame)) this.#advance(frame);
    else this.#pump();
  }

  /** The principal has the lines up to `seq`. */
  received(seq: number): void {
    if (seq <= this.#received) return;
    this.#received = seq;
    this.#progressAt = performance.now();
    this.#patience = LOST_AFTER_MS;
    let count = 0;
    for (const { last, bytes } of this.#underWay) {
      if (last > seq) break;
      this.#underWayBytes -= bytes;
      count++;
    }
    this.#underWay.splice(0, count);
  }

  /** Begins anew: the principal has the lines up to `received` and needs what follows. */
  rewind(received: number): void {
    this.#sent = received;
    this.#received = received;
    this.#underWay = [];
    this.#underWayBytes = 0;
    this.#rewinds++;
    this.#pump();
  }

  /** Resolves when the lines up to `seq` are handed over, or after `limitMs`. */
  async handedOver(seq: number, limitMs: number): Promise<void> {
    if ((this.#sent ?? 0) >= seq) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#handOvers.push({ seq, resolve });
    await isDoneWithin(limitMs, promise);
  }

  protected override onStop(): void {
    this.#socket.close();
  }

  #trySend(frame: Uint8Array): boolean {
    try {
      return this.#socket.trySend(frame);
    } catch (error) {
      if (!this.#socket.closed) log.debug(`A log frame could not be sent: ${errorMessage(error)}`);
      return false;
    }
  }

  #pump(): void {
    if (!this.#isPumping && !this.#socket.closed) this.track(this.#sendWhatWaits());
  }

  async #sendWhatWaits(): Promise<void> {
    this.#isPumping = true;
    try {
      while (!this.#socket.closed) {
        const frames = this.#outbox.frames(this.#sent ?? 0);
        if (frames.length === 0) return;
        await this.#sendFrames(frames);
      }
    } catch (error) {
      if (!this.#socket.closed) log.warn(`Log lines cannot be sent: ${errorMessage(error)}`);
    } finally {
      // In the turn in which nothing was left to send: a frame that comes next must find it so.
      this.#isPumping = false;
    }
  }

  async #sendFrames(frames: readonly LogFrame[]): Promise<void> {
    for (const frame of frames) {
      const rewinds = this.#rewinds;
      if (this.#underWayBytes >= WINDOW_BYTES) await this.#waitForWindow();
      if (rewinds !== this.#rewinds || this.#socket.closed) return;
      if (!this.#trySend(frame.frame)) await this.#socket.send(frame.frame);
      if (rewinds !== this.#rewinds) return;
      this.#advance(frame);
    }
  }

  /**
   * Waits until the principal has received enough of what is under way. When it keeps on not taking it, the flow goes on all the
   * same: whoever watches the log live sees it although the history has no room.
   */
  async #waitForWindow(): Promise<void> {
    while (this.#underWayBytes >= WINDOW_BYTES && !this.#socket.closed) {
      await this.#ask();
      if (this.#underWayBytes < WINDOW_BYTES || this.#patience > 4 * LOST_AFTER_MS) return;
      this.#sendAgainIfLost();
      await this.pause(WINDOW_CHECK_MS);
    }
  }

  #advance({ last, frame }: LogFrame): void {
    this.#sent = last;
    if (this.#underWay.length === 0) this.#progressAt = performance.now();
    this.#underWay.push({ last, bytes: frame.length });
    this.#underWayBytes += frame.length;
    this.#armCheck();
    for (let index = this.#handOvers.length - 1; index >= 0; index--) {
      const waiting = this.#handOvers[index];
      if (waiting === undefined || waiting.seq > last) continue;
      waiting.resolve();
      this.#handOvers.splice(index, 1);
    }
  }

  #armCheck(): void {
    if (this.#underWay.length > 0 && !this.#isChecking) this.#check.within(CHECK_MS);
  }

  async #checkProgress(): Promise<void> {
    this.#isChecking = true;
    await this.#ask();
    this.#isChecking = false;
    this.#sendAgainIfLost();
    this.#armCheck();
  }

  #sendAgainIfLost(): void {
    if (this.#underWay.length === 0 || performance.now() < this.#progressAt + this.#patience) return;
    log.debug(`Log lines after ${this.#received} got lost on the way: sending them again.`);
    // The principal may have no room for them: then asking more often does not help.
    this.#patience = Math.min(this.#patience * 2, LONGEST_PATIENCE_MS);
    this.rewind(this.#received);
  }
}
