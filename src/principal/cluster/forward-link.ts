/**
 * The connection of a member to the API of the leader, over which it passes requests on. What is in flight when the connection breaks is
 * sent again over the next one; what is in flight when the link is closed, or the other side says that it does not lead, is handed back.
 */
import type { ConsolaInstance } from "consola";
import { encodeForwarded, isNotLeader } from "../../contract/forward.ts";
import { errorMessage, UnprocessableError } from "../../errors.ts";
import { CLIENT_SOCKET } from "../../protocol/client-socket.ts";
import { type CurveClientKeys, curveOptions, watchHandshakes } from "../../protocol/handshake.ts";
import { BackgroundService } from "../../service.ts";
import { Dealer, hostAndPort } from "../../zmq/index.ts";
import type { ApiCall } from "../api/api-target.ts";
import type { LeaderPlace } from "./leader-view.ts";

/** Replies read at once. */
const BATCH = 200;
/** How often the leader is asked whether it is there, ms. */
const ASK_MS = 1000;
/** How long requests may take once the leader has said nothing for too long, ms. */
const HOPELESS_MS = 1000;
/** How often a connection on which nothing is heard is made anew, ms. */
const RENEW_MS = 5000;
/** The pause before a connection that broke is made again, ms. */
const AGAIN_MS = 50;
const ASKS = "is-there";

/** The request was not answered by a leader: another one has to be asked. */
export class LeaderLostError extends UnprocessableError {}
/** The leader has not said anything for a while. */
export class LeaderSilentError extends UnprocessableError {}

interface Pending {
  readonly parts: readonly (string | Uint8Array)[];
  readonly sinceMs: number;
  readonly resolve: (reply: Uint8Array) => void;
  readonly reject: (error: unknown) => void;
}

/** What {@link ForwardLink} needs. */
export interface ForwardLinkOptions {
  readonly leader: LeaderPlace;
  /** Absent without keys. */
  readonly keys: CurveClientKeys | undefined;
  /** How long the leader may say nothing before requests to it fail, ms. */
  readonly silentMs: number;
  readonly log: ConsolaInstance;
}

/** Passes requests on to one leader. */
export class ForwardLink extends BackgroundService {
  readonly name = "link to the leader";
  readonly #o: ForwardLinkOptions;
  readonly #address: string;
  readonly #pending = new Map<string, Pending>();
  #last = 0;
  #socket: Dealer | undefined;
  #receiving: Promise<void> = Promise.resolve();
  #heardAtMs = 0;
  #lookedAtMs = 0;
  #connectedAtMs = 0;
  #refusal: string | undefined;
  readonly #again = this.timer(() => this.#connect());
  readonly #ask = this.timer(() => this.#look());

  constructor(options: ForwardLinkOptions) {
    super();
    this.#o = options;
    this.#address = hostAndPort(options.leader.host, options.leader.api_port);
  }

  protected override onStart(): void {
    this.#heardAtMs = this.#lookedAtMs = this.clock.monotonic();
    this.#connect();
    this.#ask.every(ASK_MS);
  }

  /** Hands everything back that is in flight. */
  protected override async onStop(): Promise<void> {
    this.#socket?.close();
    this.#socket = undefined;
    this.handBack();
    await this.#receiving;
  }

  /** Whether nothing was heard of the leader for so long that requests to it fail. */
  get isSilent(): boolean {
    return this.clock.monotonic() - this.#heardAtMs >= this.#o.silentMs;
  }

  /** What is in flight has to be asked of another leader. */
  handBack(): void {
    const { name } = this.#o.leader;
    this.#fail(() => new LeaderLostError(`The member ${name} does not lead any more.`));
  }

  /**
   * The leader's reply to a request.
   * @throws LeaderLostError when there was none, and none will come
   * @throws LeaderSilentError when the leader has not said anything for a while
   */
  async answer(call: ApiCall): Promise<Uint8Array> {
    const { userId, traits, key, frame } = call;
    const from = encodeForwarded({
      public_key: userId,
      user: traits.user,
      address: traits.address,
      ...(traits.isPlain ? { is_plain: true } : {}),
      ...(traits.isNameless ? { is_nameless: true } : {}),
      key,
      held_ms: traits.heldMs,
    });
    const reply = await this.#request(String(++this.#last), [from, frame]);
    if (!isNotLeader(reply)) return reply;
    throw new LeaderLostError(`The member ${this.#o.leader.name} does not lead.`);
  }

