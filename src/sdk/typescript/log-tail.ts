/** The live log: lines as the principal publishes them. */
import { type CurveClientKeys, curveOptions } from "../../protocol/client.ts";
import { watchHandshakes } from "../../protocol/handshake.ts";
import { decodeLogLine, type LogLine } from "../../protocol/log-frames.ts";
import { SEPARATOR } from "../../protocol/wire.ts";
import { Subscriber } from "../../zmq/index.ts";

/** What a tail needs. */
export interface LogTailOptions {
  readonly host: string;
  /** The principal's publishing port. */
  readonly port: number;
  readonly curve?: CurveClientKeys;
  /** Without it, all workflows. */
  readonly workflowId?: string;
  /** Ends the iteration. */
  readonly signal?: AbortSignal;
}

/**
 * An async iterable over the live log; it reconnects by itself. Publishing waits for nobody: lines of a time in which there
 * was no connection are only in the history.
 */
export class LogTail implements AsyncIterable<LogLine> {
  readonly #socket: Subscriber;
  #failure: Error | undefined;
  readonly #connected = Promise.withResolvers<void>();

  constructor({ host, port, curve, workflowId, signal }: LogTailOptions) {
    this.#socket = new Subscriber({
      linger: 0,
      receiveHighWaterMark: 0,
      reconnectInterval: 100,
      reconnectMaxInterval: 2000,
      heartbeatInterval: 5000,
      heartbeatTimeout: 15_000,
      ...curveOptions(curve),
    });
    this.#socket.subscribe(workflowId === undefined ? "" : workflowId + SEPARATOR);
    this.#socket.events.on("handshake", () => this.#connected.resolve());
    const address = `${host.includes(":") ? `[${host}]` : host}:${port}`;
    watchHandshakes(this.#socket, `tcp://${address}`, address, curve, (error) => {
      this.#failure = error;
      this.close();
    });
    this.#socket.connect(`tcp://${address}`);
    if (signal?.aborted) this.close();
    else signal?.addEventListener("abort", () => this.close(), { once: true });
  }

  /** Resolves when the publisher has answered, or after `timeoutMs`; it is connected to later all the same. */
  async connected(timeoutMs: number): Promise<void> {
    const timer = setTimeout(() => this.#connected.resolve(), timeoutMs);
    await this.#connected.promise;
    clearTimeout(timer);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<LogLine> {
    try {
      for await (const [frame] of this.#socket) {
        const line = read(frame);
        if (line !== undefined) yield line;
      }
      if (this.#failure !== undefined) throw this.#failure;
    } finally {
      this.close();
    }
  }

  /** Ends the iteration. */
  close(): void {
    this.#connected.resolve();
    if (!this.#socket.closed) this.#socket.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function read(frame: Uint8Array | undefined): LogLine | undefined {
  try {
    return decodeLogLine(new TextDecoder().decode(frame));
  } catch {
    // A newer principal may publish what this version does not know.
    return undefined;
  }
}
