/**
 * A subscription to the live log. The publisher does not wait for subscribers, so a client that needs every line also reads the
 * history, and must know from when on the subscription is active; being connected is not enough. After each connection it therefore
 * subscribes to a probe, a prefix of its own, and asks the principal until the publisher knows the probe.
 */

import { type LogLine, LogLineReader, logTopic } from "../contract/log-line.ts";
import { BackOff, pause, Timer } from "../timer.ts";
import { hostAndPort, type Message, Subscriber, tcpEndpoint } from "../zmq/index.ts";
import { type PrincipalClient, RequestRefusedError } from "./client.ts";
import { CLIENT_SOCKET } from "./client-socket.ts";
import { AccessRefusedError, curveOptions, watchHandshakes } from "./handshake.ts";

/** Maximum number of messages received at once. */
const BATCH = 1000;
/** First and longest pause between two checks whether the subscription is active, ms. */
const FIRST_LOOK_MS = 2;
const LONGEST_LOOK_MS = 1000;
/** How often a member of several is asked whether it is there: a silent one is noticed by requests only, ms. */
const PRESENCE_MS = 10_000;
/** Maximum length of unread lines, characters. When it is exceeded, all of them are dropped: the history has them. */
const MOST_WAITING = 64 * 1024 * 1024;

export interface LogSubscriptionOptions {
  /** The principal's API. Close the subscription before this. */
  readonly client: Pick<PrincipalClient, "isSubscribed" | "ping" | "place" | "places" | "curve" | "signals">;
  /** The publishing port of the principal, and of members that do not say which is theirs. */
  readonly port: number;
  /** Only lines of this workflow. */
  readonly workflowId: string | undefined;
  /** Keeps trying when the principal refuses the key, instead of ending. */
  readonly persistent?: boolean;
  /** Maximum length of unread lines, characters; {@link MOST_WAITING} by default. */
  readonly mostWaiting?: number;
}

/** Consecutive lines. */
export interface LiveBatch {
  /**
   * The connection by which they arrived, counted from 1. Lines published between two connections are only in the history. After
   * unread lines were dropped, the following ones count as a new connection.
   */
  readonly connection: number;
  /** Empty when the subscription of a new connection has come into force, and after {@link LogSubscription.wake}. */
  readonly lines: readonly LogLine[];
}

/** See the top of this file. Reconnects by itself, and follows the client to other members. */
export class LogSubscription {
  readonly #options: LogSubscriptionOptions;
  #socket: Subscriber;
  /** Of the publishing socket. */
  #place: { readonly host: string; readonly port: number };
  #isClosed = false;
  /** How often in a row a member has refused the key here that others still took. */
  #refusals = 0;
  #stopFollowing = () => {};
  readonly #presence = new Timer(() => void this.#checkPresence());
  readonly #complete = Promise.withResolvers<boolean>();
  readonly #mostWaiting: number;
  /** Unread lines: a reader, such as a pager, may be slower than the tasks. */
  #arrived: Arrived[] = [];
  #waiting = 0;
  /** How often unread lines were dropped. */
  #breaks = 0;
  #wake: PromiseWithResolvers<void> | undefined;
  #connection = 0;
  #probe: string | undefined;
  #failure: unknown;

  constructor(options: LogSubscriptionOptions) {
    this.#options = options;
    this.#mostWaiting = options.mostWaiting ?? MOST_WAITING;
    const { place, places } = options.client;
    const ownPort = places.length > 1 ? place.logPorts?.logsPublishing : undefined;
    this.#place = { host: place.host, port: ownPort ?? options.port };
    this.#socket = this.#open();
    // Without this, its rejection would count as unhandled when it is not awaited.
    this.#complete.promise.catch(() => {});
  }

  get closed(): boolean {
    return this.#isClosed;
  }

