/**
 * Expires offers that no agent has confirmed by their deadline: the reply with the run may have been lost, or the agent died with it; the
 * run, or slice, is then offered again. Also stops runs that take longer than they may where no single agent can see that: split runs, and
 * runs that wait for their next attempt. Deadlines are in the operational state; this keeps one timer, for the next one.
 */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import { BackgroundService } from "../../service.ts";
import type {
  AttemptName,
  AttemptRecord,
  OperationalStore,
  OperationalTx,
  RunRecord,
} from "../../storage/operational/store.ts";
import { logFailure } from "../log-failure.ts";
import type { PrincipalEvents } from "../principal-events.ts";
import { textOf } from "./attempt-name.ts";
import { settleAfterOlder } from "./older-cdktr.ts";
import type { PauseWatch } from "./pause-watch.ts";
import type { RunChanges } from "./run-changes.ts";

/** Number of offers, and of runs, processed at once. */
const BATCH = 100;
/** Delay after a failure. */
const RETRY_MS = 1000;

/** What {@link LeaseWatch} needs. */
export interface LeaseWatchOptions {
  readonly store: OperationalStore;
  readonly changes: RunChanges;
  readonly clock: Clock;
  readonly log: ConsolaInstance;
  /** How long an unconfirmed offer is valid, ms. */
  readonly offerMs: number;
  readonly events: PrincipalEvents;
  readonly pauses: PauseWatch;
}

/** Watches the deadlines of offers and runs. */
export class LeaseWatch extends BackgroundService {
  readonly name = "lease watch";
  readonly #o: LeaseWatchOptions;
  readonly #timer = this.timer(() => this.#look());
  #forgives = false;
  /** Whether it has looked for what an older cdktr left. */
  #isSettled = false;
  #looking: Promise<void> = Promise.resolve();

  constructor(options: LeaseWatchOptions) {
    super(options.clock);
    this.#o = options;
    // A timer that is already set is for an earlier offer.
    options.events.on("run offered", () => this.#timer.within(options.offerMs));
    options.events.on("run limited", (leftMs) => this.#lookIn(leftMs));
    options.events.on("principal paused", () => this.#forgive());
  }

  /** After a start, existing offers get the full time again. */
  protected async onStart(): Promise<void> {
    this.#forgive();
    await this.#looking;
  }

  /** The agent says that it has these attempts: any of them that are offers get the full time again. Part of a unit of work. */
  async known(tx: OperationalTx, agentId: string, attempts: readonly AttemptName[]): Promise<void> {
    if (attempts.length > 0) await tx.extendOffers(this.#o.offerMs, { agentId, attempts });
  }

  /** The principal itself was suspended: silence in that time does not count, and offers get the full time again. */
  #forgive(): void {
    this.#forgives = true;
    this.#look();
  }

  /** Looks when this time has passed, ms, or before. */
  #lookIn(leftMs: number): void {
    this.#timer.by(this.clock.monotonic() + Math.max(1, leftMs));
  }

  #look(): void {
    this.#looking = this.#looking.then(() => this.#expire());
    this.track(this.#looking);
  }

  async #expire(): Promise<void> {
    this.#o.pauses.check();
    try {
      if (this.#forgives) {
        if (!this.#isSettled) await settleAfterOlder(this.#o.store, this.#o.changes);
        this.#isSettled = true;
        await this.#o.store.transact((tx) => tx.extendOffers(this.#o.offerMs));
      }
      this.#forgives = false;
      for (const offer of await this.#o.store.read((tx) => tx.overdueOffers(BATCH))) {
        if (this.isStopping) return;
        await this.#end(offer);
      }
      for (const run of await this.#o.store.read((tx) => tx.overdueRuns(BATCH))) {
        if (this.isStopping) return;
        await this.#timeOut(run);
      }
      const next = await this.#o.store.read(async (tx) => [
        await tx.nextOverdueOffer(),
        await tx.nextOverdueRun(),
      ]);
      for (const leftMs of next) if (leftMs !== null) this.#lookIn(leftMs);
    } catch (error) {
      logFailure(this.#o.log, "What is overdue cannot be ended", error);
      this.#timer.in(RETRY_MS);
    }
  }

  async #timeOut({ workflow_instance_id: id, deadline_ms }: RunRecord): Promise<void> {
    await this.#o.store.transact(async (tx) => {
      const run = await tx.getRun(id);
      // It has ended in the meantime, or an agent has it, which watches its time.
      if (run === null || run.deadline_ms !== deadline_ms || (run.revision === 0 && !run.queued)) return;
      await this.#o.changes.timeOut(tx, run);
      tx.afterCommit(() => this.#o.log.warn(`Run ${id} (${run.workflow_id}) takes too long; it is stopped.`));
    });
  }

  async #end(offer: AttemptRecord): Promise<void> {
    const { workflow_instance_id: id, agent_id, deadline_ms } = offer;
    await this.#o.store.transact(async (tx) => {
      const present = await tx.getAttempt(offer);
      const run = await tx.getRun(id);
      // It was confirmed, ended or renewed in the meantime.
      if (run === null || present?.lease !== "OFFERED" || present.deadline_ms !== deadline_ms) return;
      await this.#o.changes.crash(tx, run, present, "assignment never confirmed", "EXPIRED");
      tx.afterCommit(() => {
        this.#o.log.warn(
          `Run ${id}: agent ${agent_id} never confirmed ${textOf(offer)}; it is queued again.`,
        );
      });
    });
  }
}
