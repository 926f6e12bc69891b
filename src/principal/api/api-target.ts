/** Where the requests that arrive at the API go: to the services of this process, or on to the principal that leads. */
import type { PeerTraits } from "./original-clients.ts";
import type { Request } from "./requests.ts";

/** A request as it arrived. */
export interface ApiCall {
  /** Its verb, and its fields, which are not parsed yet. */
  readonly request: Request;
  /** The frame that holds them. */
  readonly frame: Uint8Array;
  /** The public key with which it came; undefined without keys. */
  readonly userId: string | undefined;
  readonly traits: PeerTraits;
  /** The idempotency key of the request, should it have none of its own. */
  readonly key?: string | undefined;
  /** Another member has passed it on. */
  readonly isForwarded?: boolean;
}

/** Answers requests. */
export interface ApiTarget {
  /**
   * The reply to a request; null for none, so that its sender asks elsewhere.
   * @throws what becomes an error reply
   */
  answer(call: ApiCall): Promise<Uint8Array | null>;

  /** A request got an error reply because of an error that was not the principal's. Never rejects. */
  refused(call: ApiCall, why: { readonly error: unknown; readonly text: string }): Promise<void>;
}
