/** Constants of libzmq 4.3's C interface (zmq.h) and of epoll. */

/** Socket types (`zmq_socket`). */
export const SocketType = {
  Pair: 0,
  Publisher: 1,
  Subscriber: 2,
  Request: 3,
  Reply: 4,
  Dealer: 5,
  Router: 6,
  Pull: 7,
  Push: 8,
  XPublisher: 9,
} as const;
export type SocketType = (typeof SocketType)[keyof typeof SocketType];

/** Socket options (`zmq_setsockopt`, `zmq_getsockopt`). */
export const Option = {
  ROUTING_ID: 5,
  SUBSCRIBE: 6,
  UNSUBSCRIBE: 7,
  SNDBUF: 11,
  RCVBUF: 12,
  FD: 14,
  EVENTS: 15,
  LINGER: 17,
  RECONNECT_IVL: 18,
  BACKLOG: 19,
  RECONNECT_IVL_MAX: 21,
  MAXMSGSIZE: 22,
  SNDHWM: 23,
  RCVHWM: 24,
  LAST_ENDPOINT: 32,
  ROUTER_MANDATORY: 33,
  TCP_KEEPALIVE: 34,
  TCP_KEEPALIVE_CNT: 35,
  TCP_KEEPALIVE_IDLE: 36,
  TCP_KEEPALIVE_INTVL: 37,
  IMMEDIATE: 39,
  XPUB_VERBOSE: 40,
  IPV6: 42,
  CURVE_SERVER: 47,
  CURVE_PUBLICKEY: 48,
  CURVE_SECRETKEY: 49,
  CURVE_SERVERKEY: 50,
  PROBE_ROUTER: 51,
  REQ_CORRELATE: 52,
  REQ_RELAXED: 53,
  CONFLATE: 54,
  ZAP_DOMAIN: 55,
  ROUTER_HANDOVER: 56,
  HANDSHAKE_IVL: 66,
  XPUB_NODROP: 69,
  HEARTBEAT_IVL: 75,
  HEARTBEAT_TTL: 76,
  HEARTBEAT_TIMEOUT: 77,
  CONNECT_TIMEOUT: 79,
  TCP_MAXRT: 80,
} as const;

/** Context options (`zmq_ctx_set`). */
export const ContextOption = { IO_THREADS: 1, MAX_SOCKETS: 2, BLOCKY: 70 } as const;

/** Flags of `zmq_send` and `zmq_msg_recv`. */
export const DONTWAIT = 1;
export const SNDMORE = 2;

/** Property of a message (`zmq_msg_get`): the descriptor of the connection on which it arrived. */
export const SRCFD = 2;

/** Bits of the option EVENTS. */
export const POLLIN = 1;
export const POLLOUT = 2;

/** Events of a socket monitor. */
export const MonitorEvent = {
  CONNECTED: 0x0001,
  CONNECT_DELAYED: 0x0002,
  CONNECT_RETRIED: 0x0004,
  LISTENING: 0x0008,
  BIND_FAILED: 0x0010,
  ACCEPTED: 0x0020,
  ACCEPT_FAILED: 0x0040,
  CLOSED: 0x0080,
  CLOSE_FAILED: 0x0100,
  DISCONNECTED: 0x0200,
  MONITOR_STOPPED: 0x0400,
  HANDSHAKE_FAILED_NO_DETAIL: 0x0800,
  HANDSHAKE_SUCCEEDED: 0x1000,
  HANDSHAKE_FAILED_PROTOCOL: 0x2000,
  HANDSHAKE_FAILED_AUTH: 0x4000,
} as const;
export const MONITOR_ALL = 0xffff;

/** Capabilities that libzmq may have been built with (`zmq_has`). */
export type Capability = "ipc" | "pgm" | "tipc" | "norm" | "curve" | "gssapi" | "vmci" | "draft";

export const EPOLLIN = 0x001;
export const EPOLLONESHOT = 0x4000_0000;
export const EPOLL_CLOEXEC = 0o2000000;
export const EPOLL_CTL_ADD = 1;
export const EPOLL_CTL_DEL = 2;
export const EPOLL_CTL_MOD = 3;
