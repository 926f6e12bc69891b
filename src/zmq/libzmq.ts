import { dlopen } from "bun:ffi";
import { nativeLibraryPath } from "../native/libraries.ts";
import { loadError } from "../native/load-error.ts";
import { EINTR, errnoName, ZmqError } from "./error.ts";

/**
 * The C functions of libzmq. `buffer` with `buffer_length` takes pointer and length from the same view at call time, so they
 * cannot disagree. A typed array passed to a call stays alive until the call returns; libzmq copies what it keeps.
 */
const SYMBOLS = {
  zmq_ctx_new: { args: [], returns: "ptr" },
  zmq_ctx_set: { args: ["ptr", "i32", "i32"], returns: "i32" },
  zmq_ctx_term: { args: ["ptr"], returns: "i32" },
  zmq_socket: { args: ["ptr", "i32"], returns: "ptr" },
  zmq_close: { args: ["ptr"], returns: "i32" },
  zmq_bind: { args: ["ptr", "cstring"], returns: "i32" },
  zmq_unbind: { args: ["ptr", "cstring"], returns: "i32" },
  zmq_connect: { args: ["ptr", "cstring"], returns: "i32" },
  zmq_disconnect: { args: ["ptr", "cstring"], returns: "i32" },
  zmq_setsockopt: { args: ["ptr", "i32", "buffer", "buffer_length"], returns: "i32" },
  zmq_getsockopt: { args: ["ptr", "i32", "ptr", "ptr"], returns: "i32" },
  zmq_send: { args: ["ptr", "buffer", "buffer_length", "i32"], returns: "i32" },
  zmq_msg_init: { args: ["ptr"], returns: "i32" },
  zmq_msg_close: { args: ["ptr"], returns: "i32" },
  zmq_msg_recv: { args: ["ptr", "ptr", "i32"], returns: "i32" },
  zmq_msg_data: { args: ["ptr"], returns: "ptr" },
  zmq_msg_size: { args: ["ptr"], returns: "u64" },
  zmq_msg_more: { args: ["ptr"], returns: "i32" },
  zmq_msg_get: { args: ["ptr", "i32"], returns: "i32" },
  zmq_msg_gets: { args: ["ptr", "cstring"], returns: "ptr" },
  zmq_socket_monitor: { args: ["ptr", "cstring", "i32"], returns: "i32" },
  zmq_curve_keypair: { args: ["ptr", "ptr"], returns: "i32" },
  zmq_curve_public: { args: ["ptr", "cstring"], returns: "i32" },
  zmq_has: { args: ["cstring"], returns: "i32" },
  zmq_version: { args: ["ptr", "ptr", "ptr"], returns: "void" },
  zmq_errno: { args: [], returns: "i32" },
} as const;

type Libzmq = ReturnType<typeof dlopen<typeof SYMBOLS>>["symbols"];

let loaded: Libzmq | undefined;

/**
 * The functions of libzmq; the first call loads the library.
 * @throws NativeCacheError when it cannot be loaded
 */
export function libzmq(): Libzmq {
  loaded ??= load();
  return loaded;
}

function load(): Libzmq {
  const path = nativeLibraryPath("libzmq");
  try {
    return dlopen(path, SYMBOLS).symbols;
  } catch (error) {
    throw loadError(path, error);
  }
}

/**
 * Calls a C function that returns -1 on failure, and repeats it when it was interrupted by a signal.
 * @throws {ZmqError} naming the operation and the endpoint
 */
export function check(operation: string, call: () => number, endpoint?: string): number {
  for (;;) {
    const result = call();
    if (result !== -1) return result;
    const errno = libzmq().zmq_errno();
    if (errno !== EINTR) throw new ZmqError(errnoName(errno), operation, { endpoint });
  }
}
