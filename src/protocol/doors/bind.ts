/** Binds the principal's sockets, with errors that say what to do. */
import { CdktrError, errorMessage, UsageError } from "../../errors.ts";
import { isLoopback } from "../../host/addresses.ts";
import type { Socket, SocketOptions } from "../../zmq/index.ts";
import { hostAndPort, tcpEndpoint, ZmqError } from "../../zmq/index.ts";

/**
 * Options of each of the principal's sockets, so that no connection stays whose peer is gone or says nothing: a handshake must be over
 * within 10 s, and the kernel asks a silent peer after 30 s whether it is there. A host that loses power or its network sends no end.
 */
export const DOOR_OPTIONS = {
  handshakeInterval: 10_000,
  tcpKeepalive: 1,
  tcpKeepaliveIdle: 30,
  tcpKeepaliveInterval: 10,
  tcpKeepaliveCount: 3,
} as const satisfies SocketOptions;

/** A socket to bind, with the names to use in error messages. */
export interface Binding {
  readonly host: string;
  /** 0 for any free port. */
  readonly port: number;
  /** The name of the socket in messages. */
  readonly what: string;
  /** The setting of the port. */
  readonly setting: string;
  /** The flag that overrides it. */
  readonly flag?: string;
}

/**
 * Binds a socket.
 * @returns the port
 * @throws CdktrError when the port is taken or the address does not belong to this machine
 */
export async function bindSocket(socket: Socket, binding: Binding): Promise<number> {
  const { host, port, what, setting, flag } = binding;
  try {
    await socket.bind(tcpEndpoint(host, port));
  } catch (error) {
    throw bindError(error, binding);
  }
  const bound = /:(\d+)$/.exec(socket.lastEndpoint ?? "")?.[1];
  if (bound === undefined)
    throw new CdktrError(`The ${what} was bound, but not to a port (${setting}${flag ?? ""}).`);
  return Number(bound);
}

/** Explains a failure to bind, with a hint. */
function bindError(error: unknown, { host, port, what, setting, flag }: Binding): CdktrError {
  const code = error instanceof ZmqError ? error.code : "";
  const elsewhere = `${setting}${flag === undefined ? "" : ` or ${flag}`}`;
  if (code === "EADDRINUSE") {
    return new CdktrError(`Port ${port} of ${host} is taken: the ${what} cannot be bound.`, {
      cause: error,
      hint: `Another principal may be running there (ss -ltnp 'sport = :${port}' shows who); stop it, or choose another port with ${elsewhere}.`,
    });
  }
  if (code === "EADDRNOTAVAIL" || code === "ENODEV" || code === "EINVAL") {
    return new CdktrError(`${host} is not an address of this machine: the ${what} cannot be bound.`, {
      cause: error,
      hint: "CDKTR_PRINCIPAL_HOST is the address that the principal binds to; 127.0.0.1 is the default, 0.0.0.0 means all.",
    });
  }
  if (code === "EACCES") {
    return new CdktrError(
      `Port ${port} needs privileges that this user does not have: the ${what} cannot be bound.`,
      {
        cause: error,
        hint: `Choose one above 1023 with ${elsewhere}.`,
      },
    );
  }
  return new CdktrError(`The ${what} cannot be bound to ${hostAndPort(host, port)}: ${errorMessage(error)}`, {
    cause: error,
  });
}

/**
 * Refuses to bind an address that other hosts can reach while the principal has no keys.
 * @throws UsageError
 */
export function refuseOpenBinding(host: string, insecure: boolean): void {
  if (insecure || isLoopback(host)) return;
  throw new UsageError(
    `Refusing to bind to ${host}: without keys anyone who can reach this address could run any command on your agents.`,
    {
      hint: "Bind to 127.0.0.1, or set up keys with 'cdktr keys init', or accept the risk on a network you trust fully with --insecure.",
    },
  );
}

/** The port of a bound endpoint; 0 when there is none. */
export function portOf(endpoint: string): number {
  return Number(/:(\d+)$/.exec(endpoint)?.[1] ?? 0);
}

/** Whether a bind failed because something else has the port. */
export function isTaken(error: unknown): boolean {
  return error instanceof CdktrError && error.cause instanceof ZmqError && error.cause.code === "EADDRINUSE";
}
