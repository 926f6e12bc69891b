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

/** What sockets can do that send. */
export interface Writable {
  /**
   * Sends a message of one part or several, all or nothing. Resolves when libzmq has taken it. Waits, up to
   * `sendTimeout`, while the high-water mark is reached or nobody is connected; sends that wait go in order. Do not
   * change a buffer that was given before the promise is settled.
   * @throws {ZmqError} EAGAIN after `sendTimeout`; ENOTSOCK when closed, ETERM when closed while waiting;
   *   EFSM on REQ and REP out of turn; EHOSTUNREACH on a `mandatory` ROUTER
   */
  send(message: MessageLike): Promise<void>;
  /**
   * Sends if that is possible at once; never waits.
   * @returns false when it would have to wait; nothing was sent then
   * @throws {ZmqError} like `send`, except EAGAIN and ETERM
   */
  trySend(message: MessageLike): boolean;
}

/** What sockets can do that receive. Iterating yields messages until the socket is closed. */
export interface Readable extends AsyncIterable<Message> {
  /**
   * The next message, one buffer a part. One receive at a time may wait.
   * @throws {ZmqError} EAGAIN after `receiveTimeout`; EBUSY while another one waits; ENOTSOCK when closed, ETERM when
   *   closed while waiting; EFSM on REQ and REP out of turn
   */
  receive(): Promise<Message>;
  /** At least one message, and as many of those that are there as `max` allows, about 1 MiB of them. Throws like {@link receive}. */
  receiveBatch(max: number): Promise<Message[]>;
  /** The next message if one is there; never waits. Throws like {@link receive}, except EAGAIN. */
  tryReceive(): Message | undefined;
  /** Up to `max` of the messages that are there, about 1 MiB of them, perhaps none; never waits. Throws like {@link receive}, except EAGAIN. */
  tryReceiveBatch(max: number): Message[];
}

abstract class WritableSocket extends Socket implements Writable {
  send(message: MessageLike): Promise<void> {
    return this.sendMessage(message);
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
  send(message: MessageLike): Promise<void> {
    return this.sendMessage(message);
  }
  trySend(message: MessageLike): boolean {
    return this.trySendMessage(message);
  }
}

/** REQ: sends a request, receives its reply, in turns. */
export class Request extends DuplexSocket {
  constructor(options?: RequestOptions) {
    super(SocketType.Request, options as AnySocketOptions);
  }
}

/** REP: receives a request, sends its reply, in turns. */
export class Reply extends DuplexSocket {
  constructor(options?: SocketOptions & RoutingIdOptions) {
    super(SocketType.Reply, options as AnySocketOptions);
  }
}

/** DEALER: sends and receives freely, spread over its peers. */
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

/** PUSH: sends, each message to one of its peers in turn. */
export class Push extends WritableSocket {
  constructor(options?: SocketOptions) {
    super(SocketType.Push, options as AnySocketOptions);
  }
}

/** PULL: receives from its peers fairly. */
export class Pull extends ReadableSocket {
  constructor(options?: SocketOptions) {
    super(SocketType.Pull, options as AnySocketOptions);
  }
}

/** PUB: sends to every subscriber whose prefix matches; a subscriber that is full misses the message. */
export class Publisher extends WritableSocket {
  constructor(options?: PublisherOptions) {
    super(SocketType.Publisher, options as AnySocketOptions);
  }
}

/**
 * XPUB: a PUB that also receives: a part that begins with byte 1 for a prefix that somebody subscribes to as the first (with
 * `verbose`: for every subscription), with byte 0 for one that nobody is subscribed to any more. Somebody must receive it, else it
 * piles up.
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

  /** Adds prefixes; none at all means every message. Subscribing twice needs unsubscribing twice. */
  subscribe(...prefixes: (string | Uint8Array)[]): void {
    for (const prefix of prefixes.length === 0 ? [""] : prefixes) {
      this.setBytes(Option.SUBSCRIBE, Buffer.from(prefix), "subscribe");
    }
  }

  /** Takes prefixes away. */
  unsubscribe(...prefixes: (string | Uint8Array)[]): void {
    for (const prefix of prefixes.length === 0 ? [""] : prefixes) {
      this.setBytes(Option.UNSUBSCRIBE, Buffer.from(prefix), "unsubscribe");
    }
  }
}