  async #request(id: string, body: readonly (string | Uint8Array)[]): Promise<Uint8Array> {
    if (this.isStopping)
      throw new LeaderLostError(`The member ${this.#o.leader.name} does not lead any more.`);
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
    const pending = { parts: [id, "", ...body], sinceMs: this.clock.monotonic(), resolve, reject };
    this.#pending.set(id, pending);
    if (this.#socket !== undefined) this.#send(this.#socket, id, pending);
    try {
      return await promise;
    } finally {
      this.#pending.delete(id);
    }
  }

  #send(socket: Dealer, id: string, pending: Pending): void {
    socket
      .send(pending.parts, () => this.#pending.get(id) === pending)
      // It is sent again over the next connection.
      .catch((error) =>
        this.#o.log.debug(`A request was not sent to ${this.#address}: ${errorMessage(error)}`),
      );
  }

  #connect(): void {
    const { keys, log } = this.#o;
    this.#connectedAtMs = this.clock.monotonic();
    const socket = new Dealer({
      ...CLIENT_SOCKET,
      // Of what waits for a connection, nothing is in two places.
      immediate: true,
      sendHighWaterMark: 0,
      receiveHighWaterMark: 0,
      ...curveOptions(keys),
    });
    const endpoint = `tcp://${this.#address}`;
    watchHandshakes(socket, endpoint, this.#address, keys, (error) => {
      if (this.#refusal !== error.message) log.warn(error.message);
      this.#refusal = error.message;
    });
    socket.events.on("handshake", () => {
      this.#refusal = undefined;
    });
    socket.events.on("disconnected", () => {
      if (this.#socket !== socket) return;
      log.debug(`The connection to the leader at ${this.#address} is lost.`);
      this.#drop();
    });
    socket.connect(endpoint);
    this.#socket = socket;
    this.#receiving = this.#receive(socket);
    for (const [id, pending] of this.#pending) this.#send(socket, id, pending);
  }

  #drop(): void {
    this.#socket?.close();
    this.#socket = undefined;
    this.#again.in(AGAIN_MS);
  }

  async #receive(socket: Dealer): Promise<void> {
    try {
      for (;;) {
        for (const [id, , reply] of await socket.receiveBatch(BATCH)) {
          this.#heardAtMs = this.clock.monotonic();
          if (reply !== undefined) this.#pending.get(id.toString())?.resolve(reply);
        }
      }
    } catch (error) {
      if (socket.closed) return;
      this.#o.log.warn(`The connection to the leader at ${this.#address} failed: ${errorMessage(error)}`);
      if (this.#socket === socket) this.#drop();
    }
  }

  /** Asks whether the leader is there; gives up what it has left without an answer for too long. */
  #look(): void {
    const now = this.clock.monotonic();
    // This process did not run itself.
    if (now - this.#lookedAtMs > RENEW_MS) this.#heardAtMs = now;
    this.#lookedAtMs = now;
    if (this.isSilent) {
      this.#fail(
        () => this.#unreachable(now - this.#heardAtMs),
        ({ sinceMs }) => now - sinceMs >= Math.min(HOPELESS_MS, this.#o.silentMs),
      );
      // The connection may be gone without a word.
      if (now - this.#connectedAtMs >= RENEW_MS) this.#drop();
    }
    if (this.#pending.has(ASKS)) return;
    void this.#request(ASKS, [encodeForwarded({ public_key: this.#o.keys?.publicKey }), "PING"]).catch(
      () => {},
    );
  }

  #unreachable(silentMs: number): LeaderSilentError {
    const { name } = this.#o.leader;
    const why = this.#refusal === undefined ? "" : ` ${this.#refusal}`;
    return new LeaderSilentError(
      `This member of the installation cannot reach the leader, ${name} at ${this.#address}, for ${Math.round(silentMs / 1000)} s.${why}`,
      {
        hint: "Ask another member (CDKTR_PRINCIPALS lists them), and look at the network between the two: 'cdktr principals list'.",
      },
    );
  }

  #fail(error: () => Error, isIt: (pending: Pending) => boolean = () => true): void {
    for (const [id, pending] of [...this.#pending]) {
      if (!isIt(pending)) continue;
      this.#pending.delete(id);
      pending.reject(error());
    }
  }
}
