/** Log lines as the principal publishes them. */
import { CdktrError } from "../../errors.ts";
import { decodeLogLine, type LogLine } from "../../protocol/log-frames.ts";
import { SEPARATOR } from "../../protocol/wire.ts";
import { Subscriber } from "../../zmq/index.ts";
import type { Connection } from "./connect.ts";

const BATCH = 1000;

/** A subscription to the live log of one workflow, or of all. */
export class LiveLog {
  /** `tcp://HOST:PORT` of the publishing socket. */
  readonly endpoint: string;
  readonly #socket = new Subscriber({
    linger: 0,
    // A reader that is slower than the tasks (a pager) queues here instead of losing lines.
    receiveHighWaterMark: 0,
    reconnectInterval: 100,
    reconnectMaxInterval: 2000,
    heartbeatInterval: 5000,
    heartbeatTimeout: 15_000,
  });
  #iterating = false;

  constructor({ config, info }: Pick<Connection, "config" | "info">, workflowId: string | undefined) {
    const host = config.CDKTR_PRINCIPAL_HOST;
    this.endpoint = `tcp://${host.includes(":") ? `[${host}]` : host}:${info.logs_publishing_port}`;
    this.#socket.subscribe(workflowId === undefined ? "" : workflowId + SEPARATOR);
  }

  /** Connects; resolves whether the principal's publisher answered within `timeoutMs`. Later it is connected to all the same. */
  async connect(timeoutMs: number): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const onHandshake = () => resolve(true);
    this.#socket.events.on("handshake", onHandshake);
    this.#socket.connect(this.endpoint);
    const timer = setTimeout(() => resolve(false), timeoutMs);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#socket.events.off("handshake", onHandshake);
    }
  }

  /** Lines as they come, several at a time when they come fast; ends when the subscription is closed. */
  async *batches(): AsyncGenerator<LogLine[]> {
    if (this.#iterating) throw new CdktrError("The live log is being read already.");
    this.#iterating = true;
    while (!this.#socket.closed) {
      let messages: Awaited<ReturnType<Subscriber["receiveBatch"]>>;
      try {
        messages = await this.#socket.receiveBatch(BATCH);
      } catch (error) {
        if (this.#socket.closed) return;
        throw error;
      }
      yield decode(messages);
    }
  }

  /** Lines that are here already and were not read yet. Only while {@link batches} does not wait. */
  takeArrived(): LogLine[] {
    const lines: LogLine[] = [];
    for (;;) {
      const messages = this.#socket.tryReceiveBatch(BATCH);
      if (messages.length === 0) return lines;
      lines.push(...decode(messages));
    }
  }

  get closed(): boolean {
    return this.#socket.closed;
  }

  /** Ends the subscription. */
  close(): void {
    this.#socket.close();
  }
}

function decode(messages: readonly (readonly Uint8Array[])[]): LogLine[] {
  const lines: LogLine[] = [];
  for (const [frame] of messages) {
    if (frame === undefined) continue;
    try {
      lines.push(decodeLogLine(Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength).toString()));
    } catch {
      // A newer principal may publish what this one does not know; the history has it all the same.
    }
  }
  return lines;
}
