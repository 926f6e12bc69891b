/** Serves `/healthz` and `/metrics` over HTTP, on loopback only. */
import type { ConsolaInstance } from "consola";
import { errorMessage } from "../errors.ts";
import { HttpDoor } from "../host/http-door.ts";
import { BackgroundService } from "../service.ts";
import { CONTENT_TYPE } from "./exposition.ts";

/** Only this host: for remote monitoring, put a proxy with access control in front. */
const HOST = "127.0.0.1";
const MOST_CONNECTIONS = 64;
/** Delay between attempts to bind a port that is taken, ms. */
const RETRY_MS = 5000;

/** Options of {@link MetricsServer}. */
export interface MetricsServerOptions {
  /** The port; 0 turns the server off. */
  readonly port: number;
  /** The setting that it comes from, for the message when it is taken: `CDKTR_METRICS_PORT`. */
  readonly setting: string;
  /** The metrics page. */
  readonly page: () => Promise<string>;
  /** The health page; rejects when the process cannot do its work. */
  readonly health: () => Promise<Record<string, unknown>>;
  readonly log: ConsolaInstance;
  /** Delay between attempts to bind a port that is taken, ms; 5 s by default. */
  readonly retryMs?: number;
}

/** Serves the two pages. A taken port is not fatal: it is reported, and binding is retried. */
export class MetricsServer extends BackgroundService<{ listening: undefined }> {
  readonly name = "metrics";
  readonly #o: MetricsServerOptions;
  #server: HttpDoor | undefined;
  readonly #retry = this.timer(() => this.#tryAgain());

  constructor(options: MetricsServerOptions) {
    super();
    this.#o = options;
  }

  get #address(): string {
    return `${HOST}:${this.#o.port}`;
  }

  protected override onStart(): void {
    if (this.#o.port === 0) return;
    const address = this.#address;
    const problem = this.#listen();
    if (problem === undefined) {
      this.#o.log.info(`http://${address} has /healthz and /metrics`);
      return;
    }
    this.#o.log.warn(
      `/healthz and /metrics cannot be served at ${address}: ${problem}. Everything else works; they will be served when the port is free. ` +
        `A second process on this host needs a different ${this.#o.setting}; 0 turns them off.`,
    );
    this.#retry.every(this.#o.retryMs ?? RETRY_MS);
  }

  #tryAgain(): void {
    if (this.#listen() !== undefined) return;
    this.#retry.cancel();
    this.#o.log.success(`http://${this.#address} has /healthz and /metrics now`);
  }

  /** Binds the port, or reports why it cannot be bound. */
  #listen(): string | undefined {
    try {
      this.#server = new HttpDoor({
        hostname: HOST,
        port: this.#o.port,
        mostConnections: MOST_CONNECTIONS,
        log: this.#o.log,
        fetch: (request) => this.#answer(request),
      });
      this.signals.emit("listening");
      return undefined;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      return code === "EADDRINUSE" ? "another program has the port" : errorMessage(error);
    }
  }

  protected override async onStop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    await server?.stop();
  }

  async #answer(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname !== "/metrics" && pathname !== "/healthz") {
      return new Response("Only /healthz and /metrics exist here.\n", { status: 404 });
    }
    if (request.method !== "GET" && request.method !== "HEAD") {
      return new Response("Only GET is allowed.\n", { status: 405, headers: { Allow: "GET, HEAD" } });
    }
    try {
      if (pathname === "/healthz") return Response.json({ status: "ok", ...(await this.#o.health()) });
      return new Response(await this.#o.page(), { headers: { "Content-Type": CONTENT_TYPE } });
    } catch (error) {
      return Response.json({ status: "failing", error: errorMessage(error) }, { status: 503 });
    }
  }
}
