/** Removes old data from the operational state, a little at a time. */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../clock.ts";
import { errorMessage } from "../errors.ts";
import { BackgroundService } from "../service.ts";
import type { OperationalStore } from "../storage/operational/store.ts";
import type { AgentRegistry } from "./agents/agent-registry.ts";
import type { PrincipalEvents } from "./principal-events.ts";

/** Number of finished runs to keep in the operational state; older ones are only in the history. */
const KEPT_RUNS = 10_000;
/** Retention of follow-ups of finished runs, for the listener that triggers them: it may be down this long. */
const KEPT_FOLLOW_UPS_MS = 90 * 24 * 3600 * 1000;
/** Retention of idempotency keys and of the streams of agents that are gone. */
const KEPT_KEYS_MS = 7 * 24 * 3600 * 1000;
const KEPT_LOST_AGENTS_MS = 24 * 3600 * 1000;
const INTERVAL_MS = 60_000;

/** Cleans up once a minute. */
export class Housekeeping extends BackgroundService<{ tidied: undefined }> {
  readonly name = "housekeeping";
  readonly #store: OperationalStore;
  readonly #agents: Pick<AgentRegistry, "forgetLost">;
  readonly #log: ConsolaInstance;
  readonly #keptRuns: number;
  readonly #events: PrincipalEvents;
  readonly #interval = this.timer(() => this.track(this.tidy()));

  constructor(options: {
    store: OperationalStore;
    agents: Pick<AgentRegistry, "forgetLost">;
    clock: Clock;
    log: ConsolaInstance;
    keptRuns?: number;
    events: PrincipalEvents;
  }) {
    super(options.clock);
    this.#store = options.store;
    this.#agents = options.agents;
    this.#log = options.log;
    this.#events = options.events;
    this.#keptRuns = options.keptRuns ?? KEPT_RUNS;
  }

  protected override onStart(): void {
    this.#interval.every(INTERVAL_MS);
  }

  /** Cleans up now; never rejects. */
  async tidy(): Promise<void> {
    try {
      const now = this.clock.now();
      await this.#agents.forgetLost(now - KEPT_LOST_AGENTS_MS);
      const step = {
        keepRuns: this.#keptRuns,
        olderThanMs: now - KEPT_KEYS_MS,
        followUpsOlderThanMs: now - KEPT_FOLLOW_UPS_MS,
      };
      while (!this.isStopping) {
        const { runs, more } = await this.#store.transact((tx) => tx.forget(step));
        if (runs > 0) this.#events.emit("runs forgotten");
        if (!more) break;
        await this.pause(10);
      }
    } catch (error) {
      this.#log.debug(`Cleaning up failed and will be retried: ${errorMessage(error)}`);
    }
    this.signals.emit("tidied");
  }
}
