/**
 * An HTTP server that untrusted clients cannot exhaust: one request per connection, a deadline for each connection regardless of how
 * slowly it sends or reads, and a maximum number of connections, which is enforced when one is accepted. Bun's server has none of these,
 * and says nothing about a connection before its request is there.
 */
import { STATUS_CODES } from "node:http";
import type { ConsolaInstance } from "consola";
import { isDoneWithin, Timer } from "../timer.ts";
import { descriptorLimit } from "./connections.ts";
import { HttpRequestError, type RequestHead, RequestReader } from "./http-request.ts";

/** Maximum duration of a connection, ms. */
const DEADLINE_MS = 10_000;
/** The share of the process's file descriptors that connections may use. */
const SHARE = 0.05;
const LEAST_CONNECTIONS = 8;
const DEFAULT_BODY_LIMIT = 1024 * 1024;

export interface HttpDoorOptions {
  readonly hostname: string;
  readonly port: number;
  /** Called when the head of a request has arrived. */
  readonly fetch: (request: Request, peer: string) => Promise<Response>;
  /** The reply when `fetch` throws. */
  readonly error?: (error: Error) => Response;
  /** Bytes; 1 MiB by default. */
  readonly maxRequestBodySize?: number;
  /** Maximum number of connections, if the limit of open files does not require a lower one. */
  readonly mostConnections: number;
  readonly log: ConsolaInstance;
  /** Maximum duration of a connection, ms; 10 s by default. */
  readonly deadlineMs?: number;
}

/** A connection, from its acceptance until it is closed. */
interface Visit {
  readonly until: number;
  readonly reader: RequestReader;
  /** `reading`: its head is incomplete. `answering`: someone handles it. `leaving`: its reply is on the way, or it is closed. */
  stage: "reading" | "answering" | "leaving";
  /** A reply was decided on; there is only one. */
  hasReply: boolean;
  /** The peer will send nothing more. */
  isPeerDone: boolean;
  /** Receives the body. */
  body: ReadableStreamDefaultController<Uint8Array> | undefined;
  /** What the peer has not taken yet. */
  unsent: Uint8Array;
}

type Connection = Bun.Socket<Visit>;

export class HttpDoor {
  readonly port: number;
  readonly #o: HttpDoorOptions;
  readonly #listener: Bun.TCPSocketListener<Visit>;
  readonly #mostConnections: number;
  readonly #deadlineMs: number;
  /** The oldest first. */
  readonly #visits = new Set<Connection>();
  readonly #deadline = new Timer(() => this.#endLate());
  #empty: PromiseWithResolvers<void> | undefined;
  #hasTold = false;

