/** Lines as the principal publishes them. */
import { type CurveClientKeys, curveOptions } from "../../protocol/client.ts";
import { watchHandshakes } from "../../protocol/handshake.ts";
import { decodeLogLine, type LogLine } from "../../protocol/log-frames.ts";
import { SEPARATOR } from "../../protocol/wire.ts";
import { Subscriber } from "../../zmq/index.ts";

const BATCH = 1000;

/** What to subscribe to, and who is told. */
export interface LiveLinesOptions {
  readonly host: string;
  /** The principal's publishing port. */
  readonly port: number;
  readonly curve: CurveClientKeys | undefined;
  /** Only lines of this workflow. */
  readonly workflowId: string | undefined;
  /** Called with lines in the order in which they came. */
  readonly lines: (lines: LogLine[]) => void;
  /** Called when the connection is there again after it was lost: lines may have been missed. */
  readonly reconnected: () => void;
}

/** A subscription; it reconnects by itself. */
export class LiveLines {
  readonly #options: LiveLinesOptions;
  readonly #socket: Subscriber;
  #receiving: Promise<void> = Promise.resolve();

  constructor(options: LiveLinesOptions) {
    this.#options = options;
    this.#socket = new Subscriber({
      linger: 0,
      receiveHighWaterMark: 0,
      reconnectInterval: 100,
      reconnectMaxInterval: 2000,
      heartbeatInterval: 5000,
      heartbeatTimeout: 15_000,
      ...curveOptions(options.curve),
    });
    this.#socket.subscribe(options.workflowId === undefined ? "" : options.workflowId + SEPARATOR);
  }

  /** Connects; resolves when the publisher answered, or after `timeoutMs` without it. */
  async connect(timeoutMs: number): Promise<void> {
    const { host, port, curve, reconnected } = this.#options;
    const { promise, resolve } = Promise.withResolvers<void>();
    let handshakes = 0;
    this.#socket.events.on("handshake", () => {
      if (handshakes++ > 0) reconnected();
      resolve();
    });
    const address = `${host.includes(":") ? `[${host}]` : host}:${port}`;
    // The feed of the principal says what is wrong with the key; here the database has the lines.
    watchHandshakes(this.#socket, `tcp://${address}`, address, curve, () => resolve());
    this.#socket.connect(`tcp://${address}`);
    this.#receiving = this.#receive();
    const timer = setTimeout(resolve, timeoutMs);
    await promise;
    clearTimeout(timer);
  }

  /** Ends the subscription. */
  async close(): Promise<void> {
    this.#socket.close();
    await this.#receiving;
  }

  async #receive(): Promise<void> {
    while (!this.#socket.closed) {
      let messages: readonly (readonly Uint8Array[])[];
      try {
        messages = await this.#socket.receiveBatch(BATCH);
      } catch (error) {
        if (this.#socket.closed) return;
        throw error;
      }
      const lines = messages.flatMap(decode);
      if (lines.length > 0) this.#options.lines(lines);
    }
  }
}

function decode([frame]: readonly Uint8Array[]): LogLine[] {
  if (frame === undefined) return [];
  try {
    return [decodeLogLine(Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength).toString())];
  } catch {
    // A newer principal may publish what this one does not know; the history has it all the same.
    return [];
  }
}
