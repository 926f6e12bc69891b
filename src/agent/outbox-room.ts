import { log } from "../log.ts";

/** How much is in an outbox, bytes. */
export interface OutboxSizes {
  /** Reports and log lines. */
  readonly kept: number;
  /** Those that are not on disk. */
  readonly unsaved: number;
  /** Reports alone. */
  readonly reports: number;
  readonly unsavedReports: number;
}

/** Maximum size of unwritten data in memory while the disk cannot be written, bytes. */
const UNSAVED_LIMIT_BYTES = 32 * 1024 * 1024;
/** While the outbox is full, no task starts if reports have this share of what it may hold. */
const HELD_SHARE = 1 / 4;
/** Interval at which a full outbox is logged again, ms. */
const FULL_REMINDER_MS = 60_000;

/** Backpressure of an outbox: who adds lines waits while it is full, and no task starts while reports fill it. */
export class OutboxRoom {
  readonly #limitBytes: number;
  readonly #sizes: () => OutboxSizes;
  #waiting: PromiseWithResolvers<void> | undefined;
  /** Resolves when tasks may start again. */
  #held: PromiseWithResolvers<void> | undefined;
  #fullSaidAt = Number.NEGATIVE_INFINITY;
  #isClosed = false;

  constructor(limitBytes: number, sizes: () => OutboxSizes) {
    this.#limitBytes = limitBytes;
    this.#sizes = sizes;
  }

  /** Undefined when there is space for more lines; otherwise resolves when there is. */
  forLines(): Promise<void> | undefined {
    if (this.#isClosed || !this.#isFull(1)) return undefined;
    if (this.#waiting === undefined) {
      this.#waiting = Promise.withResolvers<void>();
      this.#tellFull();
    }
    return this.#waiting.promise;
  }

  /** Undefined when tasks may start; otherwise resolves when they may. */
  forTasks(): Promise<void> | undefined {
    if (this.#isClosed || !this.#holdsTasks(1)) return undefined;
    if (this.#held === undefined) {
      this.#held = Promise.withResolvers<void>();
      log.warn(
        `${mib(this.#sizes().reports)} MiB of reports, with what tasks published, wait for the principal: no task starts until it has accepted some. Nothing is dropped; tasks that run go on.`,
      );
    }
    return this.#held.promise;
  }

  /** Resumes those who wait for space, once there is enough that it is not used up at once. */
  release(): void {
    if (this.#held !== undefined && !this.#holdsTasks(0.9)) {
      this.#held.resolve();
      this.#held = undefined;
      log.info("The principal has accepted reports: tasks start again.");
    }
    if (this.#waiting === undefined || this.#isFull(0.9)) return;
    this.#waiting.resolve();
    this.#waiting = undefined;
    log.debug("There is space for log lines again: the tasks continue.");
  }

  /** Nobody waits any more. */
  close(): void {
    this.#isClosed = true;
    this.#waiting?.resolve();
    this.#held?.resolve();
  }

  #isFull(share: number): boolean {
    const { kept, unsaved } = this.#sizes();
    return kept >= this.#limitBytes * share || unsaved >= UNSAVED_LIMIT_BYTES * share;
  }

  #holdsTasks(share: number): boolean {
    if (!this.#isFull(share)) return false;
    const { reports, unsavedReports } = this.#sizes();
    return (
      reports >= this.#limitBytes * HELD_SHARE * share ||
      unsavedReports >= UNSAVED_LIMIT_BYTES * HELD_SHARE * share
    );
  }

  /** An outbox at its limit fills up again and again, so this is only logged from time to time. */
  #tellFull(): void {
    const now = performance.now();
    if (now < this.#fullSaidAt + FULL_REMINDER_MS) return;
    this.#fullSaidAt = now;
    log.warn(
      `${mib(this.#sizes().kept)} MiB of log lines wait for the principal: tasks that print more are blocked until it has accepted some. Nothing is dropped.`,
    );
  }
}

function mib(bytes: number): number {
  return Math.round(bytes / 1024 / 1024);
}
