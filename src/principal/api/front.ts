/** What a process that serves requests shows to the outside: the API, the pages for monitoring, and a guard of what strangers can use up. */
import type { ConsolaInstance } from "consola";
import type { Config } from "../../config.ts";
import { ResourceGuard } from "../../host/resource-guard.ts";
import { MetricsServer, type MetricsServerOptions } from "../../metrics/metrics-server.ts";
import type { Service } from "../../service.ts";
import { Api } from "./api.ts";
import type { ApiTarget } from "./api-target.ts";
import type { Entrance } from "./entrance.ts";

/** What {@link Front} needs. */
export interface FrontOptions {
  readonly config: Config;
  readonly entrance: Entrance;
  /** Answers the requests. */
  readonly target: ApiTarget;
  /** Whether other members pass requests on to it. */
  readonly isMember?: boolean;
  readonly pages: Pick<MetricsServerOptions, "page" | "health">;
  readonly log: ConsolaInstance;
}

export class Front {
  readonly #api: Api;
  /** To be started in this order; those who may connect are known before. */
  readonly services: readonly Service[];

  constructor({ config, entrance, target, isMember = false, pages, log }: FrontOptions) {
    const { access, locals } = entrance;
    this.#api = new Api({
      host: config.CDKTR_PRINCIPAL_HOST,
      port: config.CDKTR_PRINCIPAL_PORT,
      log: log.withTag("api"),
      access,
      locals,
      target,
      isMember,
    });
    const guard = new ResourceGuard({
      doors: () => [
        { port: this.port, share: 0.8 },
        { port: config.CDKTR_WEBHOOK_PORT, share: 0.05 },
        { port: config.CDKTR_METRICS_PORT, share: 0.05 },
      ],
      log: log.withTag("principal"),
    });
    const metricsServer = new MetricsServer({
      port: config.CDKTR_METRICS_PORT,
      setting: "CDKTR_METRICS_PORT",
      log: log.withTag("metrics"),
      ...pages,
    });
    this.services = [this.#api, guard, metricsServer];
  }

  /** The port of the API, once it is bound. */
  get port(): number {
    return this.#api.port;
  }
}
