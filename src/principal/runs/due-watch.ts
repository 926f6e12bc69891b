/**
 * Ends what waits for a time of the wall clock: a run that starts later, a task that waits. The times are in the operational state; this keeps one timer, for
 * the next one. It looks at the clock now and then, because the clock may be set, or the host suspended, in the meantime. Nothing is done
 * while nothing waits.
 */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import { BackgroundService } from "../../service.ts";
import type { OperationalStore, WaitRecord } from "../../storage/operational/store.ts";
import { logFailure } from "../log-failure.ts";
import type { PrincipalEvents } from "../principal-events.ts";
import type { RunChanges } from "./run-changes.ts";

/** Number of waits that are ended before the next look, in one commit: others must not wait for it for long. */
const BATCH = 100;
/** The longest time between two looks at the clock, ms. */
const LONGEST_SLEEP_MS = 1000;
/** Delay after a failure. */
const RETRY_MS = 1000;

/** What {@link DueWatch} needs. */
export interface DueWatchOptions {
  readonly store: OperationalStore;
  readonly changes: RunChanges;
  readonly clock: Clock;
  readonly log: ConsolaInstance;
  readonly events: PrincipalEvents;
}

/** Watches the times that runs wait for. */
export class DueWatch extends BackgroundService<{ looked: undefined }> {
  readonly name = "due watch";
  readonly #o: DueWatchOptions;
  readonly #timer = this.timer(() => this.#check());
  /** When the next wait is over, ms since the epoch; null for none. */
  #nextMs: number | null = null;
  #looking: Promise<void> = Promise.resolve();

  constructor(options: DueWatchOptions) {
    super(options.clock);
    this.#o = options;
    options.events.on("wait added", (dueMs) => {
      if (this.#nextMs !== null && this.#nextMs <= dueMs) return;
      this.#nextMs = dueMs;
      this.#check();
    });
  }

  /** What became due while no principal ran is ended first, and so is what an older cdktr has not told. */
  protected async onStart(): Promise<void> {
    const { store, log } = this.#o;
    try {
      for (const wait of await store.read((tx) => tx.waitsForEndedRuns())) await this.#due(wait);
    } catch (error) {
      logFailure(log, "Tasks that wait for runs cannot be told of their ends", error);
    }
    this.#look();
    await this.#looking;
  }

  /** Looks into the state if something is due, otherwise at the clock when it may be. */
  #check(): void {
    if (this.#nextMs === null) return;
    const left = this.#nextMs - this.clock.now();
    if (left <= 0) this.#look();
    else this.#timer.in(Math.min(left, LONGEST_SLEEP_MS));
  }

  #look(): void {
    this.#looking = this.#looking.then(() => this.#end());
    this.track(this.#looking);
  }

  async #end(): Promise<void> {
    const { store, log } = this.#o;
    try {
      const waits = await store.read((tx) => tx.dueWaits(this.clock.now(), BATCH));
      if (this.isStopping) return;
      // At once, so that they share a commit. One that cannot go on does not hold up the others.
      const ended = await Promise.allSettled(waits.map((wait) => this.#due(wait)));
      const failure = ended.find(({ status }) => status === "rejected");
      if (failure?.status === "rejected") throw failure.reason;
      // What is added while this is read is not forgotten.
      this.#nextMs = null;
      const next = await store.read((tx) => tx.nextDueWait());
      if (next !== null) this.#nextMs = Math.min(next, this.#nextMs ?? next);
      this.#check();
    } catch (error) {
      logFailure(log, "What waits for a time cannot go on", error);
      this.#nextMs = 0;
      this.#timer.in(RETRY_MS);
    }
    this.signals.emit("looked");
  }

  async #due(due: WaitRecord): Promise<void> {
    const { workflow_instance_id: id, task } = due;
    await this.#o.changes.prepare(due);
    await this.#o.store.transact(async (tx) => {
      // It may have ended in the meantime.
      const wait = await tx.getWait(id, task);
      if (wait !== null) await this.#o.changes.due(tx, wait);
    });
  }
}
