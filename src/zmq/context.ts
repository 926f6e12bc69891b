import type { Pointer } from "bun:ffi";
import { ContextOption } from "./constants.ts";
import { errnoName, ZmqError } from "./error.ts";
import { check, libzmq } from "./libzmq.ts";

/** Maximum number of open sockets in this process. libzmq's own default is 1023. */
const MAX_SOCKETS = 16_384;

let current: Pointer | undefined;

/** Something that holds a libzmq socket and must release it before the process may exit. */
export interface NativeHolder {
  close(): void;
}

const holders = new Set<NativeHolder>();

/** The context of this process, created on the first call. */
export function context(): Pointer {
  if (current !== undefined) return current;
  const zmq = libzmq();
  const made = zmq.zmq_ctx_new();
  if (made === null) throw new ZmqError(errnoName(zmq.zmq_errno()), "create the messaging context");
  const pointer = made as Pointer;
  check("set the limit of sockets", () => zmq.zmq_ctx_set(pointer, ContextOption.MAX_SOCKETS, MAX_SOCKETS));
  current = pointer;
  process.on("exit", terminate);
  return pointer;
}

/** Registers a holder, so that it is closed at exit if nobody did before. */
export function register(holder: NativeHolder): void {
  holders.add(holder);
}

export function unregister(holder: NativeHolder): void {
  holders.delete(holder);
}

/**
 * At exit, what was sent on sockets with a `linger` is still delivered, for at most that long. Without this, a message sent just
 * before the exit would be lost in the I/O thread.
 */
function terminate(): void {
  if (current === undefined) return;
  const pointer = current;
  current = undefined;
  for (const holder of [...holders]) {
    try {
      holder.close();
    } catch {
      // Its socket may still be open, and terminating the context would then block forever.
      return;
    }
  }
  check("end the messaging context", () => libzmq().zmq_ctx_term(pointer));
}
