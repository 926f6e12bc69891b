/** Removes old data from the operational state, a little at a time. */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../clock.ts";
import { errorMessage } from "../errors.ts";
import { BackgroundService } from "../service.ts";
import type { OperationalStore, OperationalTx } from "../storage/operational/store.ts";
import { turn } from "../timer.ts";
import type { AgentRegistry } from "./agents/agent-registry.ts";
import type { PrincipalEvents } from "./principal-events.ts";
import { stillNeeded } from "./runs/assignments.ts";
import type { Definitions } from "./runs/definitions.ts";
import { KEPT_RUNS } from "./runs/run-finder.ts";

/**
 * How much tasks may have published that is in the operational state, bytes. Beyond it, what the history has too is removed: of finished
 * runs first, the oldest first, then what no task of an unfinished run needs any more.
 */
const KEPT_OUTPUTS_BYTES = 256 * 1024 * 1024;
/** Retention of follow-ups of finished runs, for the listener that triggers them: it may be down this long. */
const KEPT_FOLLOW_UPS_MS = 90 * 24 * 3600 * 1000;
/** Retention of idempotency keys and of the streams of agents that are gone. */
const KEPT_KEYS_MS = 7 * 24 * 3600 * 1000;
const KEPT_LOST_AGENTS_MS = 24 * 3600 * 1000;
/** Retention of alerts that are over and were told, and their number. The history has all of them. */
const KEPT_ALERTS_MS = 30 * 24 * 3600 * 1000;
const KEPT_ALERTS = 10_000;
const INTERVAL_MS = 60_000;

/** Runs that are removed at a time when the history does not keep them: other requests go in between. */
const FORGOTTEN_AT_ONCE = 200;

/** Cleans up once a minute. */
export class Housekeeping extends BackgroundService<{ tidied: undefined }> {
  readonly name = "housekeeping";
  readonly #store: OperationalStore;
  readonly #agents: Pick<AgentRegistry, "forgetLost">;
  readonly #log: ConsolaInstance;
  readonly #definitions: Definitions;
  readonly #keptRuns: number;
  readonly #keptOutputsBytes: number;
  readonly #events: PrincipalEvents;
  readonly #interval = this.timer(() => this.track(this.tidy()));

  constructor(options: {
    store: OperationalStore;
    agents: Pick<AgentRegistry, "forgetLost">;
    clock: Clock;
    log: ConsolaInstance;
    definitions: Definitions;
    keptRuns?: number;
    keptOutputsBytes?: number;
    events: PrincipalEvents;
  }) {
    super(options.clock);
    this.#store = options.store;
    this.#agents = options.agents;
    this.#log = options.log;
    this.#events = options.events;
    this.#definitions = options.definitions;
    this.#keptRuns = options.keptRuns ?? KEPT_RUNS;
    this.#keptOutputsBytes = options.keptOutputsBytes ?? KEPT_OUTPUTS_BYTES;
  }

  protected override onStart(): void {
    this.#interval.every(INTERVAL_MS);
  }

  /**
   * Removes runs that the history does not keep, if they are over.
   * @throws errors of the store
   */
  async forgetRuns(ids: readonly string[]): Promise<void> {
    for (let start = 0; start < ids.length; start += FORGOTTEN_AT_ONCE) {
      const some = ids.slice(start, start + FORGOTTEN_AT_ONCE);
      await this.#store.transact((tx) => tx.forgetRuns(some));
      this.#events.emit("runs forgotten");
      await turn();
    }
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
      for (let more = true; more && !this.isStopping; ) {
        more = (await this.#store.transact((tx) => tx.forgetAlerts(now - KEPT_ALERTS_MS, KEPT_ALERTS))) > 0;
        if (more) await this.pause(10);
      }
      await this.#moveOutputs();
    } catch (error) {
      this.#log.debug(`Cleaning up failed and will be retried: ${errorMessage(error)}`);
    }
    this.signals.emit("tidied");
  }

  async #moveOutputs(): Promise<void> {
    let excess = (await this.#store.read((tx) => tx.outputsBytes())) - this.#keptOutputsBytes;
    if (excess <= 0) return;
    for (const { workflow_instance_id: id, is_over } of await this.#store.read((tx) =>
      tx.runsWithOutputs(),
    )) {
      for (let more = true; more && !this.isStopping; ) {
        if (excess <= 0) return;
        const moved = await this.#store.transact(async (tx) =>
          tx.moveOutputs(id, is_over ? [] : await this.#neededOf(tx, id)),
        );
        excess -= moved.bytes;
        more = moved.more;
        await this.pause(10);
      }
    }
  }

  /** The tasks of an unfinished run whose outputs may be needed by others of its tasks. */
  async #neededOf(tx: OperationalTx, id: string): Promise<string[]> {
    const run = await tx.getRun(id);
    const completed = await tx.completedTasks(id);
    const plan = run === null ? null : await this.#definitions.planOf(tx, run);
    if (plan === null) return completed;
    // What items have published is read when all items of the fan-out are over.
    const open = plan.nodes.filter(({ id, fanOut }) => fanOut !== undefined && !completed.includes(id));
    return [...stillNeeded(plan.nodes, completed, plan.readAtEnd), ...open.map(({ id }) => id)];
  }
}
