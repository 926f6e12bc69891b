/** Forgets, little by little, what the operational state need not keep. */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../clock.ts";
import { errorMessage } from "../errors.ts";
import type { Service } from "../service.ts";
import type { OperationalStore } from "../storage/operational/store.ts";
import type { AgentRegistry } from "./agents/agent-registry.ts";

/** Runs that are over and stay in the operational state; older ones are in the history alone. */
const KEPT_RUNS = 10_000;
/** What must follow a run that ended, for the listener that triggers it; it may be down for so long. */
const KEPT_FOLLOW_UPS_MS = 90 * 24 * 3600 * 1000;
/** Idempotency keys and the streams of agents that are gone. */
const KEPT_KEYS_MS = 7 * 24 * 3600 * 1000;
const KEPT_LOST_AGENTS_MS = 24 * 3600 * 1000;
const INTERVAL_MS = 60_000;

/** Tidies up once a minute. */
export class Housekeeping implements Service {
  readonly name = "housekeeping";
  readonly #store: OperationalStore;
  readonly #agents: AgentRegistry;
  readonly #clock: Clock;
  readonly #log: ConsolaInstance;
  readonly #keptRuns: number;
  readonly #forgot: () => void;
  #timer: Timer | undefined;
  #running: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(options: {
    store: OperationalStore;
    agents: AgentRegistry;
    clock: Clock;
    log: ConsolaInstance;
    keptRuns?: number;
    /** Runs were forgotten. */
    forgot: () => void;
  }) {
    this.#store = options.store;
    this.#agents = options.agents;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#forgot = options.forgot;
    this.#keptRuns = options.keptRuns ?? KEPT_RUNS;
  }

  async start(): Promise<void> {
    this.#timer = setInterval(() => {
      this.#running = this.tidy();
    }, INTERVAL_MS);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#timer);
    await this.#running;
  }

  /** Tidies up now; never rejects. */
  async tidy(): Promise<void> {
    try {
      const now = this.#clock.now();
      await this.#agents.forgetLost(now - KEPT_LOST_AGENTS_MS);
      const step = {
        keepRuns: this.#keptRuns,
        olderThanMs: now - KEPT_KEYS_MS,
        followUpsOlderThanMs: now - KEPT_FOLLOW_UPS_MS,
      };
      while (!this.#stopped) {
        const { runs, more } = await this.#store.transact((tx) => tx.forget(step));
        if (runs > 0) this.#forgot();
        if (!more) break;
        await Bun.sleep(10);
      }
    } catch (error) {
      this.#log.debug(`Tidying up failed, it is tried again: ${errorMessage(error)}`);
    }
  }
}
