import { errorMessage } from "../errors.ts";
import { log } from "../log.ts";
import { Push } from "../zmq/index.ts";
import type { LogFrame, Outbox } from "./outbox.ts";

/** Frames under way to a principal that is slow; the rest waits on disk. */
const HIGH_WATER_MARK = 64;

/**
 * Delivers log lines: pushes each frame as it is written and waits for nothing. What the principal then says it did not
 * get is sent again from the outbox.
 */
export class LogSender {
  readonly #outbox: Outbox;
  readonly #socket: Push;
  /** Number of the last line that was handed to the socket; undefined until the principal said what it has. */
  #sent: number | undefined;
  /** Counts how often sending began anew. */
  #rewinds = 0;
  #pumping: Promise<void> = Promise.resolve();
  #isPumping = false;
  readonly #handOvers: { readonly seq: number; readonly resolve: () => void }[] = [];

  /** @param host where the principal is; `port` is that of its log socket */
  constructor(outbox: Outbox, host: string, port: number) {
    this.#outbox = outbox;
    this.#socket = new Push({
      immediate: true,
      linger: 0,
      sendHighWaterMark: HIGH_WATER_MARK,
      reconnectInterval: 100,
      reconnectMaxInterval: 2000,
      heartbeatInterval: 5000,
      heartbeatTimeout: 15_000,
    });
    this.#socket.connect(`tcp://${host.includes(":") ? `[${host}]` : host}:${port}`);
  }

  /** Number of the last line that was handed over, 0 for none. */
  get sentSeq(): number {
    return this.#sent ?? 0;
  }

  /** A new frame is in the outbox. */
  push(frame: LogFrame): void {
    if (this.#sent === undefined || this.#isPumping) return;
    if (frame.first <= this.#sent + 1 && this.#trySend(frame.frame)) this.#advance(frame.last);
    else this.#pump();
  }

  /** The principal has the lines up to `received` and needs what follows. */
  rewind(received: number): void {
    this.#sent = received;
    this.#rewinds++;
    this.#pump();
  }

  /** Resolves when the lines up to `seq` are handed over, or after `limitMs`. */
  async handedOver(seq: number, limitMs: number): Promise<void> {
    if (this.sentSeq >= seq) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#handOvers.push({ seq, resolve });
    const timer = setTimeout(resolve, limitMs);
    await promise;
    clearTimeout(timer);
  }

  /** Ends the connection. */
  async close(): Promise<void> {
    this.#socket.close();
    await this.#pumping;
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
    if (this.#isPumping || this.#socket.closed) return;
    this.#isPumping = true;
    this.#pumping = this.#sendWhatWaits()
      .catch((error) => {
        if (!this.#socket.closed) log.warn(`Log lines cannot be sent: ${errorMessage(error)}`);
      })
      .finally(() => {
        this.#isPumping = false;
      });
  }

  async #sendWhatWaits(): Promise<void> {
    while (!this.#socket.closed) {
      const frames = this.#outbox.frames(this.sentSeq);
      if (frames.length === 0) return;
      for (const { last, frame } of frames) {
        const rewinds = this.#rewinds;
        if (!this.#trySend(frame)) await this.#socket.send(frame);
        if (rewinds !== this.#rewinds) break;
        this.#advance(last);
      }
    }
  }

  #advance(seq: number): void {
    this.#sent = seq;
    for (let index = this.#handOvers.length - 1; index >= 0; index--) {
      const waiting = this.#handOvers[index];
      if (waiting === undefined || waiting.seq > seq) continue;
      waiting.resolve();
      this.#handOvers.splice(index, 1);
    }
  }
}

/**
 * Tells when lines got lost on the way: the principal lacks lines that were sent before it was asked, and gets no further.
 */
export class LossDetector {
  #received = -1;
  #since = 0;

  /**
   * Hears a reply.
   * @param received last line that the principal has
   * @param sentBefore last line that had been sent when the request went out
   * @param patienceMs how long it may stand still while lines are under way
   * @returns whether to send again from `received`
   */
  hear(received: number, sentBefore: number, nowMs: number, patienceMs: number): boolean {
    if (received !== this.#received || received >= sentBefore) {
      this.#received = received;
      this.#since = nowMs;
      return false;
    }
    if (nowMs - this.#since < patienceMs) return false;
    this.#since = nowMs;
    return true;
  }
}
