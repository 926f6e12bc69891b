/** Reports the state of this process's listeners to the principal. */
import { hostname } from "node:os";
import type { ConsolaInstance } from "consola";
import type { ListenerStatus } from "../contract/messages.ts";
import { errorMessage } from "../errors.ts";
import { type PrincipalClient, RequestRefusedError } from "../protocol/client.ts";
import { BackgroundService } from "../service.ts";
import { pause } from "../timer.ts";

/** Intervals between reports, ms; the longer one while nothing changes. */
const INTERVAL_MS = 5000;
const CHANGED_MS = 1000;
/** After this time without a change, changes are looked for less often, ms. */
const RESTING_MS = 30_000;
/** Timeout of the last report, ms. */
const LAST_MS = 500;

/** What it needs. */
export interface ListenerReportsOptions {
  /** It is not closed. */
  readonly client: PrincipalClient;
  readonly statuses: () => readonly ListenerStatus[];
  readonly log: ConsolaInstance;
}

/** Reports every few seconds, soon after a trigger, and at once when a state changes. */
export class ListenerReports extends BackgroundService {
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

  /** The state of a listener has changed. */
  changed(): void {
    this.#wake.abort();
  }

  protected override async onStop(): Promise<void> {
    this.#wake.abort();
    await this.#reporting;
    // Do not wait for a principal that is away.
    if (this.#heard) await this.#send({ timeoutMs: LAST_MS }).catch(() => {});
  }

  async #report(): Promise<void> {
    const signal = this.stopSignal;
    let changedAt = performance.now();
    while (!signal.aborted) {
      this.#wake = new AbortController();
      try {
        await this.#send({ signal });
        this.#heard = true;
      } catch (error) {
        if (signal.aborted) return;
        this.#heard = false;
        this.#options.log.debug(`The state of the listeners cannot be reported: ${errorMessage(error)}`);
        // An old principal without this verb, or a key without permission: a later one may accept it.
        if (error instanceof RequestRefusedError) await this.pause(INTERVAL_MS);
      }
      const said = JSON.stringify(this.#options.statuses());
      const lookMs = performance.now() - changedAt > RESTING_MS ? INTERVAL_MS : CHANGED_MS;
      for (let waited = 0; waited < INTERVAL_MS && !this.#wake.signal.aborted; waited += lookMs) {
        await pause(lookMs, this.#wake.signal);
        if (JSON.stringify(this.#options.statuses()) === said) continue;
        changedAt = performance.now();
        break;
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
