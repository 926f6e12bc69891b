/**
 * The principal's API: a ROUTER that hands each request to the handler of its verb. Every message gets exactly one
 * reply, whatever is in it; a reply may come late.
 */

import type { ConsolaInstance } from "consola";
import type { VerbEntry } from "../../contract/verb-entry.ts";
import { VERBS, type Verb } from "../../contract/verbs.ts";
import { encodeReply } from "../../contract/wire.ts";
import { CdktrError, errorMessage, InvalidInputError, UnprocessableError } from "../../errors.ts";
import type { Access, Identity } from "../../protocol/doors/access.ts";
import { bindSocket, DOOR_OPTIONS } from "../../protocol/doors/bind.ts";
import type { LocalPeers } from "../../protocol/doors/local-peers.ts";
import { BackgroundService } from "../../service.ts";
import { pause, Timer, turn } from "../../timer.ts";
import { type Message, Router } from "../../zmq/index.ts";
import type { AgentKeys } from "../agents/agent-keys.ts";
import { unaudited } from "../audit/audit.ts";
import type { AuditLog } from "../audit/audit-log.ts";
import { logFailure } from "../log-failure.ts";
import type { Handlers } from "./handlers.ts";
import { type PeerTraits, refuseOriginalAgent } from "./original-clients.ts";
import { errorReply, parseRequest, type Request, readRequest } from "./requests.ts";

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

/** The keys of a secured principal: which verbs a key may use, and for which agents it may speak. */
export interface ApiKeys {
  readonly access: Access;
  readonly agentKeys: AgentKeys;
}

/** Serves the API. */
export class Api extends BackgroundService {
  readonly name = "API";
  readonly #host: string;
  readonly #port: number;
  readonly #handlers: Handlers;
  readonly #log: ConsolaInstance;
  readonly #keys: ApiKeys | undefined;
  readonly #locals: LocalPeers | undefined;
  readonly #audit: AuditLog | undefined;
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
    handlers: Handlers;
    log: ConsolaInstance;
    /** Without keys every peer may use every verb. */
    keys?: ApiKeys | undefined;
    /** Says whose processes may come without keys; absent: everyone's. */
    locals?: LocalPeers | undefined;
    audit?: AuditLog | undefined;
  }) {
    super();
    this.#host = options.host;
    this.#port = options.port;
    this.#handlers = options.handlers;
    this.#log = options.log;
    this.#keys = options.keys;
    this.#locals = options.locals;
    this.#audit = options.audit;
    options.keys?.access.signals.on("revoked", () => this.cutOff());
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
      ...this.#keys?.access.socketOptions("api"),
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
      .then((reply) => router.send([...envelope, reply]))
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
  async #handle(
    request: Request,
    sender: Identity | undefined,
    peer: string,
    traits: PeerTraits,
  ): Promise<Uint8Array> {
    if ((this.#ofPeers.get(peer) ?? 0) > MAX_IN_FLIGHT_OF_PEER) {
      throw new UnprocessableError(
        `More than ${MAX_IN_FLIGHT_OF_PEER} requests of this connection wait for their replies; try again later.`,
      );
    }
    const { budget }: VerbEntry = VERBS[request.verb];
    const ofAgent = budget === "agents";
    const waiting = ofAgent ? this.#ofAgents : this.#inFlight.size - this.#ofAgents;
    if (waiting >= MAX_IN_FLIGHT)
      throw new UnprocessableError("The principal has too many requests waiting; try again later.");
    if (!ofAgent) return this.#dispatch(request, sender, traits);
    this.#ofAgents++;
    try {
      return await this.#dispatch(request, sender, traits);
    } finally {
      this.#ofAgents--;
    }
  }

  /** Parses a request, checks that its sender may speak for the agent it names, handles it, and writes the reply. */
  async #dispatch<V extends Verb>(
    request: Request<V>,
    sender: Identity | undefined,
    traits: PeerTraits,
  ): Promise<Uint8Array> {
    const { verb } = request;
    refuseOriginalAgent(request, traits, this.#log);
    const entry: VerbEntry = VERBS[verb];
    const parsed = parseRequest(request);
    if (sender !== undefined) this.#keys?.agentKeys.checkSpeaker(sender, entry, parsed);
    const audit = this.#audit?.of(verb, parsed, { sender, ...traits }) ?? unaudited;
    const reply = await this.#handlers[verb](parsed, sender, traits, audit);
    const { answers = "SUCCESS" } = entry;
    if (reply === null) return encodeReply(answers === "PONG" ? answers : "OK");
    return encodeReply(answers, JSON.stringify(reply));
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
      userId === undefined ? this.#strangers.has(id) : this.#keys?.access.admits(userId, "api") === false,
    );
    this.#strangers.clear();
  }

  #unlessRevoked<T>(work: Promise<T>, userId: string | undefined, verb: Verb): Promise<T> {
    const access = this.#keys?.access;
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

  async #answer(body: readonly Uint8Array[], message: Message, peer: string): Promise<Uint8Array> {
    const userId = this.#keys === undefined ? undefined : message.userId;
    let verb = "";
    let refused: ((why: { readonly error: unknown; readonly text: string }) => Promise<void>) | undefined;
    try {
      const traits = {
        isPlain: message.peer?.socketType === "REQ",
        isNameless: message.peer?.hasIdentity === false,
        user: this.#locals?.check(message),
        address: message.peer?.address,
      };
      if (body.length > 1) {
        throw new InvalidInputError(`The message has ${body.length} frames; a message is one frame.`);
      }
      const request = readRequest(body[0] ?? new Uint8Array());
      verb = request.verb;
      refused = async (why) => {
        const from = { sender: this.#keys?.access.identify(userId), ...traits };
        await this.#audit?.refused(request.verb, () => readable(request), from, why);
      };
      const sender = this.#keys?.access.check(userId, request.verb);
      return await this.#unlessRevoked(this.#handle(request, sender, peer, traits), userId, request.verb);
    } catch (error) {
      const { kind, text } = errorReply(error);
      if (kind === "SERVERERROR") {
        if (error instanceof CdktrError) logFailure(this.#log, verb, error);
        else this.#log.error(`${verb} failed`, error);
      } else {
        this.#log.debug(`${verb || "message"}: ${kind} ${text}`);
        await refused?.({ error, text });
      }
      if (this.#keys?.access.admits(userId, "api") === false) this.#cut.within(LAST_WORD_MS);
      return encodeReply(kind, text);
    }
  }
}

/** A request that may be invalid. */
function readable(request: Request): object | null {
  try {
    return parseRequest(request);
  } catch {
    return null;
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
