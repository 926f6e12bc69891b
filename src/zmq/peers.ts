/**
 * Who is connected to a CURVE server, and how to end it. libzmq has no way to disconnect one peer of a bound socket (its issues
 * 2319, 2877, 4281), and a ZAP handler decides only who comes in. But it tells over which descriptor a message came (ZMQ_SRCFD), and
 * a connection that the kernel ends looks to it like any that broke.
 */
import { readdirSync } from "node:fs";
import { libc } from "./libc.ts";

const SOL_SOCKET = 1;
/** A number that the kernel gives to no other socket while it runs (Linux 4.12). */
const SO_COOKIE = 57;
const AF_INET = 2;
const AF_INET6 = 10;
/** `struct sockaddr` with the family AF_UNSPEC: connecting to it resets a TCP connection and empties its queues. */
const NOWHERE = new Uint8Array(16);

const ADDRESS = new Uint8Array(128);
const ADDRESS_SIZE = new Uint32Array(1);
const COOKIE = new BigUint64Array(1);
const COOKIE_SIZE = new Uint32Array(1);

/** A connection that was accepted. */
export interface Connection {
  /** No other connection of this machine has had it; undefined where the kernel does not say. */
  readonly id: bigint | undefined;
  /** Whose it is; undefined while no message of it was received. */
  readonly userId: string | undefined;
}

/** The connections of one socket. */
export class Peers {
  /** By descriptor. Descriptors are used again: the cookie tells whether it is still the same connection. */
  readonly #known = new Map<number, { cookie: bigint; userId: string }>();

  /** A message of a user came over a connection. */
  heard(descriptor: number, userId: string): void {
    const cookie = descriptor < 0 ? undefined : cookieOf(descriptor);
    if (cookie === undefined) return;
    const known = this.#known.get(descriptor);
    if (known?.cookie !== cookie || known.userId !== userId) this.#known.set(descriptor, { cookie, userId });
  }

  /** See {@link Socket.endConnections}. */
  end(ports: ReadonlySet<number>, isOver: (connection: Connection) => boolean): number {
    let ended = 0;
    for (const descriptor of this.#descriptors()) {
      // libzmq may close the descriptor at any moment, and it may get another meaning; the copy keeps what it means now.
      const copy = ports.has(localPort(descriptor)) ? libc().dup(descriptor) : -1;
      if (copy < 0) continue;
      try {
        if (!ports.has(localPort(copy)) || !isConnected(copy)) continue;
        const known = this.#known.get(descriptor);
        const id = cookieOf(copy);
        const userId = known?.cookie === id ? known?.userId : undefined;
        if (isOver({ id, userId }) && libc().connect(copy, NOWHERE, NOWHERE.length) === 0) ended++;
      } finally {
        libc().close(copy);
      }
    }
    return ended;
  }

  #descriptors(): number[] {
    try {
      return readdirSync("/proc/self/fd").map(Number);
    } catch {
      // Without /proc those that said something.
      return [...this.#known.keys()];
    }
  }
}

function cookieOf(descriptor: number): bigint | undefined {
  COOKIE_SIZE[0] = 8;
  if (libc().getsockopt(descriptor, SOL_SOCKET, SO_COOKIE, COOKIE, COOKIE_SIZE) !== 0) return undefined;
  return COOKIE[0];
}

/** The local port of a TCP or UDP socket; 0 of anything else. */
function localPort(descriptor: number): number {
  ADDRESS_SIZE[0] = ADDRESS.length;
  if (libc().getsockname(descriptor, ADDRESS, ADDRESS_SIZE) !== 0) return 0;
  const view = new DataView(ADDRESS.buffer);
  const family = view.getUint16(0, true);
  return family === AF_INET || family === AF_INET6 ? view.getUint16(2) : 0;
}

function isConnected(descriptor: number): boolean {
  ADDRESS_SIZE[0] = ADDRESS.length;
  return libc().getpeername(descriptor, ADDRESS, ADDRESS_SIZE) === 0;
}
