import { constants } from "node:os";
import { CdktrError } from "../errors.ts";

/** libzmq's own error numbers start here (ZMQ_HAUSNUMERO). */
const ZMQ_ERROR_BASE = 156384712;

const OWN_ERRORS: Record<string, number> = {
  EFSM: ZMQ_ERROR_BASE + 51,
  ENOCOMPATPROTO: ZMQ_ERROR_BASE + 52,
  ETERM: ZMQ_ERROR_BASE + 53,
  EMTHREAD: ZMQ_ERROR_BASE + 54,
};

const NUMBERS: Record<string, number> = { ...constants.errno, ...OWN_ERRORS };
const NAMES = new Map<number, string>(Object.entries(NUMBERS).map(([name, number]) => [number, name]));
// On Linux these two names share a number; the first is what libzmq documents.
NAMES.set(constants.errno.EAGAIN, "EAGAIN");
NAMES.set(constants.errno.ENOTSUP, "ENOTSUP");

export const EAGAIN: number = constants.errno.EAGAIN;
export const EINTR: number = constants.errno.EINTR;

const TEXTS: Record<string, string> = {
  EACCES: "permission denied",
  EADDRINUSE: "the address is in use",
  EADDRNOTAVAIL: "no interface of this host has that address",
  EAGAIN: "it would block, and the time to wait is over",
  EBUSY: "another such operation is already waiting on this socket",
  EFSM: "the socket is not in the right state for it",
  EHOSTUNREACH: "no connected peer has that routing id",
  EINVAL: "an argument is not valid",
  EMFILE: "the limit of open files or sockets is reached",
  EMTHREAD: "the context has no I/O thread",
  ENOCOMPATPROTO: "the transport cannot be used with this type of socket",
  ENODEV: "no such network interface",
  ENOENT: "there is no such endpoint",
  ENOTSOCK: "the socket is closed",
  EPROTONOSUPPORT: "that transport is not supported",
  ETERM: "the socket was closed while waiting",
};

const HINTS: Record<string, string> = {
  EADDRINUSE: "Another program listens there: stop it, or choose another port.",
  EADDRNOTAVAIL:
    "Use an address of this host, 127.0.0.1 for this host alone, or 0.0.0.0 for every interface.",
  EINVAL: "An endpoint looks like tcp://127.0.0.1:5561, ipc:///run/file or inproc://name.",
  EPROTONOSUPPORT: "Use tcp://, ipc:// or inproc://.",
  EMFILE: "Close sockets that are no longer used, or raise the limit of open files (ulimit -n).",
};

/**
 * Any error reported by libzmq. `code` is the errno's name (`"EADDRINUSE"`, `"EFSM"`, `"EHOSTUNREACH"`, …), `errno` its number,
 * `operation` what was attempted, and `endpoint` where, if there was one.
 *
 * After `close()` every operation fails with `ENOTSOCK`; one that was waiting at that moment fails with `ETERM`.
 */
export class ZmqError extends CdktrError {
  readonly code: string;
  readonly errno: number;
  readonly operation: string;
  readonly endpoint: string | undefined;

  constructor(code: string, operation: string, options: { endpoint?: string; text?: string } = {}) {
    const target = options.endpoint === undefined ? operation : `${operation} ${options.endpoint}`;
    super(`cannot ${target}: ${options.text ?? TEXTS[code] ?? "the messaging library refused"} (${code})`, {
      hint: HINTS[code],
    });
    this.code = code;
    this.errno = NUMBERS[code] ?? 0;
    this.operation = operation;
    this.endpoint = options.endpoint;
  }
}

/** The name of an errno as returned by libzmq, such as `"E123"` if the name is unknown. */
export function errnoName(errno: number): string {
  return NAMES.get(errno) ?? `E${errno}`;
}
