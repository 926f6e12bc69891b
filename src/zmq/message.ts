import { CString, type Pointer } from "bun:ffi";
import { DONTWAIT, SNDMORE, SRCFD } from "./constants.ts";
import { EAGAIN, EINTR, errnoName, ZmqError } from "./error.ts";
import { libc } from "./libc.ts";
import { libzmq } from "./libzmq.ts";
import type { Peers } from "./peers.ts";

/** One part of an outgoing message. A string is sent as UTF-8, `null` as an empty part. */
export type Frame = string | Uint8Array | ArrayBuffer | null;
/** An outgoing message: one part or several. */
export type MessageLike = Frame | readonly Frame[];
/**
 * A received message: its parts, at least one, owned by the receiver. `userId` is the sender as identified by the authenticator of
 * a ROUTER or a socket with a `zapDomain` (see `authenticate`), and `descriptor` that of the connection on which it came; absent on every other socket.
 */
export type Message = [Buffer, ...Buffer[]] & { userId?: string; descriptor?: number; peer?: PeerProperties };

/** What a peer said about itself when it connected, and where it is. */
export interface PeerProperties {
  /** Its type of socket, such as `REQ`. */
  readonly socketType: string;
  /** Whether it gave a routing id, even an empty one, as every libzmq peer does that can. */
  readonly hasIdentity: boolean;
  /** The address of its host. */
  readonly address?: string | undefined;
}

const EMPTY = new Uint8Array(0);
const INT_MAX = 0x7fff_ffff;
/** A received part larger than this is released at once instead of being kept until the next receive. */
const RELEASE_ABOVE = 32 * 1024;
/** How often to restart a message whose peer disconnected in the middle of it. */
const RESTARTS = 8;

/** The parts of a message as bytes. */
export function toParts(message: MessageLike): Uint8Array[] {
  if (!Array.isArray(message)) return [toBytes(message as Frame)];
  if (message.length === 0) throw new ZmqError("EINVAL", "send", { text: "a message has at least one part" });
  return message.map(toBytes);
}

function toBytes(frame: Frame): Uint8Array {
  if (typeof frame === "string") return Buffer.from(frame);
  if (frame instanceof Uint8Array) return frame;
  if (frame === null) return EMPTY;
  if (frame instanceof ArrayBuffer) return new Uint8Array(frame);
  throw new ZmqError("EINVAL", "send", { text: `a part of a message cannot be a ${typeof frame}` });
}

/**
 * Sends without ever blocking; libzmq copies the parts before this returns.
 * @returns false when the message cannot be accepted now; nothing of it was sent then
 * @throws {ZmqError} on any other failure
 */
export function sendParts(socket: Pointer, parts: readonly Uint8Array[]): boolean {
  const { zmq_send, zmq_errno } = libzmq();
  const last = parts.length - 1;
  let restarts = 0;
  for (let index = 0; index <= last; ) {
    const part = parts[index]!;
    if (zmq_send(socket, part, part, index === last ? DONTWAIT : DONTWAIT | SNDMORE) >= 0) {
      index++;
      continue;
    }
    const errno = zmq_errno();
    if (errno === EINTR) continue;
    if (errno !== EAGAIN) throw new ZmqError(errnoName(errno), "send");
    // After the first part this means that the peer disconnected and libzmq rolled the message back: start again.
    if (index === 0 || ++restarts > RESTARTS) return false;
    index = 0;
  }
  return true;
}

/**
 * `zmq_msg_t` needs 64 bytes, 8-byte aligned, that never move: hence an ArrayBuffer, which is not in the garbage-collected heap.
 * One for all sockets is enough, because nothing else runs during a receive.
 */
let envelope: BigUint64Array | undefined;

function newEnvelope(): BigUint64Array {
  const bytes = new BigUint64Array(new ArrayBuffer(64));
  libzmq().zmq_msg_init(bytes);
  return bytes;
}

/**
 * Receives the next message without ever blocking; its parts are copied out of libzmq.
 * @param peers for a socket that knows its peers: adds the sender to the message, and records the sender's connection
 * @returns undefined when there is none
 * @throws {ZmqError} on failure
 */
export function receiveParts(socket: Pointer, peers?: Peers): Message | undefined {
  const zmq = libzmq();
  envelope ??= newEnvelope();
  const message = envelope;
  const parts: Buffer[] = [];
  let userId: string | undefined;
  let descriptor = -1;
  let peer: PeerProperties | undefined;
  let largest = 0;
  let failure: unknown;
  for (;;) {
    let size: number = zmq.zmq_msg_recv(message, socket, DONTWAIT);
    if (size < 0) {
      const errno = zmq.zmq_errno();
      if (errno === EINTR) continue;
      if (errno === EAGAIN && parts.length === 0 && failure === undefined) return undefined;
      throw new ZmqError(errnoName(errno), "receive");
    }
    if (size === INT_MAX) size = Number(zmq.zmq_msg_size(message));
    if (size > largest) largest = size;
    try {
      const part = Buffer.allocUnsafe(size);
      if (size > 0) libc().memcpy(part, zmq.zmq_msg_data(message), size);
      parts.push(part);
    } catch (error) {
      // Out of memory: discard the rest of this message too, or its tail would be taken for the next one.
      failure ??= error;
    }
    if (zmq.zmq_msg_more(message) !== 0) continue;
    if (peers !== undefined) {
      userId = property(message, "User-Id");
      descriptor = zmq.zmq_msg_get(message, SRCFD);
      peer = {
        socketType: property(message, "Socket-Type") ?? "",
        hasIdentity: zmq.zmq_msg_gets(message, "Identity") !== null,
        address: property(message, "Peer-Address"),
      };
      if (userId !== undefined) peers.heard(descriptor, userId);
    }
    break;
  }
  if (largest > RELEASE_ABOVE) {
    zmq.zmq_msg_close(message);
    zmq.zmq_msg_init(message);
  }
  if (failure !== undefined) throw failure;
  const received = parts as Message;
  if (userId !== undefined) received.userId = userId;
  if (descriptor >= 0) received.descriptor = descriptor;
  if (peer !== undefined) received.peer = peer;
  return received;
}

function property(message: BigUint64Array, name: string): string | undefined {
  const pointer = libzmq().zmq_msg_gets(message, name);
  return pointer === null ? undefined : new CString(pointer as Pointer).toString();
}
