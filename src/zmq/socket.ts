import { pause, Timer } from "../timer.ts";
import { MonitorEvent, Option, POLLIN, POLLOUT, SocketType } from "./constants.ts";
import { ZmqError } from "./error.ts";
import { type Message, type MessageLike, toParts } from "./message.ts";
import { SocketEvents } from "./monitor.ts";
import { NativeSocket } from "./native-socket.ts";
import { type AnySocketOptions, applyOptions } from "./options.ts";
import { type Connection, Peers } from "./peers.ts";
import { isBeingReleased, releaseEndpoint } from "./released-endpoints.ts";
import { nextTurn, takeTurn } from "./turn-budget.ts";

/** Default of the option `linger`: with libzmq's own default, forever, a process whose peer is gone would hang. */
const DEFAULT_LINGER_MS = 1_000;
const REBIND_INTERVAL_MS = 5;
/** Retry delay for a send that libzmq refuses although it reports the socket as writable. */
const RETRY_INTERVAL_MS = 10;
/** A batch ends at this many bytes, whatever its number of messages: the rest stays in the bounded queue. */
const BATCH_BYTES = 1024 * 1024;
/** Rounds of {@link Socket} between two checks of the events; more mean that libzmq reports a readiness it does not honour. */
const MAX_ROUNDS = 64;

const SENT = Promise.resolve();
const always = () => true;

interface PendingReceive {
  readonly max: number;
  readonly resolve: (messages: Message[]) => void;
  readonly reject: (error: unknown) => void;
  timer: Timer | undefined;
}

interface PendingSend {
  readonly parts: readonly Uint8Array[];
  readonly isWanted: () => boolean;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
  timer: Timer | undefined;
}

/**
 * The common base of all sockets. A waiting receive or send keeps the process alive; an open socket on which nothing waits does
 * not. Close sockets explicitly: one that is merely dropped stays open until the process exits.
 */
export abstract class Socket implements Disposable {
  readonly #native: NativeSocket;
  readonly #bound = new Set<string>();
  #events: SocketEvents | undefined;
  #lastEndpoint = "";
  #receive: PendingReceive | undefined;
  readonly #sends: PendingSend[] = [];
  #sendTimeout = -1;
  #receiveTimeout = -1;
  #holding = false;
  #turnPending = false;
  readonly #retry = new Timer(() => this.#progress());

  protected constructor(type: SocketType, options: AnySocketOptions = {}) {
    this.#native = new NativeSocket(
      type,
      () => this.#progress(),
      () => this.close(),
    );
    try {
      applyOptions(this.#native, { linger: DEFAULT_LINGER_MS, ...options });
      if (options.zapDomain !== undefined || type === SocketType.Router)
        this.#native.peers = new Peers(options.curveServer === true);
      if (options.sendTimeout !== undefined) this.sendTimeout = options.sendTimeout;
      if (options.receiveTimeout !== undefined) this.receiveTimeout = options.receiveTimeout;
    } catch (error) {
      this.#native.close();
      throw error;
    }
  }

  /** Whether `close` was called. */
  get closed(): boolean {
    return this.#native.closed;
  }

  /** The endpoint last bound or connected, with its real port after binding to `tcp://127.0.0.1:*`. Empty before that. */
  get lastEndpoint(): string {
    return this.#lastEndpoint;
  }

  /** How long `send` waits for space, in milliseconds: -1 forever, 0 not at all. */
  get sendTimeout(): number {
    return this.#sendTimeout;
  }

  set sendTimeout(milliseconds: number) {
    this.#sendTimeout = timeout("sendTimeout", milliseconds);
  }

  /** How long `receive` waits for a message, in milliseconds: -1 forever, 0 not at all. */
  get receiveTimeout(): number {
    return this.#receiveTimeout;
  }

  set receiveTimeout(milliseconds: number) {
    this.#receiveTimeout = timeout("receiveTimeout", milliseconds);
  }

  /** How many milliseconds a closed socket keeps trying to send what is queued; -1: forever. */
  get linger(): number {
    return this.#native.getInt(Option.LINGER);
  }

  set linger(milliseconds: number) {
    this.#native.setInt(Option.LINGER, milliseconds, "linger");
  }

  /** Connection events of this socket, from the first use of this property on. */
  get events(): SocketEvents {
    this.#events ??= new SocketEvents(this.#native);
    return this.#events;
  }

