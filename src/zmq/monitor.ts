import { MONITOR_ALL, MonitorEvent, Option, POLLIN, SocketType } from "./constants.ts";
import { errnoName, ZmqError } from "./error.ts";
import type { Message } from "./message.ts";
import { NativeSocket } from "./native-socket.ts";
import { nextTurn } from "./turn-budget.ts";

/** What a socket can report about its connections. */
export type SocketEventType =
  | "connected"
  | "connectDelayed"
  | "connectRetried"
  | "listening"
  | "bindError"
  | "accepted"
  | "acceptError"
  | "closed"
  | "closeError"
  | "disconnected"
  | "handshake"
  | "handshakeFailed"
  | "unknown";

/** One event of a socket. */
export interface SocketEvent {
  readonly type: SocketEventType;
  /** The endpoint concerned; may be empty. */
  readonly address: string;
  /** `connectRetried`: the delay before the next attempt, in milliseconds. */
  readonly interval?: number;
  /** `accepted`: the descriptor of the connection; its number is reused after it is closed. */
  readonly descriptor?: number;
  /** `bindError`, `acceptError`, `closeError`, `handshakeFailed`: why. */
  readonly error?: ZmqError;
  /** `handshakeFailed`: libzmq's code (an errno, ZMQ_PROTOCOL_ERROR_…, or the status from the authenticator). */
  readonly detail?: number;
}

const TYPES = new Map<number, SocketEventType>([
  [MonitorEvent.CONNECTED, "connected"],
  [MonitorEvent.CONNECT_DELAYED, "connectDelayed"],
  [MonitorEvent.CONNECT_RETRIED, "connectRetried"],
  [MonitorEvent.LISTENING, "listening"],
  [MonitorEvent.BIND_FAILED, "bindError"],
  [MonitorEvent.ACCEPTED, "accepted"],
  [MonitorEvent.ACCEPT_FAILED, "acceptError"],
  [MonitorEvent.CLOSED, "closed"],
  [MonitorEvent.CLOSE_FAILED, "closeError"],
  [MonitorEvent.DISCONNECTED, "disconnected"],
  [MonitorEvent.HANDSHAKE_SUCCEEDED, "handshake"],
  [MonitorEvent.HANDSHAKE_FAILED_NO_DETAIL, "handshakeFailed"],
  [MonitorEvent.HANDSHAKE_FAILED_PROTOCOL, "handshakeFailed"],
  [MonitorEvent.HANDSHAKE_FAILED_AUTH, "handshakeFailed"],
]);

/** Events that an iterator buffers for a slow reader; beyond this it drops the oldest. */
const QUEUE_LIMIT = 10_000;
/** Events delivered before the event loop gets a turn. */
const DRAIN_LIMIT = 256;

let lastMonitor = 0;

/**
 * The events of one socket, from the moment `socket.events` was first read. Every iterator and every listener gets all of them.
 * Iterators end when the socket is closed; a waiting iterator keeps the process alive, a listener does not.
 */
export class SocketEvents implements AsyncIterable<SocketEvent> {
  readonly #owner: NativeSocket;
  readonly #pair: NativeSocket;
  readonly #listeners = new Map<SocketEventType, Set<(event: SocketEvent) => void>>();
  readonly #iterators = new Set<EventIterator>();

