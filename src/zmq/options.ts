import { Option } from "./constants.ts";
import { isCurveKey } from "./curve.ts";
import { ZmqError } from "./error.ts";
import type { NativeSocket } from "./native-socket.ts";

/** Options of every socket, set before the first bind or connect. Times are in milliseconds. */
export interface SocketOptions {
  /** Messages queued for one peer before a send blocks (PUSH, DEALER, REQ) or drops (PUB, ROUTER). Default 1000; 0: no limit. */
  sendHighWaterMark?: number;
  /** Messages queued from one peer before backpressure applies. Default 1000; 0: no limit. */
  receiveHighWaterMark?: number;
  /** How long a closed socket, and the exiting process, keep trying to send what is queued. Default 1000; -1: forever. */
  linger?: number;
  /** How long `send` waits for space. Default -1: forever; 0: not at all. */
  sendTimeout?: number;
  /** How long `receive` waits for a message. Default -1: forever; 0: not at all. */
  receiveTimeout?: number;
  /** Initial delay before a lost connection is retried. Default 100; -1: never. */
  reconnectInterval?: number;
  /** Upper limit of the exponential back-off. Default 0: the delay is constant. */
  reconnectMaxInterval?: number;
  /** Timeout of a TCP connect. Default 0: the system's. */
  connectTimeout?: number;
  /** Timeout of the handshake. Default 30000; 0: no limit. */
  handshakeInterval?: number;
  /** Interval of heartbeats to an idle peer. Default 0: never. */
  heartbeatInterval?: number;
  /** A peer that does not answer a heartbeat for this long is disconnected. Default: the interval. */
  heartbeatTimeout?: number;
  /** How long the peer waits for our next heartbeat before it disconnects. In steps of 100 ms. */
  heartbeatTimeToLive?: number;
  /** A peer that sends a larger part is disconnected. Bytes; default -1: no limit. */
  maxMessageSize?: number;
  /** Queue only for peers whose connection is complete. */
  immediate?: boolean;
  /**
   * Keep only the last message (single part; PUSH, PULL, PUB, SUB, DEALER). Not for messages that must arrive: libzmq can hold
   * back the very last message until another one follows.
   */
  conflate?: boolean;
  /** Allow IPv6 as well as IPv4. */
  ipv6?: boolean;
  /** Backlog of connections waiting to be accepted. Default 100. */
  backlog?: number;
  /** Size of the kernel's send and receive buffers, bytes. Default -1: the system's. */
  sendBufferSize?: number;
  receiveBufferSize?: number;
  /** TCP keep-alive: 1 on, 0 off, -1 the system's default; with its count, idle time and interval (seconds). */
  tcpKeepalive?: number;
  tcpKeepaliveCount?: number;
  tcpKeepaliveIdle?: number;
  tcpKeepaliveInterval?: number;
  /** How long sent data may stay unacknowledged before TCP gives up. Default 0: the system's. */
  tcpMaxRetransmitTimeout?: number;
  /** CURVE server: only peers that know its public key can connect. Needs `curveSecretKey`. */
  curveServer?: boolean;
  /** CURVE keys: Z85 text of 40 characters or 32 bytes. */
  curvePublicKey?: string | Uint8Array;
  curveSecretKey?: string | Uint8Array;
  /** Makes this socket a CURVE client of the server with that public key. Needs both keys of its own pair. */
  curveServerKey?: string | Uint8Array;
  /** The domain passed to the ZAP handler that decides who may connect. */
  zapDomain?: string;
}

/** Options of sockets that have a routing id. */
export interface RoutingIdOptions {
  /** The id by which a ROUTER at the other end knows this socket: 1 to 255 bytes, not beginning with a zero byte. */
  routingId?: string | Uint8Array;
}

/** Options of a ROUTER. */
export interface RouterOptions extends SocketOptions, RoutingIdOptions {
  /**
   * Sending to an unknown id fails with EHOSTUNREACH; sending to a full peer blocks, and all later messages wait behind it, whatever
   * their destination. Without this option the message is dropped in both cases.
   */
  mandatory?: boolean;
  /** A new peer with the id of an existing one replaces it; without this option the new one is refused. */
  handover?: boolean;
}

/** Options of a REQ. */
export interface RequestOptions extends SocketOptions, RoutingIdOptions {
  /** Match replies to requests by an id, and drop replies to earlier requests. */
  correlate?: boolean;
  /** Allow a new request before the reply has arrived. Use with `correlate`. */
  relaxed?: boolean;
}

/** Options of a DEALER. */
export interface DealerOptions extends SocketOptions, RoutingIdOptions {
  /** Send an empty message on every new connection, so that a ROUTER knows this socket at once. */
  probeRouter?: boolean;
}

/** Options of a PUB. */
export interface PublisherOptions extends SocketOptions {
  /** A full subscriber makes `send` block instead of losing messages. */
  noDrop?: boolean;
}