  /**
   * Like {@link events}, but with nothing except the accepted connections, for a server: while a process has no descriptor left, libzmq
   * fails to accept thousands of times a second and would report each. The first of the two that is used decides.
   */
  get acceptEvents(): SocketEvents {
    this.#events ??= new SocketEvents(this.#native, MonitorEvent.ACCEPTED);
    return this.#events;
  }

  /**
   * Accepts peers at an endpoint. If this process has just released the address, it waits until it is free.
   * @throws {ZmqError} EADDRINUSE, EADDRNOTAVAIL, EINVAL, EPROTONOSUPPORT, …
   */
  async bind(endpoint: string): Promise<void> {
    for (;;) {
      try {
        this.#native.endpoint("bind", endpoint);
        break;
      } catch (error) {
        if (!(error instanceof ZmqError) || error.code !== "EADDRINUSE" || !isBeingReleased(endpoint))
          throw error;
        await pause(REBIND_INTERVAL_MS);
      }
    }
    this.#lastEndpoint = this.#native.getString(Option.LAST_ENDPOINT);
    this.#bound.add(this.#lastEndpoint);
    this.#progress();
  }

  /**
   * Stops accepting peers at an endpoint, given as the value of `lastEndpoint` after binding.
   * @throws {ZmqError} ENOENT when it is not bound
   */
  async unbind(endpoint: string): Promise<void> {
    this.#native.endpoint("unbind", endpoint);
    this.#bound.delete(endpoint);
    releaseEndpoint(endpoint);
    this.#progress();
  }

  /**
   * Connects to a peer, and reconnects whenever the connection is lost. Returns at once; the peer need not be there yet.
   * @throws {ZmqError} EINVAL, EPROTONOSUPPORT, …
   */
  connect(endpoint: string): void {
    this.#native.endpoint("connect", endpoint);
    this.#lastEndpoint = this.#native.getString(Option.LAST_ENDPOINT);
    this.#progress();
  }

  /**
   * Disconnects from a peer.
   * @throws {ZmqError} ENOENT when there is no connection to that endpoint
   */
  disconnect(endpoint: string): void {
    this.#native.endpoint("disconnect", endpoint);
    this.#progress();
  }

