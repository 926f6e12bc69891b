/**
 * A subscription to the live log. Publishing waits for nobody, so whoever wants every line reads the history too, and must know
 * from when on the subscription is in force: connected alone is not enough. After each connection it therefore subscribes to a
 * probe, a prefix of its own, and asks the principal until its publisher knows that one.
 */

import { type LogLine, LogLineReader, logTopic } from "../contract/log-line.ts";
import { hostAndPort, type Message, Subscriber, tcpEndpoint } from "../zmq/index.ts";
import { type PrincipalClient, RequestRefusedError } from "./client.ts";
import { type AccessRefusedError, curveOptions, watchHandshakes } from "./handshake.ts";

/** Messages received at once. */
const BATCH = 1000;
/** Pauses between two looks whether the subscription is in force, ms: the first, and the longest. */
const FIRST_LOOK_MS = 2;
const LONGEST_LOOK_MS = 1000;
/** What may wait to be read, characters. When it is more, all of it goes: the history has it. */
const MOST_WAITING = 64 * 1024 * 1024;

/** What a subscription needs. */
export interface LogSubscriptionOptions {
  /** The principal's API. It must not be closed before the subscription. */
  readonly client: Pick<PrincipalClient, "isSubscribed" | "host" | "curve">;
  /** The principal's publishing port. */
  readonly port: number;
  /** Without it, all workflows. */
  readonly workflowId: string | undefined;
  /** Whether it goes on trying when the principal refuses the key; otherwise it ends. */
  readonly persistent?: boolean;
  /** How many characters may wait to be read; {@link MOST_WAITING} by default. */
  readonly mostWaiting?: number;
}

/** Lines that came one after the other. */
export interface LiveBatch {
  /**
   * By which connection they came, counted from 1. What was published between two connections is only in the history. When lines
   * had to go because nobody read them, those after them count as of a new connection.
   */
  readonly connection: number;
  /** None when a connection has just become complete, from then on no line of it is missed; and after {@link LogSubscription.wake}. */
  readonly lines: readonly LogLine[];
}

/** See the head of this file. It reconnects by itself. */
export class LogSubscription {
  /** `tcp://HOST:PORT` of the publishing socket. */
  readonly endpoint: string;
  readonly #options: LogSubscriptionOptions;
  readonly #socket: Subscriber;
  readonly #complete = Promise.withResolvers<boolean>();
  readonly #mostWaiting: number;
  /** What has come and was not read yet: a reader may be slower than the tasks (a pager). */
  #arrived: Arrived[] = [];
  #waiting = 0;
  /** How often everything that waited had to go. */
  #breaks = 0;
  #wake: PromiseWithResolvers<void> | undefined;
  #connection = 0;
  #probe: string | undefined;
  #failure: unknown;

  constructor(options: LogSubscriptionOptions) {
    this.#options = options;
    this.#mostWaiting = options.mostWaiting ?? MOST_WAITING;
    this.endpoint = tcpEndpoint(options.client.host, options.port);
    this.#socket = new Subscriber({
      linger: 0,
      receiveHighWaterMark: 0,
      reconnectInterval: 100,
      reconnectMaxInterval: 2000,
      heartbeatInterval: 5000,
      heartbeatTimeout: 15_000,
      ...curveOptions(options.client.curve),
    });
    this.#socket.subscribe(logTopic(options.workflowId));
    // Whoever never waits for it must not be surprised by its rejection.
    this.#complete.promise.catch(() => {});
  }

  get closed(): boolean {
    return this.#socket.closed;
  }

  /** The connection at present, or the last one; 0 before the first. */
  get connection(): number {
    return this.#connection + this.#breaks;
  }

  /**
   * Connects; resolves whether the subscription is in force within `timeoutMs`. Later it comes into force all the same.
   * @throws AccessRefusedError when the principal refuses the key, unless this is persistent
   */
  async connect(timeoutMs: number): Promise<boolean> {
    const { client, port, persistent } = this.#options;
    const { host, curve } = client;
    this.#socket.events.on("handshake", () => void this.#probeConnection());
    watchHandshakes(this.#socket, this.endpoint, hostAndPort(host, port), curve, (error) => {
      if (persistent) this.#complete.resolve(false);
      else this.#fail(error);
    });
    this.#socket.connect(this.endpoint);
    void this.#receive();
    const timer = setTimeout(() => this.#complete.resolve(false), timeoutMs);
    try {
      return await this.#complete.promise;
    } finally {
      clearTimeout(timer);
    }
  }

  /** What comes; ends when the subscription is closed. Throws like {@link connect} when the key is refused later. */
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

  /** What has come by a connection and was not read yet. */
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

  /** Makes {@link batches} go on with a batch without lines. */
  wake(): void {
    if (!this.closed) this.#push("");
  }

  /** Ends the subscription. */
  close(): void {
    if (!this.#socket.closed) this.#socket.close();
    this.#complete.resolve(false);
    this.#wake?.resolve();
  }

  #fail(error: AccessRefusedError | unknown): void {
    this.#failure ??= error;
    this.#complete.reject(error);
    this.close();
  }

  /** Receives at once whatever comes, so that it is known by which connection it came. */
  async #receive(): Promise<void> {
    while (!this.closed) {
      try {
        const messages = await this.#socket.receiveBatch(BATCH);
        this.#push(textOf(messages));
      } catch (error) {
        if (!this.closed) this.#fail(error);
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
    // The event that tells of the connection may come later than its first line.
    this.#arrived.push({ connection: Math.max(1, this.#connection) + this.#breaks, text });
    this.#wake?.resolve();
  }

  /** Finds out when the subscription of a new connection is in force. */
  async #probeConnection(): Promise<void> {
    if (this.closed) return;
    const connection = ++this.#connection;
    const probe = `~${crypto.randomUUID()}`;
    if (this.#probe !== undefined) this.#socket.unsubscribe(this.#probe);
    this.#probe = probe;
    this.#socket.subscribe(probe);
    const over = () => this.closed || connection !== this.#connection;
    for (let pause = FIRST_LOOK_MS; !over(); pause = Math.min(2 * pause, LONGEST_LOOK_MS)) {
      if (await this.#inForce(probe)) break;
      await Bun.sleep(pause);
    }
    if (over()) return;
    this.#push("");
    this.#complete.resolve(true);
  }

  async #inForce(probe: string): Promise<boolean> {
    try {
      return await this.#options.client.isSubscribed(probe);
    } catch (error) {
      // A principal that is older than this question: that it is connected has to do.
      return error instanceof RequestRefusedError;
    }
  }
}

/** Encoded lines with line feeds between: no line can hold one, and a million of them take the least room so. */
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
      // A newer principal may publish what this one does not know; the history has it all the same.
    }
  }
  return { connection, lines };
}