  /** Only for use by `Socket`. */
  constructor(owner: NativeSocket, mask = MONITOR_ALL) {
    this.#owner = owner;
    const endpoint = `inproc://zmq-monitor-${process.pid}-${++lastMonitor}`;
    // The owner closes this socket after its own: a monitored socket whose reader is gone would block libzmq.
    this.#pair = new NativeSocket(
      SocketType.Pair,
      () => this.#pump(),
      () => {},
    );
    try {
      this.#pair.setInt(Option.LINGER, 0);
      // No limit: with one, libzmq's I/O thread would block when it is reached.
      this.#pair.setInt(Option.RCVHWM, 0);
      owner.monitor(endpoint, mask);
      this.#pair.endpoint("connect", endpoint);
    } catch (error) {
      if (!owner.closed) owner.monitor(undefined, 0);
      this.#pair.close();
      throw error;
    }
    this.#pump();
  }

  /** Calls the listener for each event of a type. */
  on(type: SocketEventType, listener: (event: SocketEvent) => void): this {
    const listeners = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, listeners.add(listener));
    return this;
  }

  /** Undoes {@link on}. */
  off(type: SocketEventType, listener: (event: SocketEvent) => void): this {
    this.#listeners.get(type)?.delete(listener);
    return this;
  }

  /** All events from now on. */
  [Symbol.asyncIterator](): AsyncIterableIterator<SocketEvent> {
    const iterator = new EventIterator(this.#pair.reactor, () => this.#iterators.delete(iterator));
    if (this.#pair.closed) iterator.end();
    else this.#iterators.add(iterator);
    return iterator;
  }

  /** Reads the events that are there now; listeners have been called a microtask later. */
  catchUp(): void {
    if (!this.#pair.closed) this.#drain(Number.POSITIVE_INFINITY);
  }

  /** Stops the events; called by `Socket` when it closes, before it releases its libzmq socket. */
  stop(): void {
    if (this.#pair.closed) return;
    this.#owner.monitor(undefined, 0);
    this.#drain(Number.POSITIVE_INFINITY);
    this.#pair.close();
    for (const iterator of [...this.#iterators]) iterator.end();
    this.#iterators.clear();
  }

  #pump(): void {
    if (this.#pair.closed) return;
    do {
      if (this.#drain(DRAIN_LIMIT)) {
        nextTurn(() => this.#pump());
        return;
      }
      if (this.#pair.closed) return;
      this.#pair.arm();
    } while ((this.#pair.events() & POLLIN) !== 0);
  }

  /** @returns whether the limit was reached */
  #drain(limit: number): boolean {
    for (let count = 0; count < limit; count++) {
      const message = this.#pair.closed ? undefined : this.#pair.receive();
      if (message === undefined) return false;
      const event = parse(message);
      if (event !== undefined) this.#emit(event);
    }
    return true;
  }

  #emit(event: SocketEvent): void {
    for (const iterator of this.#iterators) iterator.push(event);
    for (const listener of this.#listeners.get(event.type) ?? []) queueMicrotask(() => listener(event));
  }
}

function parse([head, address]: Message): SocketEvent | undefined {
  if (head === undefined || head.length < 6) return undefined;
  // libzmq writes both numbers in host byte order; every supported host is little-endian.
  const number = head.readUInt16LE(0);
  const value = head.readUInt32LE(2);
  if (number === MonitorEvent.MONITOR_STOPPED) return undefined;
  const type = TYPES.get(number) ?? "unknown";
  const event = { type, address: address?.toString() ?? "" };
  switch (number) {
    case MonitorEvent.ACCEPTED:
      return { ...event, descriptor: value };
    case MonitorEvent.CONNECT_RETRIED:
      return { ...event, interval: value };
    case MonitorEvent.BIND_FAILED:
      return { ...event, error: new ZmqError(errnoName(value), "bind", { endpoint: event.address }) };
    case MonitorEvent.ACCEPT_FAILED:
      return { ...event, error: new ZmqError(errnoName(value), "accept", { endpoint: event.address }) };
    case MonitorEvent.CLOSE_FAILED:
      return { ...event, error: new ZmqError(errnoName(value), "close", { endpoint: event.address }) };
    case MonitorEvent.HANDSHAKE_FAILED_NO_DETAIL:
      return {
        ...event,
        detail: value,
        error: handshakeError(event.address, errnoName(value), "the peer broke it off"),
      };
    case MonitorEvent.HANDSHAKE_FAILED_PROTOCOL:
      return {
        ...event,
        detail: value,
        error: handshakeError(event.address, "EPROTO", `the peers do not agree, 0x${value.toString(16)}`),
      };
    case MonitorEvent.HANDSHAKE_FAILED_AUTH:
      return {
        ...event,
        detail: value,
        error: handshakeError(event.address, "EACCES", `the peer was refused, ${value}`),
      };
    default:
      return event;
  }
}

function handshakeError(endpoint: string, code: string, text: string): ZmqError {
  return new ZmqError(code, "shake hands with", { endpoint, text });
}

interface Holder {
  hold(): void;
  release(): void;
}

class EventIterator implements AsyncIterableIterator<SocketEvent> {
  readonly #process: Holder;
  readonly #left: () => void;
  readonly #queue: SocketEvent[] = [];
  readonly #waiting: ((result: IteratorResult<SocketEvent>) => void)[] = [];
  #ended = false;

  constructor(process: Holder, left: () => void) {
    this.#process = process;
    this.#left = left;
  }

  push(event: SocketEvent): void {
    const waiting = this.#waiting.shift();
    if (waiting !== undefined) {
      this.#process.release();
      waiting({ value: event, done: false });
      return;
    }
    this.#queue.push(event);
    if (this.#queue.length > QUEUE_LIMIT) this.#queue.shift();
  }

  end(): void {
    this.#ended = true;
    for (const waiting of this.#waiting.splice(0)) {
      this.#process.release();
      waiting({ value: undefined, done: true });
    }
  }

  next(): Promise<IteratorResult<SocketEvent>> {
    const event = this.#queue.shift();
    if (event !== undefined) return Promise.resolve({ value: event, done: false });
    if (this.#ended) return Promise.resolve({ value: undefined, done: true });
    this.#process.hold();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  return(): Promise<IteratorResult<SocketEvent>> {
    this.#queue.length = 0;
    this.end();
    this.#left();
    return Promise.resolve({ value: undefined, done: true });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
