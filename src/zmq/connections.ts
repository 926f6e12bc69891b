/**
 * The connections that were accepted at ports of this process, as the kernel knows them, and how to end them. libzmq has no way to
 * disconnect one peer of a bound socket (its issues 2319, 2877, 4281), nor a limit of how many there may be; but a connection that
 * the kernel ends looks to it like any that broke.
 */
import { readdirSync } from "node:fs";
import { libc } from "./libc.ts";

const SOL_SOCKET = 1;
/** A number that the kernel gives to no other socket while it runs (Linux 4.12). */
const SO_COOKIE = 57;
const IPPROTO_TCP = 6;
const TCP_INFO = 11;
const AF_INET = 2;
const AF_INET6 = 10;
/** `struct sockaddr` with the family AF_UNSPEC: connecting to it resets a TCP connection and empties its queues. */
const NOWHERE = new Uint8Array(16);

/** Where numbers stand in `struct tcp_info` (linux/tcp.h), which only ever grows at its end. */
const LAST_DATA_RECEIVED = 52;
const BYTES_ACKED = 120;
const BYTES_RECEIVED = 128;
const BYTES_NOT_SENT = 144;

const ADDRESS = new Uint8Array(128);
const ADDRESS_SIZE = new Uint32Array(1);
const COOKIE = new BigUint64Array(1);
const INFO = new Uint8Array(256);
const SIZE = new Uint32Array(1);

/** What the kernel counts of a connection. */
export interface Traffic {
  /** Bytes that came, since it began. */
  readonly received: number;
  /** Bytes that the peer has confirmed, since it began. */
  readonly confirmed: number;
  /** Bytes that the peer takes no room for. */
  readonly unsent: number;
  /** Milliseconds since something came. */
  readonly silentMs: number;
}

/** A connection, while it is looked at. */
export class AcceptedConnection {
  /** Its number in this process; used again when it is closed. */
  readonly descriptor: number;
  readonly #copy: number;

  constructor(descriptor: number, copy: number) {
    this.descriptor = descriptor;
    this.#copy = copy;
  }

  /** No other connection of this machine has had it; undefined where the kernel does not say. */
  get id(): bigint | undefined {
    return connectionId(this.#copy);
  }

  get traffic(): Traffic {
    INFO.fill(0);
    SIZE[0] = INFO.length;
    libc().getsockopt(this.#copy, IPPROTO_TCP, TCP_INFO, INFO, SIZE);
    const view = new DataView(INFO.buffer);
    return {
      received: Number(view.getBigUint64(BYTES_RECEIVED, true)),
      confirmed: Number(view.getBigUint64(BYTES_ACKED, true)),
      unsent: view.getUint32(BYTES_NOT_SENT, true),
      silentMs: view.getUint32(LAST_DATA_RECEIVED, true),
    };
  }
}

/**
 * Looks at each connection that was accepted at one of the ports, and ends those of which `isOver` says so, at once and for good:
 * what is queued for them, in the kernel too, is not delivered.
 * @returns how many were ended
 */
export function endConnections(
  ports: ReadonlySet<number>,
  isOver: (connection: AcceptedConnection) => boolean,
): number {
  let ended = 0;
  for (const descriptor of descriptors()) {
    if (!ports.has(localPort(descriptor))) continue;
    // libzmq may close the descriptor at any moment, and it may get another meaning; the copy keeps what it means now. When there
    // is no descriptor left for a copy, it must do itself: a connection that takes its number at this moment is ended with it.
    const copy = libc().dup(descriptor);
    const held = copy < 0 ? descriptor : copy;
    try {
      if (!ports.has(localPort(held)) || !isConnected(held)) continue;
      if (
        isOver(new AcceptedConnection(descriptor, held)) &&
        libc().connect(held, NOWHERE, NOWHERE.length) === 0
      )
        ended++;
    } finally {
      if (copy >= 0) libc().close(copy);
    }
  }
  return ended;
}

/** How many descriptors this process has; as many as it may have when it cannot be counted any more. */
export function countDescriptors(limit: number): number {
  try {
    return readdirSync(DESCRIPTORS).length;
  } catch {
    return limit;
  }
}

/** The number that the kernel gives to a connection; undefined when there is none. */
export function connectionId(descriptor: number): bigint | undefined {
  SIZE[0] = 8;
  if (libc().getsockopt(descriptor, SOL_SOCKET, SO_COOKIE, COOKIE, SIZE) !== 0) return undefined;
  return COOKIE[0];
}

const DESCRIPTORS = "/proc/self/fd";
/** When none is left to read the list with, all numbers up to here are looked at. */
const MOST_DESCRIPTORS = 65_536;

function* descriptors(): Iterable<number> {
  let names: string[];
  try {
    names = readdirSync(DESCRIPTORS);
  } catch {
    for (let descriptor = 3; descriptor < MOST_DESCRIPTORS; descriptor++) yield descriptor;
    return;
  }
  for (const name of names) yield Number(name);
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
