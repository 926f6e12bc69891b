/** The principal over HTTP, for what watches it: `/healthz` and `/metrics`, on loopback and nowhere else. */
import { CdktrError, errorMessage } from "../../errors.ts";
import type { Service } from "../../service.ts";
import { CONTENT_TYPE } from "./exposition.ts";

/** Only this host: who watches from elsewhere puts a proxy before it that knows whom to let in. */
const HOST = "127.0.0.1";

/** Options of {@link MetricsServer}. */
export interface MetricsServerOptions {
  /** The port; 0 for none. */
  readonly port: number;
  /** The page of metrics. */
  readonly page: () => Promise<string>;
  /** How the principal is; rejects when it cannot do its work. */
  readonly health: () => Promise<Record<string, unknown>>;
}

export class MetricsServer implements Service {
  readonly name = "metrics";
  readonly #o: MetricsServerOptions;
  #server: ReturnType<typeof Bun.serve> | undefined;

  constructor(options: MetricsServerOptions) {
    this.#o = options;
  }

  /** @throws CdktrError when the port is taken */
  async start(): Promise<void> {
    if (this.#o.port === 0) return;
    try {
      this.#server = Bun.serve({
        hostname: HOST,
        port: this.#o.port,
        development: false,
        // By default two programs would share the port, and each see half of the requests.
        reusePort: false,
        fetch: (request) => this.#answer(request),
      });
    } catch (error) {
      throw new CdktrError(
        `The metrics cannot be served at ${HOST}:${this.#o.port}: ${errorMessage(error)}`,
        {
          cause: error,
          hint: "Choose another port with CDKTR_METRICS_PORT, or 0 for no metrics.",
        },
      );
    }
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    await server?.stop(true);
  }

  async #answer(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname !== "/metrics" && pathname !== "/healthz") {
      return new Response("There are /healthz and /metrics.\n", { status: 404 });
    }
    if (request.method !== "GET" && request.method !== "HEAD") {
      return new Response("Only GET.\n", { status: 405, headers: { Allow: "GET, HEAD" } });
    }
    try {
      if (pathname === "/healthz") return Response.json({ status: "ok", ...(await this.#o.health()) });
      return new Response(await this.#o.page(), { headers: { "Content-Type": CONTENT_TYPE } });
    } catch (error) {
      return Response.json({ status: "failing", error: errorMessage(error) }, { status: 503 });
    }
  }
}
