/**
 * The socket of the principal's API: a ROUTER that hands each request to a target. Every message gets exactly one reply, whatever is in
 * it; a reply may come late.
 */

import type { ConsolaInstance } from "consola";
import { decodeForwarded } from "../../contract/forward.ts";
import type { VerbEntry } from "../../contract/verb-entry.ts";
import { VERBS, type Verb } from "../../contract/verbs.ts";
import { encodeReply } from "../../contract/wire.ts";
import { CdktrError, errorMessage, InvalidInputError, UnprocessableError } from "../../errors.ts";
import { type Access, OWN_NAME } from "../../protocol/doors/access.ts";
import { bindSocket, DOOR_OPTIONS } from "../../protocol/doors/bind.ts";
import type { LocalPeers } from "../../protocol/doors/local-peers.ts";
import { BackgroundService } from "../../service.ts";
import { pause, Timer, turn } from "../../timer.ts";
import { type Message, Router } from "../../zmq/index.ts";
import { logFailure } from "../log-failure.ts";
import type { ApiCall, ApiTarget } from "./api-target.ts";
import { errorReply, readRequest } from "./requests.ts";

/** Messages handled before the event loop gets a turn. */
const BATCH = 200;
/**
 * Requests in flight at a time. Agents' verbs and all others each have this budget, so that a client that floods the principal
 * with long polls cannot keep it from hearing its agents.
 */
const MAX_IN_FLIGHT = 20_000;
/** Requests in flight on one connection. */
const MAX_IN_FLIGHT_OF_PEER = 5_000;
/** Receive queue of a connection; each request in it may have {@link MAX_PART_BYTES}. */
const QUEUED_REQUESTS = 8;
/** How long the API still accepts requests while it stops, ms. */
const STOP_LISTENING_MS = 500;
/**
 * How long peers have to read the last replies before their connections are closed, ms. A peer with ZMQ_IMMEDIATE, such as our
 * own client, loses what it has received but not read when the connection ends, and asks again only after its timeout.
 */
const LAST_REPLIES_MS = 100;
/** How long a peer whose key was revoked has to read the reason before its connection is closed, ms. */
const LAST_WORD_MS = 250;
/** libzmq drops a peer that sends more. Between the 16 MiB of the protocol and this, the peer gets a CLIENTERROR. */
const MAX_PART_BYTES = 64 * 1024 * 1024;

/** A request's envelope, echoed in front of its reply, and its body. */
interface Incoming {
  readonly envelope: readonly Uint8Array[];
  readonly body: readonly Uint8Array[];
}

/** Serves the API. */
export class Api extends BackgroundService {
  readonly name = "API";
  readonly #host: string;
  readonly #port: number;
  readonly #target: ApiTarget;
  readonly #log: ConsolaInstance;
  readonly #access: Access | undefined;
  readonly #locals: LocalPeers | undefined;
  readonly #isMember: boolean;
  readonly #inFlight = new Set<Promise<void>>();
  /** How many of them have an agents' verb. */
  #ofAgents = 0;
  /** Requests in flight by the routing id of their connection. */
  readonly #ofPeers = new Map<string, number>();
  readonly #revocations = new Set<() => void>();
  #router: Router | undefined;
  #receiving: Promise<void> = Promise.resolve();
  #boundPort = 0;
  #isDeaf = false;
  readonly #cut = this.timer(() => this.#disconnect());
  /** Connections that had not identified themselves when keys were revoked. */
  readonly #strangers = new Set<bigint | undefined>();

  constructor(options: {
    host: string;
    /** 0: any free port. */
    port: number;
    target: ApiTarget;
    log: ConsolaInstance;
    /** The keys that are admitted; absent: everyone. */
    access?: Access | undefined;
    /** Says whose processes may come without keys; absent: everyone's. */
    locals?: LocalPeers | undefined;
    /** Whether other members pass requests on to it. */
    isMember?: boolean;
  }) {
    super();
    this.#host = options.host;
    this.#port = options.port;
    this.#target = options.target;
    this.#log = options.log;
    this.#access = options.access;
    this.#locals = options.locals;
    this.#isMember = options.isMember ?? false;
    options.access?.signals.on("revoked", () => this.cutOff());
  }

