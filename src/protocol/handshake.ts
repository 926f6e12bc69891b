/** Explains why a connection to a principal fails: libzmq only retries, or gives up silently. */
import type { ClientRole } from "../contract/roles.ts";
import { PrincipalUnreachableError } from "../errors.ts";
import { pause } from "../timer.ts";
import type { Socket, SocketEvent } from "../zmq/index.ts";

/** The principal's public key and the key pair of this client, each as 40 characters of Z85 text. */
export interface CurveClientKeys {
  readonly serverKey: string;
  readonly publicKey: string;
  readonly secretKey: string;
  /** The name of the key in messages. */
  readonly name?: string;
  /** The file it was read from. */
  readonly path?: string;
  /** Its role, as far as its file says. */
  readonly role?: ClientRole;
}

/** The socket options of a client with these keys; none without keys. */
export function curveOptions(keys: CurveClientKeys | undefined) {
  if (keys === undefined) return {};
  return {
    curveServerKey: keys.serverKey,
    curvePublicKey: keys.publicKey,
    curveSecretKey: keys.secretKey,
  };
}

/** A principal is there, but rejects this client, or is not the expected one. */
export class AccessRefusedError extends PrincipalUnreachableError {
  readonly reason: AccessProblem;

  constructor(reason: AccessProblem, message: string, hint: string) {
    super(message, { hint });
    this.reason = reason;
  }
}

/**
 * `refused`: the principal does not admit the key. `no-key`: it requires one. `not-secured`: it has none itself. `other-principal`: it
 * breaks handshakes off, as one does whose key is not the expected one.
 */
export type AccessProblem = "refused" | "no-key" | "not-secured" | "other-principal";

/** libzmq does not retry after these failures: they are retried after this time, ms. */
const TRY_AGAIN_MS = 1000;
/** One peer has keys, the other has none (ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH). */
const MECHANISM_MISMATCH = 0x11000002;
/**
 * A principal breaks a handshake off without a reason if it has another key than the client expects, but also if it exits at that moment or
 * ends connections because a key was revoked. After so many in a row the former is likely; where a handshake has succeeded before, after
 * more.
 */
const BROKEN_OFF = 2;
const BROKEN_OFF_AFTER_SUCCESS = 5;

/**
 * Watches the handshakes of a socket that is (about to be) connected to `endpoint`, and keeps retrying.
 * @param address the principal's name in messages
 * @param refused called each time with what is wrong
 * @param options.isOneOfSeveral whether another principal is tried next: one handshake that is broken off says enough about this one
 */
export function watchHandshakes(
  socket: Socket,
  endpoint: string,
  address: string,
  keys: CurveClientKeys | undefined,
  refused: (error: AccessRefusedError) => void,
  { isOneOfSeveral = false }: { readonly isOneOfSeveral?: boolean } = {},
): void {
  const enough = isOneOfSeveral ? 1 : BROKEN_OFF;
  let brokenOff = 0;
  let hasMet = false;
  socket.events.on("handshake", () => {
    brokenOff = 0;
    hasMet = true;
  });
  socket.events.on("handshakeFailed", (event) => {
    const code = event.error?.code;
    if (code === "EACCES" || code === "EPROTO") void tryAgain(socket, endpoint);
    else brokenOff++;
    const isEnough = brokenOff >= (hasMet ? BROKEN_OFF_AFTER_SUCCESS : enough);
    const error = explain(event, address, keys, isEnough);
    if (error !== undefined) refused(error);
  });
}

async function tryAgain(socket: Socket, endpoint: string): Promise<void> {
  await pause(TRY_AGAIN_MS);
  if (socket.closed) return;
  try {
    socket.disconnect(endpoint);
  } catch {
    // It has given the endpoint up already.
  }
  socket.connect(endpoint);
}

function explain(
  { error, detail }: SocketEvent,
  address: string,
  keys: CurveClientKeys | undefined,
  isBrokenOff: boolean,
): AccessRefusedError | undefined {
  const where = keys?.path === undefined ? "" : ` in ${keys.path}`;
  const key = `the key ${keys?.name === undefined ? "of this client" : keys.name}${where}`;
  if (error?.code === "EACCES") {
    return new AccessRefusedError(
      "refused",
      `The principal at ${address} refuses ${key}: it was revoked, it is not known there, or its role does not allow this port.`,
      "'cdktr keys list' on the principal's host shows the known keys.",
    );
  }
  if (error?.code === "EPROTO" && detail === MECHANISM_MISMATCH) {
    if (keys === undefined) {
      return new AccessRefusedError(
        "no-key",
        `The principal at ${address} is secured, and this client has no key.`,
        "Run 'cdktr keys add NAME' on the principal's host, copy the file that it creates and set CDKTR_KEY_FILE to it; a new agent can join with 'cdktr start agent --join TOKEN'.",
      );
    }
    return new AccessRefusedError(
      "not-secured",
      `The principal at ${address} is not secured, but this client has ${key}: nothing was sent to it.`,
      "Set up keys there ('cdktr keys init') and restart it. If it is meant to be open, move the key away.",
    );
  }
  if (keys !== undefined && isBrokenOff) {
    return new AccessRefusedError(
      "other-principal",
      `What answers at ${address} breaks off every handshake with ${key}: probably it is not the principal that the key was made for, or that has new keys.`,
      "Check the address. If the principal got new keys, this client needs a new one too: cdktr keys add, or cdktr join-token create. If it was just restarted, or keys were just revoked, try again.",
    );
  }
  return undefined;
}
