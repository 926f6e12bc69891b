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
import { ListenerService } from "../listener-service.ts";
import { AfterWorkflowListener } from "./after-workflow-listener.ts";
import { DeclaredListener } from "./declared-listener.ts";
import { FileListener } from "./file-listener.ts";
import { WebhookListener } from "./webhook-listener.ts";

type Kind = keyof TriggerDefinitions;

interface Served {
  readonly listener: DeclaredListener;
  readonly service: ListenerService;
}

const KINDS: readonly Kind[] = ["webhook", "file", "workflow"];
/** A listener that could not be started is tried again after this, ms. */
const RETRY_MS = 5000;

/** Webhooks, files, and runs of other workflows: a listener each, with a buffer of its own, from when the first workflow asks for it. */
export class DeclaredTriggers extends DeclaredListener implements Service {
  override readonly name = "declared triggers";
  readonly #config: Config;
  readonly #keys: () => CurveClientKeys | undefined;
  readonly #services = new Map<Kind, Served>();
  #declared: ReadonlyMap<Kind, number> | undefined;
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

  /** Whether all of its loops turn, be the principal there or not. */
  get isWell(): boolean {
    const timeoutMs = this.#config.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS;
    return [this, ...[...this.#services.values()].map(({ listener }) => listener)].every((listener) =>
      listener.isTurning(timeoutMs),
    );
  }

  /** What it serves and what waits, in a line. */
  get summary(): string {
    if (this.#declared === undefined) return "looks for the principal";
    const kinds = [...this.#declared].flatMap(([kind, count]) => (count === 0 ? [] : [`${kind} ${count}`]));
    const metrics = [...this.#services.values()].map(({ service }) => service.metrics);
    const waiting = metrics.reduce((sum, one) => sum + one.waiting, 0);
    const served =
      kinds.length === 0 ? "no workflow declares a trigger" : `workflows by trigger: ${kinds.join(", ")}`;
    return waiting === 0 ? served : `${served}; ${waiting} triggers wait for the principal`;
  }

  /** What is not delivered yet stays on disk. Safe before `start`. */
  async stop(): Promise<void> {
    if (this.#stop.signal.aborted || !this.#started) return;
    this.#stop.abort(new Error("the listeners stop"));
    clearTimeout(this.#retry);
    await this.#following;
    await this.#starting;
    await Promise.all([...this.#services.values()].map(({ service }) => service.stop()));
    await this.client.close();
  }

  protected override take(workflows: readonly WorkflowSummary[]): void {
    const counts = KINDS.map(
      (kind) => [kind, workflows.filter(({ on }) => on?.[kind] != null).length] as const,
    );
    this.#declared = new Map(counts);
    const wanted = counts.flatMap(([kind, count]) => (count > 0 ? [kind] : []));
    this.#starting = this.#starting.then(() => this.#begin(wanted));
  }

  /** Starts what is wanted and does not run; what cannot be started stops nothing else. */
  async #begin(wanted: readonly Kind[]): Promise<void> {
    for (const kind of wanted) {
      if (this.#services.has(kind) || this.#stop.signal.aborted) continue;
      const client = this.#connect();
      const listener = this.#listener(kind);
      const service = new ListenerService({
        listener,
        log: this.log,
        dataDirectory: this.#config.CDKTR_APP_DATA_DIRECTORY,
        client,
      });
      try {
        await service.start();
        this.#services.set(kind, { listener, service });
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

  #listener(kind: Kind): DeclaredListener {
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
