/** Has the lake put in order, at intervals, as long as this history is the one that writes. */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import { HistoryUnavailableError } from "../../contract/history.ts";
import { errorMessage } from "../../errors.ts";
import { BackgroundService } from "../../service.ts";
import type { Upkeep } from "../database/place.ts";

/** How often files up to the target size are merged too, ms. */
const LONG_EVERY_MS = 86_400_000;

/** Options of {@link LakeKeeper}. */
export interface LakeKeeperOptions {
  /** One pass over the lake of the open history. */
  readonly keepUp: (isLong: boolean, isStopping: () => boolean) => Promise<Upkeep | null>;
  readonly everyMs: number;
  readonly log: ConsolaInstance;
  readonly clock: Clock;
}

/** Events of the keeper. */
export interface LakeKeeperSignals {
  readonly passed: Upkeep;
}

export class LakeKeeper extends BackgroundService<LakeKeeperSignals> {
  readonly name = "lake upkeep";
  readonly #o: LakeKeeperOptions;
  readonly #passes = this.timer(() => this.track(this.#pass()));
  #isBusy = false;
  #longAt = Number.NEGATIVE_INFINITY;
  /** What went wrong the last time, which is told once. */
  #problem: string | null = null;

  constructor(options: LakeKeeperOptions) {
    super(options.clock);
    this.#o = options;
  }

  protected override onStart(): void {
    this.#passes.every(this.#o.everyMs);
  }

  async #pass(): Promise<void> {
    // A pass may take longer than the interval.
    if (this.#isBusy) return;
    this.#isBusy = true;
    const now = this.clock.monotonic();
    const isLong = now - this.#longAt >= LONG_EVERY_MS;
    try {
      const done = await this.#o.keepUp(isLong, () => this.isStopping);
      if (this.isStopping || done === null) return;
      if (isLong) this.#longAt = now;
      if (this.#problem !== null) this.#o.log.info("The files of the history are merged again.");
      this.#problem = null;
      this.#o.log.debug(
        `Upkeep of the lake: ${done.flushedRows} rows left the catalog, ${done.mergedFiles} files became ${done.writtenFiles}, ${done.expiredSnapshots} snapshots expired, ${done.removedFiles} files were removed.`,
      );
      this.signals.emit("passed", done);
    } catch (error) {
      // An unavailable history is told by itself.
      if (this.isStopping || error instanceof HistoryUnavailableError) return;
      const problem = errorMessage(error);
      if (problem !== this.#problem)
        this.#o.log.warn(`The files of the history stay as they are for now: ${problem} It is tried again.`);
      this.#problem = problem;
    } finally {
      this.#isBusy = false;
    }
  }
}
