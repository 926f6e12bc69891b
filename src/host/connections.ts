/**
 * The connections accepted on ports of this process, as the kernel sees them, and a way to close them. libzmq can neither
 * disconnect a single peer of a bound socket (its issues 2319, 2877, 4281) nor limit their number; but a connection that the kernel
 * closes looks to libzmq like any broken connection.
 */
import { dlopen } from "bun:ffi";
import { readdirSync, readFileSync } from "node:fs";

const SYMBOLS = {
  dup: { args: ["i32"], returns: "i32" },
  close: { args: ["i32"], returns: "i32" },
  connect: { args: ["i32", "ptr", "u32"], returns: "i32" },
  getsockname: { args: ["i32", "ptr", "ptr"], returns: "i32" },
  getpeername: { args: ["i32", "ptr", "ptr"], returns: "i32" },
  getsockopt: { args: ["i32", "i32", "i32", "ptr", "ptr"], returns: "i32" },
} as const;

type Libc = ReturnType<typeof dlopen<typeof SYMBOLS>>["symbols"];
let loaded: Libc | undefined;

function libc(): Libc {
  loaded ??= dlopen("libc.so.6", SYMBOLS).symbols;
  return loaded;
}

const SOL_SOCKET = 1;
/** Socket cookie: a number that the kernel assigns to only one socket while it runs (Linux 4.12). */
const SO_COOKIE = 57;
const IPPROTO_TCP = 6;
const TCP_INFO = 11;
const AF_INET = 2;
const AF_INET6 = 10;
/** `struct sockaddr` with the family AF_UNSPEC: connecting to it resets a TCP connection and discards its queues. */
const NOWHERE = new Uint8Array(16);

/** Offsets in `struct tcp_info` (linux/tcp.h), which only ever grows at its end. */
const LAST_DATA_RECEIVED = 52;
const BYTES_ACKED = 120;
const BYTES_RECEIVED = 128;
const BYTES_NOT_SENT = 144;

const ADDRESS = new Uint8Array(128);
const ADDRESS_SIZE = new Uint32Array(1);
const COOKIE = new BigUint64Array(1);
const INFO = new Uint8Array(256);
const SIZE = new Uint32Array(1);

/** The kernel's counters of a connection. */
export interface Traffic {
  /** Total bytes received. */
  readonly received: number;
  /** Total bytes acknowledged by the peer. */
  readonly confirmed: number;
  /** Bytes that do not fit into the peer's receive window. */
  readonly unsent: number;
  /** Milliseconds since data was last received. */
  readonly silentMs: number;
}

/** A connection under examination. */
export class AcceptedConnection {
  /** Its file descriptor; the number is reused after it is closed. */
  readonly descriptor: number;
  /** The port that accepted it. */
  readonly port: number;
  readonly #copy: number;

  constructor(descriptor: number, port: number, copy: number) {
    this.descriptor = descriptor;
    this.port = port;
    this.#copy = copy;
  }

  /** The socket cookie; undefined where the kernel does not provide it. */
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
 * Examines each connection accepted on one of the ports, and closes those for which `isOver` returns true, immediately: data
 * queued for them, even in the kernel, is not delivered.
 * @returns how many were closed
 */
export function endConnections(
  ports: ReadonlySet<number>,
  isOver: (connection: AcceptedConnection) => boolean,
): number {
  let ended = 0;
  for (const descriptor of descriptors()) {
    const port = localPort(descriptor);
    // Port 0 is no port: a setting that is off, and a descriptor that is no socket. Closing the duplicate of a file would release the locks
    // that SQLite has on it.
    if (port === 0 || !ports.has(port)) continue;
    // libzmq may close the descriptor at any moment and its number may be reused; the duplicate keeps referring to this connection. If no
    // descriptor is left for a duplicate, use the original: a connection that takes over its number at this moment is closed with it.
    const copy = libc().dup(descriptor);
    const held = copy < 0 ? descriptor : copy;
    try {
      if (localPort(held) !== port || !isConnected(held)) continue;
      if (
        isOver(new AcceptedConnection(descriptor, port, held)) &&
        libc().connect(held, NOWHERE, NOWHERE.length) === 0
      )
        ended++;
    } finally {
      if (copy >= 0) libc().close(copy);
    }
  }
  return ended;
}

/** Closes a connection immediately, see {@link endConnections}. */
export function endConnection(descriptor: number): void {
  libc().connect(descriptor, NOWHERE, NOWHERE.length);
}

/** An address of a TCP socket. */
export interface SocketAddress {
  /** AF_INET or AF_INET6. */
  readonly family: number;
  /** 4 or 16 bytes. */
  readonly bytes: Uint8Array;
  readonly port: number;
}

/** The addresses of a TCP connection; undefined when the descriptor is none. */
export function addressesOf(descriptor: number): { local: SocketAddress; peer: SocketAddress } | undefined {
  const { getsockname, getpeername } = libc();
  const local = readAddress(descriptor, getsockname);
  const peer = readAddress(descriptor, getpeername);
  return local === undefined || peer === undefined ? undefined : { local, peer };
}

function readAddress(descriptor: number, call: Libc["getsockname"]): SocketAddress | undefined {
  ADDRESS_SIZE[0] = ADDRESS.length;
  if (call(descriptor, ADDRESS, ADDRESS_SIZE) !== 0) return undefined;
  const view = new DataView(ADDRESS.buffer);
  const family = view.getUint16(0, true);
  const port = view.getUint16(2);
  if (family === AF_INET) return { family, bytes: ADDRESS.slice(4, 8), port };
  if (family !== AF_INET6) return undefined;
  const bytes = ADDRESS.slice(8, 24);
  // An IPv4 address on an IPv6 socket: ::ffff:a.b.c.d
  const isMapped =
    bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 255 && bytes[11] === 255;
  return isMapped ? { family: AF_INET, bytes: bytes.slice(12), port } : { family, bytes, port };
}

/** Number of open descriptors of this process; the limit when they cannot be counted any more. */
export function countDescriptors(limit: number): number {
  try {
    return readdirSync(DESCRIPTORS).length;
  } catch {
    return limit;
  }
}

/** The maximum number of descriptors of this process, as in 'ulimit -n'. */
export function descriptorLimit(): number {
  const soft = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
  return soft === undefined ? 1024 : Number(soft);
}

/** The socket cookie of a connection; undefined when there is none. */
export function connectionId(descriptor: number): bigint | undefined {
  SIZE[0] = 8;
  if (libc().getsockopt(descriptor, SOL_SOCKET, SO_COOKIE, COOKIE, SIZE) !== 0) return undefined;
  return COOKIE[0];
}

const DESCRIPTORS = "/proc/self/fd";
/** If no descriptor is left to read the list with, all numbers up to this one are examined. */
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

/** The local port of a TCP or UDP socket; 0 for anything else. */
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
