/** Everything that workflow files declare under `on:`, served. */
import { join } from "node:path";
import type { ConsolaInstance } from "consola";
import type { Config } from "../../config.ts";
import { errorMessage } from "../../errors.ts";
import { log as processLog } from "../../log.ts";
import { type CurveClientKeys, PrincipalClient } from "../../protocol/client.ts";
import type { WorkflowSummary } from "../../protocol/messages.ts";
import type { Service } from "../../service.ts";
import type { TriggerDefinitions } from "../../workflow/model.ts";
import type { EventListener } from "../event-listener.ts";
import { ListenerService } from "../listener-service.ts";
import { AfterWorkflowListener } from "./after-workflow-listener.ts";
import { DeclaredListener } from "./declared-listener.ts";
import { FileListener } from "./file-listener.ts";
import { WebhookListener } from "./webhook-listener.ts";

type Kind = keyof TriggerDefinitions;

const KINDS: readonly Kind[] = ["webhook", "file", "workflow"];
/** A listener that could not be started is tried again after this, ms. */
const RETRY_MS = 5000;

/** Webhooks, files, and runs of other workflows: a listener each, with a buffer of its own, from when the first workflow asks for it. */
export class DeclaredTriggers extends DeclaredListener implements Service {
  override readonly name = "declared triggers";
  readonly #config: Config;
  readonly #keys: () => CurveClientKeys | undefined;
  readonly #services = new Map<Kind, ListenerService>();
  readonly #stop = new AbortController();
  #started = false;
  #following: Promise<void> = Promise.resolve();
  #starting: Promise<void> = Promise.resolve();
  #retry: Timer | undefined;

  /** @param keys with which a secured principal is reached; asked for when it starts */
  constructor(config: Config, keys: () => CurveClientKeys | undefined) {
    super(processLog.withTag("listeners"));
    this.#config = config;
    this.#keys = keys;
  }

  /** Begins to serve; does not wait for the principal. */
  async start(): Promise<void> {
    this.#started = true;
    this.attach({ client: this.#connect(), signal: this.#stop.signal });
    this.#following = this.startListening();
  }

  /** What is not delivered yet stays on disk. Safe before `start`. */
  async stop(): Promise<void> {
    if (this.#stop.signal.aborted || !this.#started) return;
    this.#stop.abort(new Error("the listeners stop"));
    clearTimeout(this.#retry);
    await this.#following;
    await this.#starting;
    await Promise.all([...this.#services.values()].map((service) => service.stop()));
    await this.client.close();
  }

  protected override take(workflows: readonly WorkflowSummary[]): void {
    const wanted = KINDS.filter((kind) => workflows.some(({ on }) => on?.[kind] != null));
    this.#starting = this.#starting.then(() => this.#begin(wanted));
  }

  /** Starts what is wanted and does not run; what cannot be started stops nothing else. */
  async #begin(wanted: readonly Kind[]): Promise<void> {
    for (const kind of wanted) {
      if (this.#services.has(kind) || this.#stop.signal.aborted) continue;
      const client = this.#connect();
      const service = new ListenerService({
        listener: this.#listener(kind),
        log: this.log,
        dataDirectory: this.#config.CDKTR_APP_DATA_DIRECTORY,
        client,
      });
      try {
        await service.start();
        this.#services.set(kind, service);
      } catch (error) {
        this.log.error(`The triggers "${kind}" cannot be served: ${errorMessage(error)}`);
        await client.close();
        clearTimeout(this.#retry);
        this.#retry = setTimeout(() => {
          this.#starting = this.#starting.then(() => this.#begin(wanted));
        }, RETRY_MS);
      }
    }
  }

  #listener(kind: Kind): EventListener {
    const log: ConsolaInstance = processLog.withTag(kind);
    switch (kind) {
      case "webhook":
        return new WebhookListener({
          host: this.#config.CDKTR_WEBHOOK_HOST,
          port: this.#config.CDKTR_WEBHOOK_PORT,
          log,
        });
      case "file":
        return new FileListener({ log });
      case "workflow":
        return new AfterWorkflowListener({
          log,
          directory: join(this.#config.CDKTR_APP_DATA_DIRECTORY, "listeners", "workflow"),
        });
    }
  }

  #connect(): PrincipalClient {
    const curve = this.#keys();
    return new PrincipalClient({
      ...(curve === undefined ? {} : { curve }),
      host: this.#config.CDKTR_PRINCIPAL_HOST,
      port: this.#config.CDKTR_PRINCIPAL_PORT,
      timeoutMs: this.#config.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS,
    });
  }
}
