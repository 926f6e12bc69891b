/** Tells the principal how the listeners of this process are. */
import { hostname } from "node:os";
import type { ConsolaInstance } from "consola";
import type { ListenerStatus } from "../contract/messages.ts";
import { errorMessage } from "../errors.ts";
import { type PrincipalClient, RequestRefusedError } from "../protocol/client.ts";
import { BackgroundService } from "../service.ts";
import { pause } from "../timer.ts";

/** Between two reports, ms; the longer one while nothing changes. */
const INTERVAL_MS = 5000;
const CHANGED_MS = 1000;
/** How long the last report may take, ms. */
const LAST_MS = 500;

/** What it needs. */
export interface ListenerReportsOptions {
  /** It is not closed. */
  readonly client: PrincipalClient;
  readonly statuses: () => readonly ListenerStatus[];
  readonly log: ConsolaInstance;
}

/** Reports every few seconds, soon after a trigger, and at once when a state changed. */
export class ListenerReports extends BackgroundService<{ reported: undefined }> {
  readonly name = "reports of listeners";
  readonly #options: ListenerReportsOptions;
  readonly #sourceId = crypto.randomUUID();
  #wake = new AbortController();
  #heard = false;
  #reporting: Promise<void> = Promise.resolve();

  constructor(options: ListenerReportsOptions) {
    super();
    this.#options = options;
  }

  protected override onStart(): void {
    this.#reporting = this.#report();
  }

  /** The state of a listener is another one. */
  changed(): void {
    this.#wake.abort();
  }

  protected override async onStop(): Promise<void> {
    this.#wake.abort();
    await this.#reporting;
    // A principal that is away is not waited for.
    if (this.#heard) await this.#send({ timeoutMs: LAST_MS }).catch(() => {});
  }

  async #report(): Promise<void> {
    const signal = this.stopSignal;
    while (!signal.aborted) {
      this.#wake = new AbortController();
      try {
        await this.#send({ signal });
        this.#heard = true;
        this.signals.emit("reported");
      } catch (error) {
        if (signal.aborted) return;
        this.#heard = false;
        this.#options.log.debug(`The state of the listeners cannot be reported: ${errorMessage(error)}`);
        // A principal of before, which knows no such verb, or a key that may not: there may be another one later.
        if (error instanceof RequestRefusedError) await this.pause(INTERVAL_MS);
      }
      const said = JSON.stringify(this.#options.statuses());
      for (let waited = 0; waited < INTERVAL_MS && !this.#wake.signal.aborted; waited += CHANGED_MS) {
        await pause(CHANGED_MS, this.#wake.signal);
        if (JSON.stringify(this.#options.statuses()) !== said) break;
      }
    }
  }

  #send(options: { signal?: AbortSignal; timeoutMs?: number }): Promise<unknown> {
    const { client, statuses } = this.#options;
    return client.call(
      "REPORTLISTENERS",
      {
        source_id: this.#sourceId,
        host: hostname(),
        pid: process.pid,
        listeners: statuses()
          .slice(0, 100)
          .map((status) => ({
            ...status,
            name: status.name.slice(0, 256),
            error: status.error?.slice(0, 4096) ?? null,
          })),
      },
      options,
    );
  }
}
