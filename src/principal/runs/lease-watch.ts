/**
 * Watches offers that no agent has confirmed. The reply with the run may have been lost, or the agent died with it:
 * then the run is offered again.
 */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import type { Service } from "../../service.ts";
import type { AttemptRecord, OperationalStore } from "../../storage/operational.ts";
import { logFailure } from "../log-failure.ts";
import type { RunChanges } from "./run-changes.ts";

interface Offer {
  readonly runId: string;
  readonly attempt: number;
  readonly agentId: string;
  /** Monotonic. */
  deadline: number;
}

/** Ends offers that were not confirmed in time. */
export class LeaseWatch implements Service {
  readonly name = "lease watch";
  readonly #store: OperationalStore;
  readonly #changes: RunChanges;
  readonly #clock: Clock;
  readonly #log: ConsolaInstance;
  readonly #timeoutMs: number;
  readonly #checkPause: () => void;
  readonly #offers = new Map<string, Offer>();
  #timer: Timer | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #running: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(options: {
    store: OperationalStore;
    changes: RunChanges;
    clock: Clock;
    log: ConsolaInstance;
    /** How long an offer stands without a word from the agent, ms. */
    timeoutMs: number;
    /** Looks whether the principal itself was paused. */
    checkPause: () => void;
  }) {
    this.#store = options.store;
    this.#changes = options.changes;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#timeoutMs = options.timeoutMs;
    this.#checkPause = options.checkPause;
  }

  /** Offers from before the start get the full time again. */
  async start(): Promise<void> {
    const open = await this.#store.read((tx) => tx.openAttempts());
    for (const attempt of open) this.offered(attempt);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  /** An offer was made. */
  offered(attempt: AttemptRecord): void {
    if (attempt.lease !== "OFFERED") return;
    const { workflow_instance_id: runId, attempt: number, agent_id: agentId } = attempt;
    const deadline = this.#clock.monotonic() + this.#timeoutMs;
    this.#offers.set(keyOf(runId, number), { runId, attempt: number, agentId, deadline });
    this.#arm(deadline);
  }

  /** An offer was confirmed or ended. */
  settled(attempt: AttemptRecord): void {
    this.#offers.delete(keyOf(attempt.workflow_instance_id, attempt.attempt));
  }

  /** The agent says that it has these attempts: the offers stand for the full time again. */
  known(agentId: string, running: readonly { workflow_instance_id: string; attempt: number }[]): void {
    for (const one of running) {
      const offer = this.#offers.get(keyOf(one.workflow_instance_id, one.attempt));
      if (offer?.agentId === agentId) offer.deadline = this.#clock.monotonic() + this.#timeoutMs;
    }
  }

  /** The principal itself was not there for a while: nobody's silence counts. */
  forgive(): void {
    for (const offer of this.#offers.values()) offer.deadline = this.#clock.monotonic() + this.#timeoutMs;
  }

  #arm(at: number): void {
    if (this.#stopped || at >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(
      () => {
        this.#timerAt = Number.POSITIVE_INFINITY;
        this.#running = this.#expire();
      },
      Math.max(1, at - this.#clock.monotonic()),
    );
  }

  async #expire(): Promise<void> {
    this.#checkPause();
    const now = this.#clock.monotonic();
    for (const offer of this.#offers.values()) {
      if (offer.deadline > now || this.#stopped) continue;
      try {
        await this.#store.transact(async (tx) => {
          if (offer.deadline > this.#clock.monotonic()) return;
          const attempt = await tx.getAttempt(offer.runId, offer.attempt);
          const run = await tx.getRun(offer.runId);
          if (run === null || attempt?.lease !== "OFFERED") {
            tx.afterCommit(() => this.#offers.delete(keyOf(offer.runId, offer.attempt)));
            return;
          }
          await this.#changes.crash(tx, run, attempt, "assignment never confirmed", "EXPIRED");
          tx.afterCommit(() => {
            this.#log.warn(
              `Run ${offer.runId}: agent ${offer.agentId} never confirmed attempt ${offer.attempt}; it is queued again.`,
            );
          });
        });
      } catch (error) {
        logFailure(this.#log, "An unconfirmed assignment cannot be ended", error);
        offer.deadline = this.#clock.monotonic() + 1000;
      }
    }
    let next = Number.POSITIVE_INFINITY;
    for (const offer of this.#offers.values()) next = Math.min(next, offer.deadline);
    if (next !== Number.POSITIVE_INFINITY) this.#arm(next);
  }
}

function keyOf(runId: string, attempt: number): string {
  return `${runId} ${attempt}`;
}
