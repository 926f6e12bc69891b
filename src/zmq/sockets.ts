import { Option, SocketType } from "./constants.ts";
import type { Message, MessageLike } from "./message.ts";
import type {
  AnySocketOptions,
  DealerOptions,
  PublisherOptions,
  RequestOptions,
  RouterOptions,
  RoutingIdOptions,
  SocketOptions,
  XPublisherOptions,
} from "./options.ts";
import { Socket } from "./socket.ts";

/** The sending side of a socket. */
export interface Writable {
  /**
   * Sends a message of one part or several, all or nothing. Resolves when libzmq has accepted it. Waits, up to `sendTimeout`, while
   * the high-water mark is reached or no peer is connected; waiting sends complete in order. Do not change a buffer that was passed in
   * before the promise settles.
   * @param isWanted asked when the message could be sent; if it returns false, the message is dropped and the promise resolves
   * @throws {ZmqError} EAGAIN after `sendTimeout`; ENOTSOCK when closed, ETERM when closed while waiting;
   *   EFSM on REQ and REP out of turn; EHOSTUNREACH on a `mandatory` ROUTER
   */
  send(message: MessageLike, isWanted?: () => boolean): Promise<void>;
  /**
   * Sends if that is possible at once; never waits.
   * @returns false when it would have to wait; nothing was sent then
   * @throws {ZmqError} like `send`, except EAGAIN and ETERM
   */
  trySend(message: MessageLike): boolean;
}

/** The receiving side of a socket. Iterating yields messages until the socket is closed. */
export interface Readable extends AsyncIterable<Message> {
  /**
   * The next message, one buffer per part. Only one receive may wait at a time.
   * @throws {ZmqError} EAGAIN after `receiveTimeout`; EBUSY while another one waits; ENOTSOCK when closed, ETERM when
   *   closed while waiting; EFSM on REQ and REP out of turn
   */
  receive(): Promise<Message>;
  /** At least one message, and as many of the available ones as `max` allows, about 1 MiB of them. Throws like {@link receive}. */
  receiveBatch(max: number): Promise<Message[]>;
  /** The next message if one is available; never waits. Throws like {@link receive}, except EAGAIN. */
  tryReceive(): Message | undefined;
  /** Up to `max` available messages, about 1 MiB of them, possibly none; never waits. Throws like {@link receive}, except EAGAIN. */
  tryReceiveBatch(max: number): Message[];
}

abstract class WritableSocket extends Socket implements Writable {
  send(message: MessageLike, isWanted?: () => boolean): Promise<void> {
    return this.sendMessage(message, isWanted);
  }
  trySend(message: MessageLike): boolean {
    return this.trySendMessage(message);
  }
}

abstract class ReadableSocket extends Socket implements Readable {
  receive(): Promise<Message> {
    return this.receiveMessage();
  }
  receiveBatch(max: number): Promise<Message[]> {
    return this.receiveMessages(max);
  }
  tryReceive(): Message | undefined {
    return this.tryReceiveMessage();
  }
  tryReceiveBatch(max: number): Message[] {
    return this.tryReceiveMessages(max);
  }
  [Symbol.asyncIterator](): AsyncIterableIterator<Message> {
    return this.messages();
  }
}

abstract class DuplexSocket extends ReadableSocket implements Writable {
  send(message: MessageLike, isWanted?: () => boolean): Promise<void> {
    return this.sendMessage(message, isWanted);
  }
  trySend(message: MessageLike): boolean {
    return this.trySendMessage(message);
  }
}

/** REQ: alternates between sending a request and receiving its reply. */
export class Request extends DuplexSocket {
  constructor(options?: RequestOptions) {
    super(SocketType.Request, options as AnySocketOptions);
  }
}

/** REP: alternates between receiving a request and sending its reply. */
export class Reply extends DuplexSocket {
  constructor(options?: SocketOptions & RoutingIdOptions) {
    super(SocketType.Reply, options as AnySocketOptions);
  }
}

/** DEALER: sends and receives freely, round-robin over its peers. */
export class Dealer extends DuplexSocket {
  constructor(options?: DealerOptions) {
    super(SocketType.Dealer, options as AnySocketOptions);
  }
}

/** ROUTER: the first part of a message is the routing id of the peer it came from or goes to. */
export class Router extends DuplexSocket {
  constructor(options?: RouterOptions) {
    super(SocketType.Router, options as AnySocketOptions);
  }
}

/** PUSH: sends each message to one of its peers, round-robin. */
export class Push extends WritableSocket {
  constructor(options?: SocketOptions) {
    super(SocketType.Push, options as AnySocketOptions);
  }
}

/** PULL: receives from its peers with fair queuing. */
export class Pull extends ReadableSocket {
  constructor(options?: SocketOptions) {
    super(SocketType.Pull, options as AnySocketOptions);
  }
}

/** PUB: sends to every subscriber with a matching prefix; a full subscriber misses the message. */
export class Publisher extends WritableSocket {
  constructor(options?: PublisherOptions) {
    super(SocketType.Publisher, options as AnySocketOptions);
  }
}

/**
 * XPUB: a PUB that also receives subscriptions: a part that begins with byte 1 when a prefix gets its first subscriber (with
 * `verbose`: for every subscription), with byte 0 when it loses its last one. These messages must be received, or they pile up.
 */
export class XPublisher extends DuplexSocket {
  constructor(options?: XPublisherOptions) {
    super(SocketType.XPublisher, options as AnySocketOptions);
  }
}

/** SUB: receives messages that begin with a subscribed prefix. */
export class Subscriber extends ReadableSocket {
  constructor(options?: SocketOptions) {
    super(SocketType.Subscriber, options as AnySocketOptions);
  }

  /** Adds prefixes; no argument means every message. Each subscription needs its own unsubscription. */
  subscribe(...prefixes: (string | Uint8Array)[]): void {
    for (const prefix of prefixes.length === 0 ? [""] : prefixes) {
      this.setBytes(Option.SUBSCRIBE, Buffer.from(prefix), "subscribe");
    }
  }

  /** Removes prefixes. */
  unsubscribe(...prefixes: (string | Uint8Array)[]): void {
    for (const prefix of prefixes.length === 0 ? [""] : prefixes) {
      this.setBytes(Option.UNSUBSCRIBE, Buffer.from(prefix), "unsubscribe");
    }
  }
}
