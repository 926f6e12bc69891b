/** Log lines as the principal publishes them. */
import { type CurveClientKeys, curveOptions } from "../../protocol/client.ts";
import { watchHandshakes } from "../../protocol/handshake.ts";
import { loadCurveKeys } from "../../protocol/key-file.ts";
import { decodeLogLine, type LogLine } from "../../protocol/log-frames.ts";
import { SEPARATOR } from "../../protocol/wire.ts";
import { type Message, Subscriber } from "../../zmq/index.ts";
import type { Connection } from "./connect.ts";

const BATCH = 1000;

/** Lines that came one after the other. */
export interface LiveBatch {
  /** Which connection they came by, from 0: a further one follows when the principal was away. */
  readonly connection: number;
  readonly lines: readonly LogLine[];
}

/** A subscription to the live log of one workflow, or of all. */
export class LiveLog {
  /** `tcp://HOST:PORT` of the publishing socket. */
  readonly endpoint: string;
  readonly #curve: CurveClientKeys | undefined;
  readonly #socket: Subscriber;
  /** What has come and was not read yet: a reader that is slower than the tasks (a pager) loses nothing. */
  #arrived: Arrived[] = [];
  #wake: PromiseWithResolvers<void> | undefined;
  #handshakes = 0;
  #failure: unknown;

  constructor({ config, info }: Pick<Connection, "config" | "info">, workflowId: string | undefined) {
    const host = config.CDKTR_PRINCIPAL_HOST;
    this.endpoint = `tcp://${host.includes(":") ? `[${host}]` : host}:${info.logs_publishing_port}`;
    this.#curve = loadCurveKeys(config, "client");
    this.#socket = new Subscriber({
      linger: 0,
      receiveHighWaterMark: 0,
      reconnectInterval: 100,
      reconnectMaxInterval: 2000,
      heartbeatInterval: 5000,
      heartbeatTimeout: 15_000,
      ...curveOptions(this.#curve),
    });
    this.#socket.subscribe(workflowId === undefined ? "" : workflowId + SEPARATOR);
  }

  get closed(): boolean {
    return this.#socket.closed;
  }

  /**
   * Connects; resolves whether the principal's publisher answered within `timeoutMs`. Later it is connected to all the same.
   * @throws AccessRefusedError when the key does not allow it; that also ends a subscription which was there
   */
  async connect(timeoutMs: number): Promise<boolean> {
    const { promise, resolve, reject } = Promise.withResolvers<boolean>();
    this.#socket.events.on("handshake", () => {
      this.#handshakes++;
      resolve(true);
    });
    const address = this.endpoint.slice("tcp://".length);
    watchHandshakes(this.#socket, this.endpoint, address, this.#curve, (error) => {
      this.#failure ??= error;
      this.close();
      reject(error);
    });
    this.#socket.connect(this.endpoint);
    void this.#receive();
    const timer = setTimeout(() => resolve(false), timeoutMs);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
    }
  }

  /** What comes; ends when the subscription is closed. */
  async *batches(): AsyncGenerator<LiveBatch> {
    for (;;) {
      const next = this.#arrived.shift();
      if (next !== undefined) {
        yield decode(next);
        continue;
      }
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#socket.closed) return;
      this.#wake = Promise.withResolvers();
      await this.#wake.promise;
    }
  }

  /** What is here already and was not read yet. */
  takeArrived(): LiveBatch[] {
    const arrived = this.#arrived;
    this.#arrived = [];
    return arrived.map(decode);
  }

  /** Ends the subscription. */
  close(): void {
    this.#socket.close();
    this.#wake?.resolve();
  }

  /** Receives at once whatever comes, so that it is known by which connection it came. */
  async #receive(): Promise<void> {
    while (!this.#socket.closed) {
      try {
        const messages = await this.#socket.receiveBatch(BATCH);
        this.#arrived.push({ connection: Math.max(0, this.#handshakes - 1), text: textOf(messages) });
      } catch (error) {
        if (this.#socket.closed) return;
        this.#failure = error;
        this.close();
      }
      this.#wake?.resolve();
    }
  }
}

/** Encoded lines with line feeds between: no line can hold one, and a million of them take the least room so. */
interface Arrived {
  readonly connection: number;
  readonly text: string;
}

function textOf(messages: readonly Message[]): string {
  return messages.map(([frame]) => frame?.toString() ?? "").join("\n");
}

function decode({ connection, text }: Arrived): LiveBatch {
  const lines: LogLine[] = [];
  for (const encoded of text.split("\n")) {
    try {
      lines.push(decodeLogLine(encoded));
    } catch {
      // A newer principal may publish what this one does not know; the history has it all the same.
    }
  }
  return { connection, lines };
}
