/**
 * Who is at the other end of a TCP connection within this machine. The kernel knows the user of every socket of its network namespace:
 * it is asked over netlink for exactly one, or read from `/proc/net/tcp`, which lists them all, where netlink is not available.
 */
import { dlopen } from "bun:ffi";
import { readFileSync } from "node:fs";
import { addressesOf, type SocketAddress } from "./connections.ts";

const SYMBOLS = {
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  send: { args: ["i32", "ptr", "u64", "i32"], returns: "i64" },
  recv: { args: ["i32", "ptr", "u64", "i32"], returns: "i64" },
} as const;

type Libc = ReturnType<typeof dlopen<typeof SYMBOLS>>["symbols"];
let loaded: Libc | undefined;

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const NETLINK_SOCK_DIAG = 4;
const SOCK_DIAG_BY_FAMILY = 20;
const NLM_F_REQUEST = 1;
const NLMSG_ERROR = 2;
const IPPROTO_TCP = 6;
const MSG_DONTWAIT = 0x40;
const ENOENT = 2;
/** `struct nlmsghdr`, then `struct inet_diag_req_v2` or `struct inet_diag_msg` (linux/inet_diag.h). */
const HEADER = 16;
const REQUEST_SIZE = HEADER + 56;
const ID = HEADER + 8;
const REPLY_UID = HEADER + 64;
const REPLY_INODE = HEADER + 68;

/** The netlink socket; -1 where there is none. */
let netlink: number | undefined;

/**
 * The user id of the process that holds the other end of a connection accepted from this machine.
 * @param ask how to ask for one socket; the tables are read where it is unavailable
 * @returns undefined when there is none: the peer has closed it in the meantime, or is not on this machine
 */
export function ownerOf(descriptor: number, ask = askKernel): number | undefined {
  const addresses = addressesOf(descriptor);
  if (addresses === undefined) return undefined;
  const { local, peer } = addresses;
  const answer = ask(peer, local);
  return answer === "unavailable" ? readTable(peer, local) : answer;
}

/** Asks for the socket that is connected from one address to another. */
function askKernel(from: SocketAddress, to: SocketAddress): number | undefined | "unavailable" {
  loaded ??= dlopen("libc.so.6", SYMBOLS).symbols;
  const { socket, send, recv } = loaded;
  netlink ??= socket(AF_NETLINK, SOCK_RAW_CLOEXEC, NETLINK_SOCK_DIAG);
  if (netlink < 0) return "unavailable";
  const request = new Uint8Array(REQUEST_SIZE);
  const view = new DataView(request.buffer);
  view.setUint32(0, REQUEST_SIZE, true);
  view.setUint16(4, SOCK_DIAG_BY_FAMILY, true);
  view.setUint16(6, NLM_F_REQUEST, true);
  request[HEADER] = from.family;
  request[HEADER + 1] = IPPROTO_TCP;
  view.setUint32(HEADER + 4, 0xffff_ffff, true);
  view.setUint16(ID, from.port);
  view.setUint16(ID + 2, to.port);
  request.set(from.bytes, ID + 4);
  request.set(to.bytes, ID + 20);
  // The cookie of the socket is not known.
  request.fill(0xff, ID + 40, ID + 48);
  if (Number(send(netlink, request, request.length, 0)) !== request.length) return "unavailable";
  const reply = new Uint8Array(8192);
  const size = Number(recv(netlink, reply, reply.length, MSG_DONTWAIT));
  if (size < HEADER + 4) return "unavailable";
  const answer = new DataView(reply.buffer);
  const type = answer.getUint16(4, true);
  if (type === NLMSG_ERROR) return answer.getInt32(HEADER, true) === -ENOENT ? undefined : "unavailable";
  if (type !== SOCK_DIAG_BY_FAMILY || size < REPLY_INODE + 4) return "unavailable";
  // A socket that no process holds any more counts as root's.
  return answer.getUint32(REPLY_INODE, true) === 0 ? undefined : answer.getUint32(REPLY_UID, true);
}

/** Looks for the same in the kernel's tables. */
function readTable(from: SocketAddress, to: SocketAddress): number | undefined {
  const isMapped = (text: string) => `0000000000000000FFFF0000${text}`;
  const plain = [hex(from.bytes), hex(to.bytes)] as const;
  const tables = [[from.bytes.length === 4 ? "/proc/net/tcp" : "/proc/net/tcp6", plain] as const];
  if (from.bytes.length === 4)
    tables.push(["/proc/net/tcp6", [isMapped(plain[0]), isMapped(plain[1])] as const]);
  const port = (number: number) => number.toString(16).toUpperCase().padStart(4, "0");
  for (const [path, [source, target]] of tables) {
    const wanted = ` ${source}:${port(from.port)} ${target}:${port(to.port)} `;
    const line = read(path)
      .split("\n")
      .find((text) => text.includes(wanted));
    if (line === undefined) continue;
    const fields = line.trim().split(/\s+/);
    return fields[9] === "0" ? undefined : Number(fields[7]);
  }
  return undefined;
}

/** An address as the tables write it: 32-bit words in host byte order. */
function hex(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 4)
    text += Buffer.from(bytes.subarray(at, at + 4).toReversed()).toString("hex");
  return text.toUpperCase();
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
