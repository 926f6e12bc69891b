/** Serves everything that workflow files declare: `cron`, and the triggers under `on:`. */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import type { Config } from "../../config.ts";
import type { ListenerStatus } from "../../contract/messages.ts";
import { FileHelper } from "../../host/file-helper/file-helper.ts";
import type { PrincipalClient } from "../../protocol/client.ts";
import { BackgroundService } from "../../service.ts";
import { hasSchedule } from "../../workflow/schedules.ts";
import { listenerDirectory } from "../listener-file.ts";
import { ListenerReports } from "../listener-reports.ts";
import { type CountedDelivery, ListenerService } from "../listener-service.ts";
import { Scheduler } from "../scheduler.ts";
import { AfterWorkflowListener, type SharedCursor } from "./after-workflow-listener.ts";
import type { DeclarationSource, DeclaredWorkflow } from "./declaration-source.ts";
import { DeclaredListener } from "./declared-listener.ts";
import { FileListener } from "./file-listener.ts";
import { WebhookListener } from "./webhook-listener.ts";
import { WorkflowFeed } from "./workflow-feed.ts";

/** The kinds of declared triggers. */
export const TRIGGER_KINDS = ["cron", "webhook", "file", "workflow"] as const;
export type TriggerKind = (typeof TRIGGER_KINDS)[number];

/** What it needs. */
export interface DeclaredTriggersOptions {
  readonly config: Config;
  readonly kinds: readonly TriggerKind[];
  /** Creates a connection to the principal; called at start, and for each listener. */
  readonly connect: () => PrincipalClient;
  readonly log: ConsolaInstance;
  readonly clock?: Clock;
  /** Where it reads the workflows; by default the principal. */
  readonly declarations?: DeclarationSource;
  /** See {@link DeclaredListener.refreshMs}. */
  readonly refreshMs?: number;
  /** Where firings of schedules go; by default through a buffer on disk to the principal. */
  readonly direct?: CountedDelivery;
  /** How far `on: workflow` is; by default a file in the data directory says so. */
  readonly cursor?: SharedCursor;
  /** Reads the secrets of webhooks; by default one of its own. */
  readonly files?: FileHelper;
}

interface Served {
  readonly listener: DeclaredListener;
  readonly service: ListenerService;
}

/** Follows the workflows, and publishes the current ones. */
class Declarations extends DeclaredListener {
  readonly #changed: (workflows: readonly DeclaredWorkflow[]) => void;

  constructor(
    log: ConsolaInstance,
    changed: (workflows: readonly DeclaredWorkflow[]) => void,
    source: DeclarationSource | undefined,
  ) {
    super(log, undefined, source);
    this.#changed = changed;
  }

  protected override take(workflows: readonly DeclaredWorkflow[]): void {
    this.#changed(workflows);
  }
}

/** One listener per kind, with its own buffer, created when the first workflow needs it. */
export class DeclaredTriggers extends BackgroundService {
  readonly name = "declared triggers";
  readonly #log: ConsolaInstance;
  readonly #declarations: Declarations;
  readonly #o: DeclaredTriggersOptions;
  readonly #services = new Map<TriggerKind, Served>();
  readonly #feed = new WorkflowFeed();
  #declared: ReadonlyMap<TriggerKind, number> | undefined;
  #following: Promise<void> = Promise.resolve();
  #reports: ListenerReports | undefined;
  #ownFiles: FileHelper | undefined;

