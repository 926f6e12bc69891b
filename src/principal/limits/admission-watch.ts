/**
 * Admits runs to their concurrency groups that no commit has admitted: an older cdktr ended the runs that had the places, a step failed, or
 * there were more than one commit admits; or the workflow of a run that waits has another `max_runs` now. It looks when the principal
 * starts, when workflows change, and then every minute as long as runs are held.
 */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import { BackgroundService } from "../../service.ts";
import type { OperationalStore } from "../../storage/operational/store.ts";
import { logFailure } from "../log-failure.ts";
import type { PrincipalEvents } from "../principal-events.ts";
import type { Admission } from "./admission.ts";

/** Time between two looks while runs are held, ms. */
const INTERVAL_MS = 60_000;
/** Delay after a failure, ms. */
const RETRY_MS = 1000;

/** What {@link AdmissionWatch} needs. */
export interface AdmissionWatchOptions {
  readonly store: OperationalStore;
  readonly admission: Pick<Admission, "sweep">;
  readonly clock: Clock;
  readonly log: ConsolaInstance;
  readonly events: PrincipalEvents;
}

/** Sweeps the concurrency groups. */
export class AdmissionWatch extends BackgroundService<{ swept: number }> {
  readonly name = "admission watch";
  readonly #o: AdmissionWatchOptions;
  readonly #timer = this.timer(() => this.track(this.#sweep()));

  constructor(options: AdmissionWatchOptions) {
    super(options.clock);
    this.#o = options;
    options.events.on("run held", () => this.#timer.within(INTERVAL_MS));
    // What runs wait for may have changed, too.
    options.events.on("workflows changed", () => this.#timer.by(this.clock.monotonic()));
    options.events.on("admission due", (error) => {
      if (error !== null) this.#failed(error);
      this.#timer.by(this.clock.monotonic() + (error === null ? 0 : RETRY_MS));
    });
  }

  protected onStart(): void {
    this.#timer.in(0);
  }

  async #sweep(): Promise<void> {
    const { store, admission } = this.#o;
    try {
      const admitted = await admission.sweep(store);
      if ((await store.read((tx) => tx.heldGroups("", 1))).length > 0) this.#timer.within(INTERVAL_MS);
      this.signals.emit("swept", admitted);
    } catch (error) {
      this.#failed(error);
      this.#timer.in(RETRY_MS);
    }
  }

  #failed(error: unknown): void {
    logFailure(this.#o.log, "Runs that wait for their concurrency group cannot be admitted", error);
  }
}
