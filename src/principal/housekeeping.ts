/** Forgets, little by little, what the operational state need not keep. */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../clock.ts";
import { errorMessage } from "../errors.ts";
import { BackgroundService } from "../service.ts";
import type { OperationalStore } from "../storage/operational/store.ts";
import type { AgentRegistry } from "./agents/agent-registry.ts";
import type { PrincipalEvents } from "./principal-events.ts";

/** Runs that are over and stay in the operational state; older ones are in the history alone. */
const KEPT_RUNS = 10_000;
/** What must follow a run that ended, for the listener that triggers it; it may be down for so long. */
const KEPT_FOLLOW_UPS_MS = 90 * 24 * 3600 * 1000;
/** Idempotency keys and the streams of agents that are gone. */
const KEPT_KEYS_MS = 7 * 24 * 3600 * 1000;
const KEPT_LOST_AGENTS_MS = 24 * 3600 * 1000;
const INTERVAL_MS = 60_000;

/** Tidies up once a minute. */
export class Housekeeping extends BackgroundService<{ tidied: undefined }> {
  readonly name = "housekeeping";
  readonly #store: OperationalStore;
  readonly #agents: AgentRegistry;
  readonly #log: ConsolaInstance;
  readonly #keptRuns: number;
  readonly #events: PrincipalEvents;
  readonly #interval = this.timer(() => this.track(this.tidy()));

  constructor(options: {
    store: OperationalStore;
    agents: AgentRegistry;
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

  /** Tidies up now; never rejects. */
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
      this.#log.debug(`Tidying up failed, it is tried again: ${errorMessage(error)}`);
    }
    this.signals.emit("tidied");
  }
}
