import type { Pointer } from "bun:ffi";
import { Option, type SocketType } from "./constants.ts";
import { context, type NativeHolder, register, unregister } from "./context.ts";
import { isIpv6 } from "./endpoint.ts";
import { EAGAIN, EINTR, errnoName, ZmqError } from "./error.ts";
import { check, libzmq } from "./libzmq.ts";
import { type Message, receiveParts, sendParts } from "./message.ts";
import type { Peers } from "./peers.ts";
import { type Reactor, reactor, type Watch } from "./reactor.ts";

/** See {@link NativeSocket.endpoint}. */
const BIND_TRIES = 10;
const INT_SIZE = new BigUint64Array(1);
const INT_VALUE = new Int32Array(1);

/**
 * Owns one libzmq socket and its registration with the reactor: the only place that holds a socket's pointer. After `close()`
 * every method fails with ENOTSOCK and never reaches libzmq.
 */
export class NativeSocket {
  readonly reactor: Reactor;
  /** On a CURVE server: the connected peers. Received messages then carry their sender. */
  peers: Peers | undefined;
  readonly #holder: NativeHolder;
  #pointer: Pointer | undefined;
  #watch: Watch | undefined;

  /**
   * @param ready called when the socket may have become readable or writable
   * @param atExit called when the process exits while the socket is open; must close it
   */
  constructor(type: SocketType, ready: () => void, atExit: () => void) {
    const zmq = libzmq();
    this.reactor = reactor();
    const pointer = zmq.zmq_socket(context(), type);
    if (pointer === null) throw new ZmqError(errnoName(zmq.zmq_errno()), "open a socket");
    this.#pointer = pointer as Pointer;
    this.#holder = { close: atExit };
    register(this.#holder);
    try {
      this.#watch = this.reactor.watch(this.getInt(Option.FD), ready);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  get closed(): boolean {
    return this.#pointer === undefined;
  }

  #open(operation: string): Pointer {
    if (this.#pointer === undefined) throw new ZmqError("ENOTSOCK", operation);
    return this.#pointer;
  }

  /** Calls an endpoint function of libzmq. */
  endpoint(operation: "bind" | "unbind" | "connect" | "disconnect", endpoint: string): void {
    const pointer = this.#open(operation);
    refuseBadEndpoint(operation, endpoint);
    if (isIpv6(endpoint) && (operation === "bind" || operation === "connect")) {
      this.setInt(Option.IPV6, 1, "ipv6");
    }
    const call = libzmq()[`zmq_${operation}`];
    for (let tries = BIND_TRIES; ; tries--) {
      try {
        check(operation, () => call(pointer, endpoint), endpoint);
        return;
      } catch (error) {
        // Before it returns from a failed bind, libzmq notifies its monitor, and sometimes overwrites errno with the EAGAIN of a check of its
        // empty mailbox. A bind never really fails with EAGAIN: repeating it gives the real reason.
        const isHidden = operation === "bind" && error instanceof ZmqError && error.errno === EAGAIN;
        if (!isHidden || tries === 0) throw error;
      }
    }
  }

  setBytes(option: number, value: Uint8Array, name = String(option)): void {
    const pointer = this.#open("set an option");
    check(`set the option ${name}`, () => libzmq().zmq_setsockopt(pointer, option, value, value));
  }

  setInt(option: number, value: number, name?: string): void {
    this.setBytes(option, new Uint8Array(new Int32Array([value]).buffer), name);
  }

  setInt64(option: number, value: number, name?: string): void {
    this.setBytes(option, new Uint8Array(new BigInt64Array([BigInt(value)]).buffer), name);
  }

  getInt(option: number): number {
    const pointer = this.#open("read an option");
    INT_SIZE[0] = 4n;
    check("read an option", () => libzmq().zmq_getsockopt(pointer, option, INT_VALUE, INT_SIZE));
    return INT_VALUE[0]!;
  }

  getString(option: number): string {
    const pointer = this.#open("read an option");
    const value = Buffer.alloc(1024);
    const size = new BigUint64Array([BigInt(value.length)]);
    check("read an option", () => libzmq().zmq_getsockopt(pointer, option, value, size));
    // The size includes the terminating NUL.
    return value.toString("utf8", 0, Math.max(0, Number(size[0]) - 1));
  }

  /** The current POLLIN and POLLOUT. Makes libzmq process what its I/O thread has for this socket. */
  events(): number {
    const pointer = this.#open("read the events");
    const zmq = libzmq();
    INT_SIZE[0] = 4n;
    while (zmq.zmq_getsockopt(pointer, Option.EVENTS, INT_VALUE, INT_SIZE) < 0) {
      const errno = zmq.zmq_errno();
      if (errno !== EINTR) throw new ZmqError(errnoName(errno), "read the events");
    }
    return INT_VALUE[0]!;
  }

  /** See {@link sendParts}. */
  send(parts: readonly Uint8Array[]): boolean {
    return sendParts(this.#open("send"), parts);
  }

  /** See {@link receiveParts}. */
  receive(): Message | undefined {
    return receiveParts(this.#open("receive"), this.peers);
  }

  /** Starts (`inproc` endpoint) or stops (undefined) the event stream of this socket. */
  monitor(endpoint: string | undefined, events: number): void {
    const pointer = this.#open("monitor");
    check("monitor", () => libzmq().zmq_socket_monitor(pointer, endpoint ?? null, events));
  }

  /** Arms the reactor: `ready` is called once the socket's descriptor signals. The events must be checked again after this. */
  arm(): void {
    if (this.#watch !== undefined) this.reactor.arm(this.#watch);
  }

  /** Closes the socket. libzmq continues to send what is queued in the background, for the socket's linger time. */
  close(): void {
    const pointer = this.#pointer;
    if (pointer === undefined) return;
    this.#pointer = undefined;
    unregister(this.#holder);
    if (this.#watch !== undefined) this.reactor.unwatch(this.#watch);
    libzmq().zmq_close(pointer);
  }
}

/** Rejects endpoints that libzmq would misread: it truncates at a NUL, and truncates a port to 16 bits. */
function refuseBadEndpoint(operation: string, endpoint: string): void {
  if (endpoint.includes("\0")) {
    throw new ZmqError("EINVAL", operation, { endpoint: endpoint.replaceAll("\0", "\\0") });
  }
  const port = /^tcp:.*:(\d+)$/.exec(endpoint)?.[1];
  if (port !== undefined && Number(port) > 65_535) {
    throw new ZmqError("EINVAL", operation, { endpoint, text: "a port is at most 65535" });
  }
}