  /** The bound port. */
  get port(): number {
    return this.#boundPort;
  }

  protected override async onStart(): Promise<void> {
    const router = new Router({
      ...DOOR_OPTIONS,
      maxMessageSize: MAX_PART_BYTES,
      sendHighWaterMark: 10_000,
      receiveHighWaterMark: QUEUED_REQUESTS,
      backlog: 1024,
      linger: 1000,
      // No ZMTP heartbeats: the ZeroMQ library of the original's clients fails on them. The kernel notices peers that are gone, here also
      // those to which something was sent.
      tcpMaxRetransmitTimeout: 60_000,
      ...this.#access?.socketOptions("api"),
      ...this.#locals?.socketOptions("api"),
    });
    this.#locals?.guard("api", router);
    try {
      this.#boundPort = await bindSocket(router, {
        host: this.#host,
        port: this.#port,
        what: "API",
        setting: "CDKTR_PRINCIPAL_PORT",
        flag: "--port",
      });
    } catch (error) {
      router.close();
      throw error;
    }
    this.#router = router;
    this.#receiving = this.#receive(router);
  }

  /** Answers the requests in flight and closes. The services that hold long polls must have ended them before. */
  protected override async onStop(): Promise<void> {
    const router = this.#router;
    if (router === undefined) return;
    this.#router = undefined;
    // Requests that arrive meanwhile are answered too, but not for ever.
    const deaf = new Timer(() => {
      this.#isDeaf = true;
    });
    deaf.in(STOP_LISTENING_MS);
    const answersNow = this.#inFlight.size > 0;
    while (this.#inFlight.size > 0) await Promise.allSettled(this.#inFlight);
    deaf.cancel();
    this.#isDeaf = true;
    if (answersNow) await pause(LAST_REPLIES_MS);
    router.close();
    await this.#receiving;
  }

  async #receive(router: Router): Promise<void> {
    while (!router.closed) {
      let messages: Message[];
      try {
        messages = await router.receiveBatch(BATCH);
      } catch (error) {
        if (router.closed) return;
        this.#log.error(`The API socket failed to receive: ${errorMessage(error)}`);
        await pause(100);
        continue;
      }
      for (const message of messages) this.#accept(router, message);
      await turn();
      // What they ask for is committed by then: what came meanwhile shares the next commit, and is found without a wake-up.
      await turn();
    }
  }

  #accept(router: Router, message: Message): void {
    if (this.#isDeaf) return;
    const { envelope, body } = open(message);
    const peer = message[0].toString("latin1");
    this.#ofPeers.set(peer, (this.#ofPeers.get(peer) ?? 0) + 1);
    const done = this.#answer(body, message, peer)
      .then((reply) => (reply === null ? undefined : router.send([...envelope, reply])))
      .catch((error) => this.#log.debug(`A reply could not be sent: ${errorMessage(error)}`));
    this.#inFlight.add(done);
    void done.finally(() => {
      this.#inFlight.delete(done);
      const left = (this.#ofPeers.get(peer) ?? 1) - 1;
      if (left > 0) this.#ofPeers.set(peer, left);
      else this.#ofPeers.delete(peer);
    });
  }

  /** @throws UnprocessableError when too many requests are in flight */
  async #handle(call: ApiCall, peer: string): Promise<Uint8Array | null> {
    // Another member counts those of each of its own peers.
    if (!call.isForwarded && (this.#ofPeers.get(peer) ?? 0) > MAX_IN_FLIGHT_OF_PEER) {
      throw new UnprocessableError(
        `More than ${MAX_IN_FLIGHT_OF_PEER} requests of this connection wait for their replies; try again later.`,
      );
    }
    const { budget }: VerbEntry = VERBS[call.request.verb];
    const ofAgent = budget === "agents";
    const waiting = ofAgent ? this.#ofAgents : this.#inFlight.size - this.#ofAgents;
    if (waiting >= MAX_IN_FLIGHT)
      throw new UnprocessableError("The principal has too many requests waiting; try again later.");
    if (!ofAgent) return this.#target.answer(call);
    this.#ofAgents++;
    try {
      return await this.#target.answer(call);
    } finally {
      this.#ofAgents--;
    }
  }

  /** Keys were revoked: refuses the requests in flight that came with them, then disconnects their peers. */
  cutOff(): void {
    for (const look of this.#revocations) look();
    // Peers that connect from here on are checked against the present keys.
    this.#router?.endConnections(({ id, userId }) => {
      if (userId === undefined) this.#strangers.add(id);
      return false;
    });
    this.#cut.within(LAST_WORD_MS);
  }

  /** Also disconnects peers that had not identified themselves yet; those with a valid key reconnect. */
  #disconnect(): void {
    this.#router?.endConnections(({ id, userId }) =>
      userId === undefined ? this.#strangers.has(id) : this.#access?.admits(userId, "api") === false,
    );
    this.#strangers.clear();
  }

  #unlessRevoked<T>(work: Promise<T>, userId: string | undefined, verb: Verb): Promise<T> {
    const access = this.#access;
    if (access === undefined) return work;
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const look = () => {
      try {
        access.check(userId, verb);
      } catch (error) {
        reject(error);
      }
    };
    this.#revocations.add(look);
    work.then(resolve, reject);
    return promise.finally(() => this.#revocations.delete(look));
  }

  /** Who sent a request that another member passes on; null for one that comes from its sender. Only this installation may pass requests on. */
  #forwardedBy(
    userId: string | undefined,
    [head, ...rest]: readonly Uint8Array[],
  ): Omit<ApiCall, "frame" | "request"> | null {
    if (!this.#isMember || head === undefined || rest.length !== 1) return null;
    if (this.#access !== undefined && this.#access.identify(userId)?.name !== OWN_NAME) return null;
    const from = decodeForwarded(head);
    if (from === null) return null;
    const { public_key, user, address, is_plain: isPlain = false, is_nameless: isNameless = false } = from;
    const sender = this.#access === undefined ? undefined : public_key;
    const traits = { isPlain, isNameless, user, address, heldMs: from.held_ms };
    return { userId: sender, traits, key: from.key, isForwarded: true };
  }

  async #answer(body: readonly Uint8Array[], message: Message, peer: string): Promise<Uint8Array | null> {
    const userId = this.#access === undefined ? undefined : message.userId;
    let call: ApiCall | undefined;
    try {
      const traits = {
        isPlain: message.peer?.socketType === "REQ",
        isNameless: message.peer?.hasIdentity === false,
        user: this.#locals?.check(message),
        address: message.peer?.address,
      };
      const forwarded = this.#forwardedBy(userId, body);
      const frame = body[forwarded === null ? 0 : 1] ?? new Uint8Array();
      if (forwarded === null && body.length > 1) {
        throw new InvalidInputError(`The message has ${body.length} frames; a message is one frame.`);
      }
      call = { frame, request: readRequest(frame), ...(forwarded ?? { userId, traits }) };
      return await this.#unlessRevoked(this.#handle(call, peer), call.userId, call.request.verb);
    } catch (error) {
      const { kind, text } = errorReply(error);
      const verb = call?.request.verb ?? "";
      if (kind === "SERVERERROR") {
        if (error instanceof CdktrError) logFailure(this.#log, verb, error);
        else this.#log.error(`${verb} failed`, error);
      } else {
        this.#log.debug(`${verb || "message"}: ${kind} ${text}`);
        if (call !== undefined) await this.#target.refused(call, { error, text });
      }
      if (this.#access?.admits(userId, "api") === false) this.#cut.within(LAST_WORD_MS);
      return encodeReply(kind, text);
    }
  }
}

/**
 * Parts a message into envelope and body. The envelope is everything up to and including the first empty frame (REQ, REQ with
 * correlation, DEALER that follows them); a DEALER that sends no empty frame has its routing id alone as envelope.
 */
function open(message: readonly Uint8Array[]): Incoming {
  const delimiter = message.findIndex((part, index) => index > 0 && part.length === 0);
  const end = delimiter === -1 ? 1 : delimiter + 1;
  return { envelope: message.slice(0, end), body: message.slice(end) };
}