  /**
   * Closes accepted connections immediately: data queued for them, even in the kernel, is not delivered. Only on a CURVE server. Only
   * the authenticator can keep a peer from reconnecting.
   * @param isOver called for each connection
   * @returns how many were closed
   */
  endConnections(isOver: (connection: Connection) => boolean): number {
    const { peers } = this.#native;
    if (peers === undefined || this.#native.closed) return 0;
    return peers.end(new Set([...this.#bound].map(portOf)), isOver);
  }

  /**
   * Closes the socket at once. Waiting operations reject with ETERM, iterators end. Messages that were already sent still go out in
   * the background, for up to `linger`. Safe to call twice.
   */
  close(): void {
    if (this.#native.closed) return;
    try {
      this.#events?.stop();
    } finally {
      this.#native.close();
    }
    for (const endpoint of this.#bound) releaseEndpoint(endpoint);
    this.#retry.cancel();
    this.#endReceive()?.reject(new ZmqError("ETERM", "receive"));
    for (const pending of this.#sends.splice(0)) {
      pending.timer?.cancel();
      pending.reject(new ZmqError("ETERM", "send"));
    }
    this.#updateHold();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Sets a byte-valued option while the socket is in use. */
  protected setBytes(option: number, value: Uint8Array, name: string): void {
    this.#native.setBytes(option, value, name);
    this.#progress();
  }

  /** See {@link Writable.send}. */
  protected sendMessage(message: MessageLike, isWanted = always): Promise<void> {
    try {
      this.#assertOpen("send");
      if (!isWanted()) return SENT;
      const parts = toParts(message);
      if (this.#sends.length === 0 && this.#attemptSend(parts))
        return takeTurn() ? SENT : new Promise(nextTurn);
      if (this.#sendTimeout === 0) throw new ZmqError("EAGAIN", "send");
      return new Promise((resolve, reject) => {
        const pending: PendingSend = { parts, isWanted, resolve, reject, timer: undefined };
        if (this.#sendTimeout > 0) {
          pending.timer = new Timer(() => this.#sendTimedOut(pending));
          pending.timer.in(this.#sendTimeout);
        }
        this.#sends.push(pending);
        this.#progress();
      });
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** See {@link Writable.trySend}. */
  protected trySendMessage(message: MessageLike): boolean {
    this.#assertOpen("send");
    const parts = toParts(message);
    // Sends that are already waiting go first.
    return this.#sends.length === 0 && this.#attemptSend(parts);
  }

  /** See {@link Readable.receive}. */
  protected receiveMessage(): Promise<Message> {
    const message = this.#receiveNow();
    if (message instanceof Error) return Promise.reject(message);
    if (message !== undefined) return Promise.resolve(message);
    return new Promise((resolve, reject) => this.#waitToReceive(1, ([first]) => resolve(first!), reject));
  }

  /** See {@link Readable.receiveBatch}. */
  protected receiveMessages(max: number): Promise<Message[]> {
    if (!isBatchSize(max)) return Promise.reject(batchSizeError());
    const message = this.#receiveNow();
    if (message instanceof Error) return Promise.reject(message);
    if (message !== undefined) return Promise.resolve(this.#receiveMore([message], max));
    return new Promise((resolve, reject) => this.#waitToReceive(max, resolve, reject));
  }

  /** See {@link Readable.tryReceive}. */
  protected tryReceiveMessage(): Message | undefined {
    this.#assertMayReceive();
    return this.#attemptReceive();
  }

  /** See {@link Readable.tryReceiveBatch}. */
  protected tryReceiveMessages(max: number): Message[] {
    if (!isBatchSize(max)) throw batchSizeError();
    this.#assertMayReceive();
    return this.#receiveMore([], max);
  }

  /** See {@link Readable}. */
  protected messages(): AsyncIterableIterator<Message> {
    const done: IteratorResult<Message> = { value: undefined, done: true };
    let ended = false;
    const next = (): Promise<IteratorResult<Message>> => {
      if (ended || this.closed) return Promise.resolve(done);
      const message = this.#receiveNow();
      if (message instanceof Error) return Promise.reject(message);
      if (message !== undefined) return Promise.resolve({ value: message, done: false });
      return new Promise((resolve, reject) => {
        this.#waitToReceive(
          1,
          ([first]) => resolve({ value: first!, done: false }),
          (error) => (this.closed ? resolve(done) : reject(error)),
        );
      });
    };
    const iterator = {
      next,
      return: (): Promise<IteratorResult<Message>> => {
        ended = true;
        return Promise.resolve(done);
      },
      [Symbol.asyncIterator]: () => iterator,
    };
    return iterator;
  }

  #assertOpen(operation: string): void {
    if (this.#native.closed) throw new ZmqError("ENOTSOCK", operation);
  }

  #assertMayReceive(): void {
    this.#assertOpen("receive");
    if (this.#receive !== undefined) throw new ZmqError("EBUSY", "receive");
  }

  /** A message if one is available and the turn's budget allows it, the failure, or undefined if the caller must wait. */
  #receiveNow(): Message | ZmqError | undefined {
    try {
      this.#assertMayReceive();
      const mayWait = this.#receiveTimeout !== 0;
      if (!takeTurn() && mayWait) return undefined;
      const message = this.#attemptReceive();
      if (message === undefined && !mayWait) throw new ZmqError("EAGAIN", "receive");
      return message;
    } catch (error) {
      return error instanceof ZmqError ? error : new ZmqError("ENOMEM", "receive", { text: String(error) });
    }
  }

  #waitToReceive(
    max: number,
    resolve: (messages: Message[]) => void,
    reject: (error: unknown) => void,
  ): void {
    const pending: PendingReceive = { max, resolve, reject, timer: undefined };
    if (this.#receiveTimeout > 0) {
      pending.timer = new Timer(() => this.#receiveTimedOut(pending));
      pending.timer.in(this.#receiveTimeout);
    }
    this.#receive = pending;
    this.#progress();
  }

  #attemptReceive(): Message | undefined {
    const message = this.#native.receive();
    // Receiving makes libzmq process its mailbox, so a notification of space for a waiting send could get lost.
    if (this.#sends.length > 0) this.#progress();
    return message;
  }

  #receiveMore(messages: Message[], max: number): Message[] {
    let bytes = messages.reduce((total, message) => total + bytesOf(message), 0);
    while (messages.length < max && bytes < BATCH_BYTES) {
      const message = this.#attemptReceive();
      if (message === undefined) break;
      messages.push(message);
      bytes += bytesOf(message);
    }
    return messages;
  }

  #attemptSend(parts: readonly Uint8Array[]): boolean {
    let sent = this.#native.send(parts);
    // When sending, libzmq only rarely checks for news from its I/O thread; asking for the events forces it to.
    if (!sent && (this.#native.events() & POLLOUT) !== 0) sent = this.#native.send(parts);
    // As in attemptReceive, in the opposite direction.
    if (this.#receive !== undefined) this.#progress();
    return sent;
  }

  /**
   * Completes as many waiting operations as possible, and arms the reactor for the rest. After arming, the events are checked once
   * more: the descriptor only signals news that arrived after libzmq was last asked.
   */
  #progress(): void {
    if (this.#turnPending) return;
    try {
      for (let round = 0; !this.#native.closed; round++) {
        if (this.#flushSends() || this.#flushReceive()) {
          this.#nextTurn();
          break;
        }
        if (this.#receive === undefined && this.#sends.length === 0) break;
        this.#native.arm();
        const events = this.#native.events();
        const more =
          (this.#receive !== undefined && (events & POLLIN) !== 0) ||
          (this.#sends.length > 0 && (events & POLLOUT) !== 0);
        if (!more) break;
        // A ROUTER reports that it is writable when any peer has space, not the one this message is for.
        const input = this.#receive !== undefined && (events & POLLIN) !== 0;
        if (round === MAX_ROUNDS || (round > 0 && !input)) {
          this.#retryLater();
          break;
        }
      }
    } catch (error) {
      this.#endReceive()?.reject(error);
      for (const pending of this.#sends.splice(0)) this.#settleSend(pending, error);
    } finally {
      this.#updateHold();
    }
  }

  /** @returns whether it stopped because the turn's budget was exhausted */
  #flushSends(): boolean {
    for (let pending = this.#sends[0]; pending !== undefined; pending = this.#sends[0]) {
      if (!takeTurn()) return true;
      let failure: unknown;
      try {
        if (pending.isWanted() && !this.#native.send(pending.parts)) return false;
      } catch (error) {
        failure = error;
      }
      this.#sends.shift();
      this.#settleSend(pending, failure);
    }
    return false;
  }

  #settleSend(pending: PendingSend, failure: unknown): void {
    pending.timer?.cancel();
    if (failure === undefined) pending.resolve();
    else pending.reject(failure);
  }

  /** @returns whether it stopped because the turn's budget was exhausted */
  #flushReceive(): boolean {
    const pending = this.#receive;
    if (pending === undefined) return false;
    if (!takeTurn()) return true;
    try {
      const messages: Message[] = [];
      for (let bytes = 0; messages.length < pending.max && bytes < BATCH_BYTES; ) {
        const message = this.#native.receive();
        if (message === undefined) break;
        messages.push(message);
        bytes += bytesOf(message);
      }
      if (messages.length > 0) this.#endReceive()?.resolve(messages);
    } catch (error) {
      this.#endReceive()?.reject(error);
    }
    return false;
  }

  #endReceive(): PendingReceive | undefined {
    const pending = this.#receive;
    this.#receive = undefined;
    pending?.timer?.cancel();
    return pending;
  }

  #nextTurn(): void {
    this.#turnPending = true;
    nextTurn(() => {
      this.#turnPending = false;
      this.#progress();
    });
  }

  #retryLater(): void {
    this.#retry.in(RETRY_INTERVAL_MS);
  }

  #receiveTimedOut(pending: PendingReceive): void {
    // If the event loop was late, the message may already be there.
    this.#progress();
    if (this.#receive !== pending) return;
    this.#endReceive()?.reject(new ZmqError("EAGAIN", "receive"));
    this.#updateHold();
  }

  #sendTimedOut(pending: PendingSend): void {
    this.#progress();
    const index = this.#sends.indexOf(pending);
    if (index < 0) return;
    this.#sends.splice(index, 1);
    pending.reject(new ZmqError("EAGAIN", "send"));
    this.#updateHold();
  }

  #updateHold(): void {
    const waits = this.#receive !== undefined || this.#sends.length > 0;
    if (waits === this.#holding) return;
    this.#holding = waits;
    if (waits) this.#native.reactor.hold();
    else this.#native.reactor.release();
  }
}

function portOf(endpoint: string): number {
  return Number(/^tcp:.*:(\d+)$/.exec(endpoint)?.[1]);
}

function timeout(name: string, milliseconds: number): number {
  if (!Number.isInteger(milliseconds) || milliseconds < -1) {
    throw new ZmqError("EINVAL", `set the option ${name}`, {
      text: "it must be a whole number, -1 for no limit",
    });
  }
  return milliseconds;
}

function bytesOf(message: Message): number {
  let bytes = 0;
  for (const part of message) bytes += part.length;
  return bytes;
}

function isBatchSize(max: number): boolean {
  return Number.isInteger(max) && max >= 1;
}

function batchSizeError(): ZmqError {
  return new ZmqError("EINVAL", "receive", { text: "the size of a batch is a whole number from 1 on" });
}
