/**
 * The ZAP handler (ZeroMQ RFC 27) of this process, which decides who may connect. libzmq asks it about every peer of a bound socket
 * whose `zapDomain` option names a domain that has an authenticator, before the handshake is over, and rejects everyone else.
 */
import { z85Encode } from "./curve.ts";
import type { Message } from "./message.ts";
import { Router } from "./sockets.ts";

/** The endpoint on which libzmq expects the handler. */
const ENDPOINT = "inproc://zeromq.zap.01";

/** A peer that wants to connect. */
export interface Authentication {
  /**
   * Its public key, as 40 characters of Z85 text; it has proved that it holds the secret key. Undefined when the socket has no keys.
   */
  readonly publicKey: string | undefined;
  /** Its IP address. */
  readonly address: string;
}

/** Decides about a peer: returns what messages will carry as `userId`, or undefined to reject it. */
export type Authenticator = (peer: Authentication) => string | undefined | Promise<string | undefined>;

const authenticators = new Map<string, Authenticator>();
let handler: Router | undefined;

/**
 * Registers an authenticator for a domain. Must be called before a socket with that `zapDomain` is bound.
 * @returns removes it: from then on every peer is rejected
 * @throws {ZmqError} EADDRINUSE when something else in this process is the ZAP handler
 */
export async function authenticate(domain: string, authenticator: Authenticator): Promise<() => void> {
  authenticators.set(domain, authenticator);
  if (handler === undefined) {
    const router = new Router({ linger: 0, sendHighWaterMark: 0, receiveHighWaterMark: 0 });
    handler = router;
    try {
      await router.bind(ENDPOINT);
    } catch (error) {
      authenticators.delete(domain);
      handler = undefined;
      router.close();
      throw error;
    }
    void serve(router);
  }
  return () => {
    if (authenticators.get(domain) !== authenticator) return;
    authenticators.delete(domain);
    if (authenticators.size > 0) return;
    handler?.close();
    handler = undefined;
  };
}

async function serve(router: Router): Promise<void> {
  for await (const message of router) {
    const reply = await answer(message);
    // A peer that has disconnected in the meantime needs no reply.
    if (reply !== undefined) await router.send(reply).catch(() => {});
  }
}

async function answer(message: Message): Promise<(Uint8Array | string)[] | undefined> {
  const delimiter = message.findIndex((part) => part.length === 0);
  const [version, requestId, domain, address, , mechanism, key] = message.slice(delimiter + 1);
  if (delimiter === -1 || version === undefined || requestId === undefined) return undefined;
  let userId: string | undefined;
  const isKeyless = String(mechanism) === "NULL";
  if (isKeyless || (String(mechanism) === "CURVE" && key?.length === 32)) {
    try {
      const publicKey = isKeyless || key === undefined ? undefined : z85Encode(key);
      userId = await authenticators.get(String(domain))?.({ publicKey, address: String(address) });
    } catch {
      // If the decision fails, the peer is rejected.
    }
  }
  const [status, text] = userId === undefined ? ["400", "refused"] : ["200", "OK"];
  return [...message.slice(0, delimiter + 1), version, requestId, status, text, userId ?? "", ""];
}