  /** `tcp://HOST:PORT` of the publishing socket. */
  get endpoint(): string {
    return tcpEndpoint(this.#place.host, this.#place.port);
  }

  /** The current or last connection; 0 before the first one. */
  get connection(): number {
    return this.#connection + this.#breaks;
  }

  /**
   * Connects; resolves to whether the subscription has come into force within `timeoutMs`. If not, it may do so later.
   * @throws AccessRefusedError when the principal refuses the key, unless this is persistent
   */
  async connect(timeoutMs: number): Promise<boolean> {
    const { client, port } = this.#options;
    this.#stopFollowing = client.signals.on("moved", ({ host, logPorts }) =>
      this.#turnTo({ host, port: logPorts?.logsPublishing ?? port }),
    );
    this.#presence.every(PRESENCE_MS);
    this.#connect();
    const late = new Timer(() => this.#complete.resolve(false));
    late.in(timeoutMs);
    try {
      return await this.#complete.promise;
    } finally {
      late.cancel();
    }
  }

  /** Lines as they arrive; ends when the subscription is closed. Throws like {@link connect} if the key is refused later. */
  async *batches(): AsyncGenerator<LiveBatch> {
    for (;;) {
      const next = this.#arrived.shift();
      if (next !== undefined) {
        this.#waiting -= next.text.length;
        yield decode(next);
        continue;
      }
      if (this.#failure !== undefined) throw this.#failure;
      if (this.closed) return;
      this.#wake = Promise.withResolvers();
      await this.#wake.promise;
    }
  }

  /** Removes and returns the unread lines of a connection. */
  takeArrived(connection: number): LiveBatch[] {
    const [taken, rest] = [[] as LiveBatch[], [] as Arrived[]];
    for (const arrived of this.#arrived) {
      if (arrived.connection === connection) taken.push(decode(arrived));
      else rest.push(arrived);
    }
    this.#arrived = rest;
    this.#waiting = rest.reduce((sum, { text }) => sum + text.length, 0);
    return taken;
  }

  /** Makes {@link batches} yield an empty batch. */
  wake(): void {
    if (!this.closed) this.#push("");
  }

  /** Ends the subscription. */
  close(): void {
    this.#isClosed = true;
    this.#stopFollowing();
    this.#presence.cancel();
    this.#socket.close();
    this.#complete.resolve(false);
    this.#wake?.resolve();
  }

  #fail(error: AccessRefusedError | unknown): void {
    this.#failure ??= error;
    this.#complete.reject(error);
    this.close();
  }

  #open(): Subscriber {
    const socket = new Subscriber({
      ...CLIENT_SOCKET,
      receiveHighWaterMark: 0,
      ...curveOptions(this.#options.client.curve),
    });
    socket.subscribe(logTopic(this.#options.workflowId));
    return socket;
  }

  #connect(): void {
    const { client, persistent } = this.#options;
    const { host, port } = this.#place;
    const socket = this.#socket;
    socket.events.on("handshake", () => {
      this.#refusals = 0;
      void this.#probeConnection(socket);
    });
    watchHandshakes(socket, this.endpoint, hostAndPort(host, port), client.curve, (error) => {
      if (persistent) this.#complete.resolve(false);
      else if (client.places.length > 1) void this.#refusedByOne(error);
      else this.#fail(error);
    });
    socket.connect(this.endpoint);
    void this.#receive(socket);
  }

  /** Other members may take the key: one that was made or revoked a moment ago is not known to all of them. */
  async #refusedByOne(error: AccessRefusedError): Promise<void> {
    const { client } = this.#options;
    const isRefused = await client.ping().then(
      () => ++this.#refusals > client.places.length,
      (failure: unknown) => failure instanceof AccessRefusedError,
    );
    if (isRefused && !this.closed) this.#fail(error);
  }

  /** Lines that are published meanwhile are only in the history. */
  #turnTo(place: { readonly host: string; readonly port: number }): void {
    if (this.closed || (place.host === this.#place.host && place.port === this.#place.port)) return;
    this.#place = place;
    const former = this.#socket;
    this.#socket = this.#open();
    former.close();
    this.#probe = undefined;
    this.#connect();
  }

  /** Requests make the client move when its member does not answer; without any it would not notice. */
  async #checkPresence(): Promise<void> {
    if (this.#options.client.places.length > 1) await this.#options.client.ping().catch(() => {});
  }

  /** Receives lines immediately, so that it is known by which connection they arrived. */
  async #receive(socket: Subscriber): Promise<void> {
    while (!socket.closed) {
      try {
        const messages = await socket.receiveBatch(BATCH);
        this.#push(textOf(messages));
      } catch (error) {
        if (!socket.closed) this.#fail(error);
      }
    }
  }

  #push(text: string): void {
    this.#waiting += text.length;
    if (this.#waiting > this.#mostWaiting && this.#arrived.length > 0) {
      this.#arrived = [];
      this.#waiting = text.length;
      this.#breaks++;
    }
    // The first line may arrive before the event of its connection.
    this.#arrived.push({ connection: Math.max(1, this.#connection) + this.#breaks, text });
    this.#wake?.resolve();
  }

  /** Waits until the subscription of a new connection is active. */
  async #probeConnection(socket: Subscriber): Promise<void> {
    if (socket.closed) return;
    const connection = ++this.#connection;
    const probe = `~${crypto.randomUUID()}`;
    if (this.#probe !== undefined) socket.unsubscribe(this.#probe);
    this.#probe = probe;
    socket.subscribe(probe);
    const over = () => this.closed || connection !== this.#connection;
    const looks = new BackOff(FIRST_LOOK_MS, LONGEST_LOOK_MS);
    while (!over() && !(await this.#inForce(probe))) await pause(looks.next());
    if (over()) return;
    this.#push("");
    this.#complete.resolve(true);
  }

  async #inForce(probe: string): Promise<boolean> {
    try {
      return await this.#options.client.isSubscribed(probe);
    } catch (error) {
      // An older principal does not know this verb: being connected has to be enough.
      return error instanceof RequestRefusedError;
    }
  }
}

/** Encoded lines, joined by line feeds, which no line can contain: the most compact form for a million of them. */
interface Arrived {
  readonly connection: number;
  readonly text: string;
}

function textOf(messages: readonly Message[]): string {
  return messages.map(([frame]) => frame.toString()).join("\n");
}

function decode({ connection, text }: Arrived): LiveBatch {
  const lines: LogLine[] = [];
  const reader = new LogLineReader();
  for (const encoded of text === "" ? [] : text.split("\n")) {
    try {
      lines.push(reader.decode(encoded));
    } catch {
      // A newer principal may publish something unknown to this version; the history has it.
    }
  }
  return { connection, lines };
}