  constructor(options: DeclaredTriggersOptions) {
    super(options.clock);
    this.#o = options;
    this.#log = options.log.withTag("listeners");
    this.#declarations = new Declarations(
      this.#log,
      (workflows) => this.#serve(workflows),
      options.declarations,
    );
    this.#refreshAsTold(this.#declarations);
  }

  /** The state of its listeners. */
  get statuses(): ListenerStatus[] {
    return [...this.#services.values()].map(({ service }) => service.status);
  }

  /** Starts serving; does not wait for the principal. */
  protected override onStart(): void {
    const client = this.#o.connect();
    this.#reports = new ListenerReports({ client, statuses: () => this.statuses, log: this.#log });
    this.#declarations.attach({ client, signal: this.stopSignal });
    this.#following = this.#declarations.startListening();
  }

  /** Whether all of its loops are running, with or without the principal. */
  isWell(nowMs = performance.now()): boolean {
    const timeoutMs = this.#o.config.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS;
    const running = [...this.#services.values()].filter(({ service }) => service.status.state === "running");
    return [this.#declarations, ...running.map(({ listener }) => listener)].every((one) =>
      one.isTurning(timeoutMs, nowMs),
    );
  }

  /** A one-line summary of what it serves and what is buffered. */
  get summary(): string {
    if (this.#declared === undefined) return "looks for the principal";
    const kinds = [...this.#declared].flatMap(([kind, count]) => (count === 0 ? [] : [`${kind} ${count}`]));
    const waiting = this.statuses.reduce((sum, { buffered }) => sum + buffered, 0);
    const served =
      kinds.length === 0 ? "no workflow declares a trigger" : `workflows by trigger: ${kinds.join(", ")}`;
    return waiting === 0 ? served : `${served}; ${waiting} triggers wait for the principal`;
  }

  /** Answers a request for a webhook that arrived elsewhere; see {@link WebhookListener.answer}. */
  async webhook(request: Request, peer: string, key: string | null): Promise<Response> {
    const served = this.#services.get("webhook")?.listener;
    if (served instanceof WebhookListener) return served.answer(request, peer, key);
    const isKnown = this.#declared !== undefined;
    return Response.json(
      { error: isKnown ? "no workflow has a webhook" : "webhooks are not served yet" },
      { status: isKnown ? 404 : 503, headers: isKnown ? {} : { "Retry-After": "1" } },
    );
  }

  /** Undelivered triggers stay on disk. */
  protected override async onStop(): Promise<void> {
    await this.#following;
    await Promise.all([...this.#services.values()].map(({ service }) => service.stop()));
    await this.#reports?.stop();
    await this.#declarations.client.close();
    this.#ownFiles?.close();
    this.#ownFiles = undefined;
  }

  #serve(workflows: readonly DeclaredWorkflow[]): void {
    this.#feed.publish(workflows);
    const declares = (kind: TriggerKind, workflow: DeclaredWorkflow) =>
      kind === "cron" ? hasSchedule(workflow) : workflow.on?.[kind] != null;
    this.#declared = new Map(
      this.#o.kinds.map((kind) => [kind, workflows.filter((workflow) => declares(kind, workflow)).length]),
    );
    for (const [kind, count] of this.#declared) {
      if (count === 0 || this.#services.has(kind)) continue;
      const listener = this.#listener(kind);
      this.#refreshAsTold(listener);
      const service = new ListenerService({
        listener,
        log: this.#log,
        dataDirectory: this.#o.config.CDKTR_APP_DATA_DIRECTORY,
        client: this.#o.connect(),
        restarts: true,
        ...(kind === "cron" && this.#o.direct !== undefined ? { direct: this.#o.direct } : {}),
        ...(this.#o.clock === undefined ? {} : { clock: this.#o.clock }),
      });
      service.signals.on("changed", () => this.#reports?.changed());
      if (this.#services.size === 0) void this.#reports?.start();
      this.#services.set(kind, { listener, service });
      void service.start();
    }
  }

  #refreshAsTold(listener: DeclaredListener): void {
    if (this.#o.refreshMs !== undefined) listener.refreshMs = this.#o.refreshMs;
  }

  #listener(kind: TriggerKind): DeclaredListener {
    const { config, clock } = this.#o;
    const timed = clock === undefined ? {} : { clock };
    const feed = this.#feed;
    switch (kind) {
      case "cron":
        return new Scheduler({
          log: this.#o.log.withTag("scheduler"),
          pollMs: config.CDKTR_SCHEDULER_START_POLL_FREQUENCY_MS,
          feed,
          ...timed,
        });
      case "webhook":
        return new WebhookListener({
          host: config.CDKTR_WEBHOOK_HOST,
          port: config.CDKTR_WEBHOOK_PORT,
          directory: listenerDirectory(config.CDKTR_APP_DATA_DIRECTORY, kind),
          log: this.#o.log.withTag(kind),
          files: this.#o.files ?? this.#startFiles(),
          feed,
        });
      case "file":
        return new FileListener({
          log: this.#o.log.withTag(kind),
          directory: listenerDirectory(config.CDKTR_APP_DATA_DIRECTORY, kind),
          feed,
        });
      case "workflow":
        return new AfterWorkflowListener({
          log: this.#o.log.withTag(kind),
          directory: listenerDirectory(config.CDKTR_APP_DATA_DIRECTORY, kind),
          cursor: this.#o.cursor,
          feed,
        });
    }
  }

  #startFiles(): FileHelper {
    this.#ownFiles = new FileHelper();
    this.#ownFiles.signals.on("warning", (text) => this.#log.warn(text));
    return this.#ownFiles;
  }
}
