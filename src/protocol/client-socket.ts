import type { SocketOptions } from "../zmq/index.ts";

/**
 * Options of every socket that connects to a principal. A connection that is lost is made again soon; one whose other end is gone without
 * a word counts as lost within 15 s. The kernel finds that out: ZMTP's own heartbeats make a principal of the original implementation
 * crash, and which one answers is only known afterwards.
 */
export const CLIENT_SOCKET = {
  linger: 0,
  reconnectInterval: 100,
  reconnectMaxInterval: 2000,
  tcpKeepalive: 1,
  tcpKeepaliveIdle: 5,
  tcpKeepaliveInterval: 5,
  tcpKeepaliveCount: 2,
  tcpMaxRetransmitTimeout: 15_000,
} as const satisfies SocketOptions;
