/** The base of whatever turns events into runs. It knows the principal only by its API. */
import type { PrincipalClient, RequestOptions } from "../protocol/client.ts";

/** How a run is asked for. */
export interface RunOptions {
  readonly params?: Readonly<Record<string, string>>;
  /** The same event always has the same key: then it makes one run, however often it is asked for. */
  readonly dedupeKey?: string;
  /** The instant that a schedule meant, ms since the epoch. */
  readonly scheduledTimeMs?: number;
}

/**
 * An event listener: waits for events and runs workflows for them.
 *
 *     class Doorbell extends EventListener {
 *       readonly name = "doorbell";
 *       async startListening(): Promise<void> {
 *         for await (const ring of rings()) await this.runWorkflow("greet", { params: { who: ring.name } });
 *       }
 *     }
 */
export abstract class EventListener {
  /** Runs have the trigger `listener:NAME`. No white space. */
  abstract readonly name: string;
  protected readonly client: PrincipalClient;

  constructor(client: PrincipalClient) {
    this.client = client;
  }

  /** Waits for events; resolves when there will be no more. */
  abstract startListening(): Promise<void>;

  /**
   * Triggers a workflow; resolves when the run is on the principal's disk.
   * @throws RequestRefusedError when there is no such workflow or the parameters do not fit
   * @throws PrincipalUnreachableError, RequestUnprocessableError, PrincipalFailedError when it cannot be done now
   */
  runWorkflow(
    workflowId: string,
    options: RunOptions = {},
    request?: RequestOptions,
  ): Promise<{ workflow_instance_id: string }> {
    return this.client.runTask(
      workflowId,
      {
        trigger: this.trigger,
        params: { ...options.params },
        dedupe_key: options.dedupeKey ?? crypto.randomUUID(),
        scheduled_time_ms: options.scheduledTimeMs ?? null,
      },
      request,
    );
  }

  /** What the runs say caused them. */
  protected get trigger(): string {
    return `listener:${this.name}`;
  }
}
