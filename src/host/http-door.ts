/**
 * An HTTP server that untrusted clients cannot exhaust: one request per connection, a deadline for each connection regardless of how
 * slowly it sends or reads, and a maximum number of connections. Bun's server has none of these, so connections are closed through the
 * kernel.
 */
import type { ConsolaInstance } from "consola";
import { isDoneWithin, Timer } from "../timer.ts";
import { descriptorLimit, endConnections } from "./connections.ts";

/** Maximum duration of a connection, ms. */
const DEADLINE_MS = 10_000;
/** Interval between checks, ms. */
const CHECK_MS = 1000;
/** The share of the process's file descriptors that connections may use. */
const SHARE = 0.05;
const LEAST_CONNECTIONS = 8;

export interface HttpDoorOptions {
  readonly hostname: string;
  readonly port: number;
  readonly fetch: (request: Request, peer: string) => Promise<Response>;
  readonly error?: (error: Error) => Response;
  readonly maxRequestBodySize?: number;
  /** Maximum number of connections, if the limit of open files does not require a lower one. */
  readonly mostConnections: number;
  readonly log: ConsolaInstance;
  /** Maximum duration of a connection, ms; 10 s by default. */
  readonly deadlineMs?: number;
}

export class HttpDoor {
  readonly port: number;
  readonly #server: Bun.Server<undefined>;
  readonly #mostConnections: number;
  readonly #deadlineMs: number;
  readonly #log: ConsolaInstance;
  /** When each connection was first seen. */
  #since = new Map<bigint, number>();
  #hasTold = false;
  readonly #checks = new Timer(() => this.#check());

  /** Binds the port. @throws the error of the system */
  constructor(options: HttpDoorOptions) {
    const { hostname, port, fetch, error, maxRequestBodySize, log } = options;
    this.#log = log;
    this.#deadlineMs = options.deadlineMs ?? DEADLINE_MS;
    this.#mostConnections = Math.max(
      LEAST_CONNECTIONS,
      Math.min(options.mostConnections, Math.floor(descriptorLimit() * SHARE)),
    );
    this.#server = Bun.serve({
      hostname,
      port,
      development: false,
      // By default, two programs would share the port and each would receive half of the requests.
      reusePort: false,
      idleTimeout: Math.ceil(this.#deadlineMs / 1000),
      ...(maxRequestBodySize === undefined ? {} : { maxRequestBodySize }),
      fetch: async (request, server) => {
        const response = await fetch(request, server.requestIP(request)?.address ?? "");
        response.headers.set("Connection", "close");
        return response;
      },
      ...(error === undefined ? {} : { error }),
    });
    this.port = this.#server.port ?? port;
    this.#checks.every(Math.min(CHECK_MS, this.#deadlineMs / 4));
  }

  /** Waits up to `graceMs` for requests in progress; closes other connections at once. */
  async stop(graceMs = 0): Promise<void> {
    this.#checks.cancel();
    if (graceMs > 0) await isDoneWithin(graceMs, this.#server.stop());
    await this.#server.stop(true);
  }

  #check(): void {
    const now = performance.now();
    const before = this.#since;
    this.#since = new Map();
    const ports = new Set([this.port]);
    endConnections(ports, ({ id }) => {
      if (id === undefined) return false;
      const since = before.get(id) ?? now;
      const isLate = now - since > this.#deadlineMs;
      if (!isLate) this.#since.set(id, since);
      return isLate;
    });
    const excess = this.#since.size - this.#mostConnections;
    if (excess <= 0) return;
    // The oldest are closed: they had the most time, and the newest may have just been opened.
    const oldest = new Set(
      [...this.#since]
        .sort(([, a], [, b]) => a - b)
        .slice(0, excess)
        .map(([id]) => id),
    );
    endConnections(ports, ({ id }) => id !== undefined && oldest.has(id));
    if (this.#hasTold) return;
    this.#hasTold = true;
    this.#log.warn(
      `More than ${this.#mostConnections} HTTP connections at port ${this.port}: the oldest are closed. Is a client holding them open? ` +
        "This message is not repeated.",
    );
  }
}
