/**
 * Who gets in: the ZAP handler (ZeroMQ RFC 27) of this process. libzmq asks it about every peer that shook hands with a CURVE
 * server whose option `zapDomain` is one that somebody answers for, and lets in nobody else.
 */
import { z85Encode } from "./curve.ts";
import type { Message } from "./message.ts";
import { Router } from "./sockets.ts";

/** Where libzmq looks for the handler. */
const ENDPOINT = "inproc://zeromq.zap.01";

/** A peer that wants in. */
export interface Authentication {
  /** Its public key, as 40 characters of Z85 text; it has proved that it has the secret one. */
  readonly publicKey: string;
  /** Its IP address. */
  readonly address: string;
}

/** Decides about a peer: what messages carry as `userId`, or undefined when it may not come in. */
export type Authenticator = (peer: Authentication) => string | undefined;

const authenticators = new Map<string, Authenticator>();
let handler: Router | undefined;

/**
 * Answers for a domain from now on. Must be called before a socket with that `zapDomain` is bound.
 * @returns ends it: nobody gets in any more
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
    const reply = answer(message);
    // A peer that went away meanwhile needs none.
    if (reply !== undefined) await router.send(reply).catch(() => {});
  }
}

function answer(message: Message): (Uint8Array | string)[] | undefined {
  const delimiter = message.findIndex((part) => part.length === 0);
  const [version, requestId, domain, address, , mechanism, key] = message.slice(delimiter + 1);
  if (delimiter === -1 || version === undefined || requestId === undefined) return undefined;
  let userId: string | undefined;
  if (String(mechanism) === "CURVE" && key?.length === 32) {
    try {
      userId = authenticators.get(String(domain))?.({ publicKey: z85Encode(key), address: String(address) });
    } catch {
      // Whoever fails to decide has not let anybody in.
    }
  }
  const [status, text] = userId === undefined ? ["400", "refused"] : ["200", "OK"];
  return [...message.slice(0, delimiter + 1), version, requestId, status, text, userId ?? "", ""];
}
