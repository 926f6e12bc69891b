/** The principal's API for listeners and other programs. */
import { loadConfig } from "../../config.ts";
import type { RunDetails } from "../../contract/messages.ts";
import { type ClientOptions, PrincipalClient, type RequestOptions } from "../../protocol/client.ts";
import { clientOptions } from "../../protocol/connect.ts";
import { LogSubscription } from "../../protocol/log-subscription.ts";
import { paramTexts } from "../../workflow/param-types.ts";
import { RUN_TRANSITIONS } from "../../workflow/run-state.ts";
import { isTerminal } from "../../workflow/status.ts";
import { LogTail } from "./log-tail.ts";

/** Duration of one long poll, ms: a dead principal is noticed within this time. */
const POLL_MS = 10_000;

/** Options of a trigger. */
export interface RunWorkflowOptions {
  /** Text is passed as it is, anything else as JSON. */
  readonly params?: Readonly<Record<string, unknown>>;
  /** Idempotency key: the same event always has the same key, so that it starts one run however often it is sent. */
  readonly dedupeKey?: string;
  /** `api`, or `listener:NAME`. */
  readonly trigger?: string;
}

/** Options of a tail. */
export interface TailOptions {
  /** Ends the iteration. */
  readonly signal?: AbortSignal;
}

/** A client of a principal. It connects on the first request and reconnects by itself. */
export class Principal extends PrincipalClient {
  readonly #timeoutMs: number;

  /** @param options omitted ones come from the settings: `CDKTR_PRINCIPAL_HOST` and so on */
  constructor(options: Partial<ClientOptions> = {}) {
    const role = options.curve === undefined ? "client" : { keys: options.curve };
    const complete = clientOptions(loadConfig().values, role, {
      ...options,
      attempts: options.attempts ?? 3,
    });
    super(complete);
    this.#timeoutMs = complete.timeoutMs;
  }

  /** Triggers a workflow; resolves when the run is on the principal's disk. */
  runWorkflow(
    workflowId: string,
    options: RunWorkflowOptions = {},
    request?: RequestOptions,
  ): Promise<{ workflow_instance_id: string }> {
    return this.runTask(
      workflowId,
      {
        params: paramTexts(options.params),
        trigger: options.trigger ?? "api",
        dedupe_key: options.dedupeKey ?? crypto.randomUUID(),
      },
      request,
    );
  }

  /** Resolves with the run when it is over. */
  async wait(runId: string, request?: RequestOptions): Promise<RunDetails> {
    for (;;) {
      const run = await this.waitRun(runId, POLL_MS, request);
      if (isTerminal(RUN_TRANSITIONS, run.status)) return run;
    }
  }

  /** Live lines of one workflow or of all, as an async iterable. When this resolves, the subscription is active: no later line is missed. */
  async tailLogs(workflowId?: string, options: TailOptions = {}): Promise<LogTail> {
    const info = await this.info({ signal: options.signal });
    const subscription = new LogSubscription({
      client: this,
      port: info.logs_publishing_port,
      workflowId,
    });
    options.signal?.addEventListener("abort", () => subscription.close(), { once: true });
    await subscription.connect(this.#timeoutMs);
    return new LogTail(this, subscription, workflowId);
  }
}