/** Options of an XPUB. */
export interface XPublisherOptions extends PublisherOptions {
  /** Report every subscription, even to prefixes that others have subscribed to already. */
  verbose?: boolean;
}

/** Every option of any type of socket. */
export type AnySocketOptions = RouterOptions & RequestOptions & DealerOptions & XPublisherOptions;

type Kind = "int" | "boolean" | "int64" | "bytes" | "key";

const TABLE: Record<Exclude<keyof AnySocketOptions, "sendTimeout" | "receiveTimeout">, [number, Kind]> = {
  sendHighWaterMark: [Option.SNDHWM, "int"],
  receiveHighWaterMark: [Option.RCVHWM, "int"],
  linger: [Option.LINGER, "int"],
  reconnectInterval: [Option.RECONNECT_IVL, "int"],
  reconnectMaxInterval: [Option.RECONNECT_IVL_MAX, "int"],
  connectTimeout: [Option.CONNECT_TIMEOUT, "int"],
  handshakeInterval: [Option.HANDSHAKE_IVL, "int"],
  heartbeatInterval: [Option.HEARTBEAT_IVL, "int"],
  heartbeatTimeout: [Option.HEARTBEAT_TIMEOUT, "int"],
  heartbeatTimeToLive: [Option.HEARTBEAT_TTL, "int"],
  maxMessageSize: [Option.MAXMSGSIZE, "int64"],
  immediate: [Option.IMMEDIATE, "boolean"],
  conflate: [Option.CONFLATE, "boolean"],
  ipv6: [Option.IPV6, "boolean"],
  backlog: [Option.BACKLOG, "int"],
  sendBufferSize: [Option.SNDBUF, "int"],
  receiveBufferSize: [Option.RCVBUF, "int"],
  tcpKeepalive: [Option.TCP_KEEPALIVE, "int"],
  tcpKeepaliveCount: [Option.TCP_KEEPALIVE_CNT, "int"],
  tcpKeepaliveIdle: [Option.TCP_KEEPALIVE_IDLE, "int"],
  tcpKeepaliveInterval: [Option.TCP_KEEPALIVE_INTVL, "int"],
  tcpMaxRetransmitTimeout: [Option.TCP_MAXRT, "int"],
  curveServer: [Option.CURVE_SERVER, "boolean"],
  curvePublicKey: [Option.CURVE_PUBLICKEY, "key"],
  curveSecretKey: [Option.CURVE_SECRETKEY, "key"],
  curveServerKey: [Option.CURVE_SERVERKEY, "key"],
  zapDomain: [Option.ZAP_DOMAIN, "bytes"],
  routingId: [Option.ROUTING_ID, "bytes"],
  mandatory: [Option.ROUTER_MANDATORY, "boolean"],
  handover: [Option.ROUTER_HANDOVER, "boolean"],
  correlate: [Option.REQ_CORRELATE, "boolean"],
  relaxed: [Option.REQ_RELAXED, "boolean"],
  probeRouter: [Option.PROBE_ROUTER, "boolean"],
  verbose: [Option.XPUB_VERBOSE, "boolean"],
  noDrop: [Option.XPUB_NODROP, "boolean"],
};

/**
 * Sets the options that libzmq handles; the timeouts of `send` and `receive` are handled by the socket class.
 * @throws {ZmqError} EINVAL naming the option whose value is rejected
 */
export function applyOptions(socket: NativeSocket, options: AnySocketOptions): void {
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || name === "sendTimeout" || name === "receiveTimeout") continue;
    const entry = TABLE[name as keyof typeof TABLE];
    if (entry === undefined) throw refused(name, "there is no such option");
    const [option, kind] = entry;
    switch (kind) {
      case "int":
      case "int64":
        if (typeof value !== "number" || !Number.isInteger(value))
          throw refused(name, "it must be a whole number");
        if (kind === "int64") socket.setInt64(option, value, name);
        else socket.setInt(option, value, name);
        break;
      case "boolean":
        socket.setInt(option, value === true ? 1 : 0, name);
        break;
      case "bytes":
        socket.setBytes(option, bytes(value), name);
        break;
      case "key":
        socket.setBytes(option, key(name, value), name);
        break;
    }
  }
}

function bytes(value: unknown): Uint8Array {
  return value instanceof Uint8Array ? value : Buffer.from(String(value));
}

function key(name: string, value: unknown): Uint8Array {
  if (value instanceof Uint8Array && value.length === 32) return value;
  if (typeof value === "string" && isCurveKey(value)) return Buffer.from(value, "latin1");
  // Do not include the value in the message: it may be a secret.
  throw refused(name, "a key is 40 characters of Z85, or 32 bytes");
}

function refused(name: string, text: string): ZmqError {
  return new ZmqError("EINVAL", `set the option ${name}`, { text });
}