  /** Binds the port. @throws the error of the system */
  constructor(options: HttpDoorOptions) {
    this.#o = options;
    this.#deadlineMs = options.deadlineMs ?? DEADLINE_MS;
    this.#mostConnections = Math.max(
      LEAST_CONNECTIONS,
      Math.min(options.mostConnections, Math.floor(descriptorLimit() * SHARE)),
    );
    this.#listener = Bun.listen<Visit>({
      hostname: options.hostname,
      port: options.port,
      exclusive: true,
      // A client may close its side once it has sent its request.
      allowHalfOpen: true,
      socket: {
        open: (connection) => this.#open(connection),
        data: (connection, bytes) => this.#read(connection, bytes),
        drain: (connection) => this.#write(connection),
        end: (connection) => this.#readToEnd(connection),
        close: (connection) => this.#gone(connection),
        error: (connection) => this.#end(connection),
      },
    });
    this.port = this.#listener.port;
  }

  /** Waits up to `graceMs` for requests in progress; closes other connections at once. */
  async stop(graceMs = 0): Promise<void> {
    this.#listener.stop();
    for (const connection of this.#visits) if (connection.data.stage === "reading") this.#end(connection);
    if (this.#visits.size > 0 && graceMs > 0) {
      this.#empty = Promise.withResolvers<void>();
      await isDoneWithin(graceMs, this.#empty.promise);
    }
    for (const connection of this.#visits) this.#end(connection);
    this.#deadline.cancel();
    this.#listener.stop(true);
  }

  #open(connection: Connection): void {
    connection.data = {
      until: performance.now() + this.#deadlineMs,
      reader: new RequestReader(this.#o.maxRequestBodySize ?? DEFAULT_BODY_LIMIT),
      stage: "reading",
      hasReply: false,
      isPeerDone: false,
      body: undefined,
      unsent: new Uint8Array(),
    };
    if (this.#visits.size >= this.#mostConnections) this.#tellCrowd();
    if (this.#visits.size >= this.#mostConnections && !this.#endOldest()) {
      connection.terminate();
      return;
    }
    this.#visits.add(connection);
    this.#deadline.within(this.#deadlineMs);
  }

  /** Makes room. The oldest had the most time, and the newest may have just been opened; one whose request is there is left alone while it is handled. */
  #endOldest(): boolean {
    for (const connection of this.#visits) {
      const { stage, reader } = connection.data;
      if (stage === "answering" && reader.isDone) continue;
      this.#end(connection);
      return true;
    }
    return false;
  }

  #tellCrowd(): void {
    if (this.#hasTold) return;
    this.#hasTold = true;
    this.#o.log.warn(
      `More than ${this.#mostConnections} HTTP connections at port ${this.port}: the oldest are closed. Is a client holding them open? ` +
        "This message is not repeated.",
    );
  }

  #endLate(): void {
    const now = performance.now();
    for (const connection of this.#visits) {
      const left = connection.data.until - now;
      if (left > 0) {
        this.#deadline.in(left);
        return;
      }
      this.#end(connection);
    }
  }

  /** Closes a connection at once: what its peer has not read is dropped. */
  #end(connection: Connection): void {
    this.#gone(connection);
    connection.terminate();
  }

  #gone(connection: Connection): void {
    if (!this.#visits.delete(connection)) return;
    const { data } = connection;
    data.stage = "leaving";
    data.body?.error(new Error("the connection was closed"));
    data.body = undefined;
    if (this.#visits.size > 0) return;
    this.#deadline.cancel();
    this.#empty?.resolve();
  }

  #read(connection: Connection, bytes: Uint8Array): void {
    const { data } = connection;
    // It is read and dropped until the peer is done: closing before that could cost it the reply.
    if (data.stage === "leaving") return;
    try {
      const pieces = data.reader.push(bytes);
      if (data.stage === "reading" && data.reader.head !== undefined)
        this.#serve(connection, data.reader.head);
      for (const piece of pieces) data.body?.enqueue(piece);
      if (!data.reader.isDone) return;
      data.body?.close();
      data.body = undefined;
    } catch (error) {
      if (!(error instanceof HttpRequestError)) throw error;
      data.body?.error(error);
      data.body = undefined;
      void this.#reply(connection, Response.json({ error: error.message }, { status: error.status }));
    }
  }

  #readToEnd(connection: Connection): void {
    const { data } = connection;
    data.isPeerDone = true;
    // Whoever leaves without a complete request gets no reply.
    if (!data.reader.isDone && data.stage !== "leaving") this.#end(connection);
    else this.#write(connection);
  }

  #serve(connection: Connection, head: RequestHead): void {
    const { data } = connection;
    data.stage = "answering";
    const { method, url, headers } = head;
    const isBodiless = method === "GET" || method === "HEAD";
    let body: ReadableStream<Uint8Array> | undefined;
    if (head.hasBody && !isBodiless) {
      body = new ReadableStream<Uint8Array>({
        start: (controller) => {
          data.body = controller;
        },
        cancel: () => {
          data.body = undefined;
        },
      });
      if (head.awaitsContinue) this.#send(connection, Buffer.from("HTTP/1.1 100 Continue\r\n\r\n"));
    }
    void this.#answer(
      method,
      () => new Request(url.href, { method, headers, body }),
      connection.remoteAddress,
    ).then((response) => this.#reply(connection, response, method !== "HEAD"));
  }

  async #answer(method: string, request: () => Request, peer: string): Promise<Response> {
    try {
      return await this.#o.fetch(request(), peer);
    } catch (error) {
      const known = error instanceof Error ? error : new Error(String(error));
      return this.#o.error?.(known) ?? new Response(`${method} failed\n`, { status: 500 });
    }
  }

  async #reply(connection: Connection, response: Response, withBody = true): Promise<void> {
    const { data } = connection;
    if (data.hasReply) return;
    data.hasReply = true;
    const body = new Uint8Array(await response.arrayBuffer());
    data.stage = "leaving";
    const { status, headers } = response;
    headers.set("Connection", "close");
    headers.set("Content-Length", String(body.length));
    const lines = [`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}`];
    for (const [name, value] of headers) lines.push(`${name}: ${value}`);
    const head = Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
    this.#send(connection, withBody ? Buffer.concat([head, body]) : head);
  }

  #send(connection: Connection, bytes: Uint8Array): void {
    const { data } = connection;
    data.unsent = data.unsent.length === 0 ? bytes : Buffer.concat([data.unsent, bytes]);
    this.#write(connection);
  }

  #write(connection: Connection): void {
    const { data } = connection;
    if (!this.#visits.has(connection)) return;
    while (data.unsent.length > 0) {
      const written = connection.write(data.unsent);
      if (written <= 0) return;
      data.unsent = data.unsent.subarray(written);
    }
    if (data.stage !== "leaving") return;
    // Otherwise the peer closes its side when it has read everything, which ends the connection.
    if (data.isPeerDone) connection.end();
    else connection.shutdown();
  }
}
