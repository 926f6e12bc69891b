/**
 * Ends offers that no agent has confirmed by their deadline. The reply with the run may have been lost, or the agent died with
 * it: then the run is offered again. Deadlines are in the operational state; here is one timer, for the next of them.
 */
import type { ConsolaInstance } from "consola";
import type { Service } from "../../service.ts";
import type {
  AttemptName,
  AttemptRecord,
  OperationalStore,
  OperationalTx,
} from "../../storage/operational/store.ts";
import { logFailure } from "../log-failure.ts";
import type { RunChanges } from "./run-changes.ts";

/** Offers that are looked at in one go. */
const BATCH = 100;
/** Pause after a failure. */
const RETRY_MS = 1000;

/** What {@link LeaseWatch} needs. */
export interface LeaseWatchOptions {
  readonly store: OperationalStore;
  readonly changes: RunChanges;
  readonly log: ConsolaInstance;
  /** How long an offer stands without a word from the agent, ms. */
  readonly offerMs: number;
  /** Looks whether the principal itself was paused. */
  readonly checkPause: () => void;
}

/** Watches the deadlines of offers. */
export class LeaseWatch implements Service {
  readonly name = "lease watch";
  readonly #o: LeaseWatchOptions;
  #timer: Timer | undefined;
  #forgives = false;
  #running: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(options: LeaseWatchOptions) {
    this.#o = options;
  }

  /** Offers from before the start get the full time again. */
  async start(): Promise<void> {
    this.forgive();
    await this.#running;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  /** An offer was made. A timer that runs already is for an earlier one. */
  offered(): void {
    if (this.#timer === undefined) this.#arm(this.#o.offerMs);
  }

  /** The agent says that it has these attempts: those of them that are offers stand for the full time again. Part of a unit of work. */
  async known(tx: OperationalTx, agentId: string, attempts: readonly AttemptName[]): Promise<void> {
    if (attempts.length > 0) await tx.extendOffers(this.#o.offerMs, { agentId, attempts });
  }

  /** The principal itself was not there for a while: nobody's silence counts, and offers get the full time again. */
  forgive(): void {
    this.#forgives = true;
    this.#look();
  }

  #arm(ms: number): void {
    clearTimeout(this.#timer);
    if (!this.#stopped) this.#timer = setTimeout(() => this.#look(), Math.max(1, ms));
  }

  #look(): void {
    this.#running = this.#running.then(() => this.#expire());
  }

  async #expire(): Promise<void> {
    this.#o.checkPause();
    let next: number | null = RETRY_MS;
    try {
      if (this.#forgives) await this.#o.store.transact((tx) => tx.extendOffers(this.#o.offerMs));
      this.#forgives = false;
      for (const offer of await this.#o.store.read((tx) => tx.overdueOffers(BATCH))) {
        if (this.#stopped) return;
        await this.#end(offer);
      }
      // From now on an offer arms the timer itself.
      this.#timer = undefined;
      next = await this.#o.store.read((tx) => tx.nextOverdueOffer());
    } catch (error) {
      logFailure(this.#o.log, "An unconfirmed assignment cannot be ended", error);
    }
    if (next !== null) this.#arm(next);
  }

  async #end({ workflow_instance_id: id, attempt, agent_id, deadline_ms }: AttemptRecord): Promise<void> {
    await this.#o.store.transact(async (tx) => {
      const present = await tx.getAttempt(id, attempt);
      const run = await tx.getRun(id);
      // It was confirmed, ended or prolonged meanwhile.
      if (run === null || present?.lease !== "OFFERED" || present.deadline_ms !== deadline_ms) return;
      await this.#o.changes.crash(tx, run, present, "assignment never confirmed", "EXPIRED");
      tx.afterCommit(() => {
        this.#o.log.warn(
          `Run ${id}: agent ${agent_id} never confirmed attempt ${attempt}; it is queued again.`,
        );
      });
    });
  }
}
