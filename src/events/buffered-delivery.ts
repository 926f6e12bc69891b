/** Delivers triggers to the principal even across its absences: through a buffer on disk, in order, each with its dedupe key. */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../clock.ts";
import { CdktrError, errorMessage } from "../errors.ts";
import { type PrincipalClient, RequestRefusedError, RequestUnprocessableError } from "../protocol/client.ts";
import { BackgroundService } from "../service.ts";
import { BackOff, isDoneWithin } from "../timer.ts";
import { sendTrigger, type TriggerDelivery, type Triggered, type TriggerRequest } from "./event-listener.ts";
import type { TriggerBuffer, WaitingTrigger } from "./trigger-buffer.ts";

/** Default maximum number of buffered triggers. */
const DEFAULT_BUFFER_LIMIT = 100_000;
/** Exponential back-off between attempts to reach the principal, ms. */
const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 2000;

/** Triggers read from the buffer at once; those of one workflow are delivered one after the other. */
const BATCH = 500;

/** State and counters of a delivery since it started. */
export interface DeliveryMetrics {
  /** Triggers received. */
  readonly fired: number;
  /** Triggers that became runs. */
  readonly delivered: number;
  /** Triggers lost: the principal refused them, or neither it nor the disk accepted them. */
  readonly failed: number;
  /** Triggers that were dropped because they were too late. */
  readonly dropped: number;
  /** Triggers buffered on disk. */
  readonly buffered: number;
  /** Size of the buffer file, bytes. */
  readonly bufferBytes: number;
  /** When the last trigger was received, ms since the epoch; null if there was none. */
  readonly lastTriggerMs: number | null;
  /** Since when the principal has not accepted triggers, ms since the epoch; null while it does. */
  readonly awaySinceMs: number | null;
}

/** What a delivery needs. */
export interface BufferedDeliveryOptions {
  readonly client: PrincipalClient;
  /** It is closed when the delivery stops. */
  readonly buffer: TriggerBuffer;
  readonly log: ConsolaInstance;
  readonly limit?: number;
  readonly clock?: Clock;
}

/** Neither the disk nor the principal accepts a trigger: it is not safe. */
export class TriggerNotSafeError extends CdktrError {}

/** The buffer on this host's disk cannot be used. */
class BufferFailedError extends CdktrError {}

/** A workflow whose triggers the principal answers, but does not accept now. */
interface Deferred {
  readonly backOff: BackOff;
  readonly reason: string;
  /** When the principal is asked again (monotonic). */
  readonly dueMs: number;
}

interface Waiter extends PromiseWithResolvers<Triggered> {
  readonly request: TriggerRequest;
}

/** Events of a delivery. */
export interface DeliverySignals {
  /** A trigger was stored on disk. */
  readonly buffered: undefined;
  /** A trigger became a run. */
  readonly delivered: undefined;
  /** A trigger has to wait until there is space. */
  readonly full: undefined;
}

/** The delivery. Triggers that an earlier process left in the buffer go first. */
export class BufferedDelivery extends BackgroundService<DeliverySignals> implements TriggerDelivery {
  readonly name = "delivery of triggers";
  readonly #client: PrincipalClient;
  readonly #buffer: TriggerBuffer;
  readonly #log: ConsolaInstance;
  readonly #limit: number;
  /** Received in this turn of the event loop: they share one fsync. */
  #arriving: Waiter[] = [];
  /** Settled in this turn. */
  #leaving: { seq: number; resolve: () => void }[] = [];
  readonly #waiters = new Map<number, Waiter[]>();
  readonly #deferred = new Map<string, Deferred>();
  /** Triggers that are settled, but could not be removed from disk. */
  readonly #lingering = new Set<number>();
  #delivering: Promise<void> = Promise.resolve();
  #work = Promise.withResolvers<void>();
  #room = Promise.withResolvers<void>();
  #empty = Promise.withResolvers<void>();
  #fired = 0;
  #delivered = 0;
  #failed = 0;
  #dropped = 0;
  #lastTriggerMs: number | null = null;
  #awaySinceMs: number | null = null;
  #toldFull = false;
  #toldDisk = false;
  #toldBuffer = false;

  constructor(options: BufferedDeliveryOptions) {
    super(options.clock);
    this.#client = options.client;
    this.#buffer = options.buffer;
    this.#log = options.log;
    this.#limit = options.limit ?? DEFAULT_BUFFER_LIMIT;
  }

  get metrics(): DeliveryMetrics {
    return {
      fired: this.#fired,
      delivered: this.#delivered,
      failed: this.#failed,
      dropped: this.#dropped,
      buffered: this.#waiting,
      bufferBytes: this.isStopping ? 0 : this.#buffer.bytes,
      lastTriggerMs: this.#lastTriggerMs,
      awaySinceMs: this.#awaySinceMs,
    };
  }

  /** Starts the delivery; does not wait for the principal. */
  protected override onStart(): void {
    if (this.#waiting > 0)
      this.#log.info(`${this.#waiting} buffered triggers from before wait for the principal`);
    this.#delivering = this.#deliverAll();
  }

  /** Undelivered triggers stay on disk. */
  protected override async onStop(): Promise<void> {
    this.#work.resolve();
    this.#room.resolve();
    this.#empty.resolve();
    await this.#delivering;
    this.#releaseWaiters();
    if (this.#waiting > 0) {
      this.#log.info(`${this.#waiting} triggers stay buffered on disk for the next start`);
    }
    this.#buffer.close();
  }

  /** Resolves when the buffer is empty, or when the delivery is stopped. */
  async drained(): Promise<void> {
    while (this.#waiting > 0 && !this.stopSignal.aborted) await this.#empty.promise;
  }

  /** Number of buffered triggers that are not settled. */
  get #waiting(): number {
    return Math.max(0, this.#buffer.size - this.#lingering.size);
  }

  /**
   * Stores the trigger and waits until it is a run, or until the principal turns out to be away.
   * @throws RequestRefusedError when the principal refuses it
   * @throws TriggerNotSafeError when it cannot be stored and the principal does not accept it either
   */
  async deliver(request: TriggerRequest): Promise<Triggered> {
    while (this.#waiting + this.#arriving.length >= this.#limit && !this.stopSignal.aborted) {
      if (!this.#toldFull) {
        this.#toldFull = true;
        this.#log.warn(
          `${this.#limit} triggers are buffered: no more are accepted until the principal is back`,
        );
      }
      this.signals.emit("full");
      await this.#room.promise;
    }
    this.stopSignal.throwIfAborted();
    this.#fired++;
    this.#lastTriggerMs = this.clock.now();
    const waiter: Waiter = { request, ...Promise.withResolvers<Triggered>() };
    if (this.#arriving.push(waiter) === 1) queueMicrotask(() => this.#writeDown());
    return waiter.promise;
  }

  #writeDown(): void {
    const arriving = this.#arriving;
    this.#arriving = [];
    let seqs: readonly number[];
    try {
      seqs = this.#buffer.add(
        arriving.map((waiter) => waiter.request),
        this.clock.now(),
      );
      this.#toldDisk = false;
    } catch (error) {
      if (!this.#toldDisk) this.#log.error(`Triggers cannot be written to disk: ${errorMessage(error)}`);
      this.#toldDisk = true;
      for (const waiter of arriving) void this.#deliverUnwritten(waiter, error);
      return;
    }
    this.#work.resolve();
    this.signals.emit("buffered");
    for (const [i, waiter] of arriving.entries()) {
      if (this.#awaySinceMs !== null || this.#deferred.has(waiter.request.workflowId)) {
        waiter.resolve(buffered(waiter.request));
        continue;
      }
      const seq = seqs[i] ?? 0;
      if (this.#lingering.has(seq)) {
        this.#deliverAgain(waiter);
        continue;
      }
      const others = this.#waiters.get(seq);
      if (others === undefined) this.#waiters.set(seq, [waiter]);
      else others.push(waiter);
    }
  }

  /** The disk has failed: the trigger is only safe if the principal accepts it at once. */
  async #deliverUnwritten(waiter: Waiter, why: unknown): Promise<void> {
    try {
      waiter.resolve(await sendTrigger(this.#client, waiter.request, { signal: this.stopSignal }));
      this.#delivered++;
    } catch (error) {
      this.#failed++;
      if (error instanceof RequestRefusedError) return waiter.reject(error);
      waiter.reject(
        new TriggerNotSafeError(
          `The trigger of ${waiter.request.workflowId} can neither be written to disk (${errorMessage(why)}) nor delivered (${errorMessage(error)}).`,
          { cause: error },
        ),
      );
    }
  }

  async #deliverAll(): Promise<void> {
    const signal = this.stopSignal;
    const backOff = new BackOff(FIRST_RETRY_MS, LAST_RETRY_MS);
    while (!signal.aborted) {
      try {
        this.#removeLingering();
        const batch = this.#nextBatch();
        this.#tellBufferWorks();
        this.#askAgain(batch[0]?.seq ?? Number.POSITIVE_INFINITY);
        if (batch.length === 0) await this.#waitForWork();
        else await this.#deliverBatch(batch);
        backOff.reset();
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof BufferFailedError) this.#tellBuffer(error);
        else this.#tellAway(error);
        this.#releaseWaiters();
        await this.pause(backOff.next());
      }
    }
  }

  /** The oldest triggers that can be delivered now. @throws BufferFailedError */
  #nextBatch(): WaitingTrigger[] {
    const now = this.clock.monotonic();
    const except = [...this.#deferred].flatMap(([id, { dueMs }]) => (dueMs > now ? [id] : []));
    const batch: WaitingTrigger[] = [];
    for (let afterSeq = 0; batch.length < BATCH; ) {
      const page = this.#onDisk(() => this.#buffer.first(BATCH, { afterSeq, except }));
      batch.push(...page.filter(({ seq }) => !this.#lingering.has(seq)));
      const last = page.at(-1);
      if (last === undefined || page.length < BATCH) break;
      afterSeq = last.seq;
    }
    return batch;
  }

  /** Waits until there are new triggers, or until what failed should be tried again. */
  async #waitForWork(): Promise<void> {
    if (this.#waiting === 0) {
      this.#empty.resolve();
      this.#empty = Promise.withResolvers();
    }
    this.#work = Promise.withResolvers();
    const now = this.clock.monotonic();
    const due = [...this.#deferred.values()].map(({ dueMs }) => Math.max(1, dueMs - now));
    if (this.#lingering.size > 0) due.push(LAST_RETRY_MS);
    if (due.length === 0) await this.#work.promise;
    else await isDoneWithin(Math.min(...due), this.#work.promise, this.clock);
  }

  /**
   * Workflows do not wait for each other; the triggers of each are delivered in order.
   * @throws when delivery is not possible now
   */
  async #deliverBatch(batch: readonly WaitingTrigger[]): Promise<void> {
    const lanes = Map.groupBy(batch, ({ request }) => request.workflowId);
    const outcomes = await Promise.allSettled(
      [...lanes].map(async ([workflowId, lane]) => {
        try {
          for (const trigger of lane) await this.#deliverOne(trigger);
        } catch (error) {
          if (!(error instanceof RequestUnprocessableError)) throw error;
          this.#defer(workflowId, error.message);
        }
      }),
    );
    const failure = outcomes.find((outcome) => outcome.status === "rejected");
    if (failure !== undefined) throw failure.reason;
  }

  /** The principal answers, but does not accept triggers of this workflow now: those of others do not wait for them. */
  #defer(workflowId: string, reason: string): void {
    this.#tellBack();
    const { backOff = new BackOff(FIRST_RETRY_MS, LAST_RETRY_MS) } = this.#deferred.get(workflowId) ?? {};
    const isTold = this.#isTold(reason);
    this.#deferred.set(workflowId, { backOff, reason, dueMs: this.clock.monotonic() + backOff.next() });
    this.#releaseWaiters(workflowId);
    if (isTold) return;
    this.#log.warn(
      `Triggers of workflow ${workflowId} are buffered on disk because the principal does not accept them now: ${reason}`,
    );
  }

  #acceptAgain(workflowId: string): void {
    const deferred = this.#deferred.get(workflowId);
    this.#deferred.delete(workflowId);
    if (deferred === undefined || this.#isTold(deferred.reason)) return;
    this.#log.info(`The principal accepts triggers of workflow ${workflowId} again`);
  }

  /** Whether this was said about a workflow whose triggers wait. */
  #isTold(reason: string): boolean {
    return [...this.#deferred.values()].some((other) => other.reason === reason);
  }

  /** @throws when delivery is not possible now */
  async #deliverOne(trigger: WaitingTrigger): Promise<void> {
    const { seq, request } = trigger;
    if (this.#isTooLate(trigger)) {
      this.#dropped++;
      this.#log.warn(
        `The trigger of ${request.workflowId} (${request.dedupeKey}) was dropped: it is too late`,
      );
      await this.#settle(seq, (waiter) => waiter.resolve({ ...buffered(request), buffered: false }));
      return;
    }
    let how: (waiter: Waiter) => void;
    try {
      const made = await sendTrigger(this.#client, request, { signal: this.stopSignal });
      this.#delivered++;
      this.signals.emit("delivered");
      how = (waiter) => waiter.resolve(made);
    } catch (error) {
      if (!(error instanceof RequestRefusedError)) throw error;
      this.#failed++;
      if (!this.#waiters.has(seq)) {
        this.#log.error(
          `The trigger of ${request.workflowId} (${request.dedupeKey}) was dropped: ${error.message}`,
        );
      }
      how = (waiter) => waiter.reject(error);
    }
    this.#tellBack();
    this.#acceptAgain(request.workflowId);
    await this.#settle(seq, how);
  }

  #isTooLate(trigger: WaitingTrigger): boolean {
    const { late, scheduledTimeMs } = trigger.request;
    if (late === undefined || late.keep === "all") return false;
    if (this.clock.now() - (scheduledTimeMs ?? trigger.createdAtMs) <= late.afterMs) return false;
    return late.keep === "none" || this.#onDisk(() => this.#buffer.hasLater(trigger));
  }

  /** The trigger is settled: it is removed from disk, and its caller gets the result. */
  async #settle(seq: number, how: (waiter: Waiter) => void): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    if (this.#leaving.push({ seq, resolve }) === 1) setImmediate(() => this.#takeOut());
    await promise;
    for (const waiter of this.#waiters.get(seq) ?? []) how(waiter);
    this.#waiters.delete(seq);
    if (this.#waiting >= this.#limit) return;
    this.#toldFull = false;
    this.#room.resolve();
    this.#room = Promise.withResolvers();
  }

  #takeOut(): void {
    const leaving = this.#leaving;
    this.#leaving = [];
    for (const { seq } of leaving) this.#lingering.add(seq);
    this.#removeLingering();
    // Settled even if they are still on disk: this process does not deliver them again.
    for (const { resolve } of leaving) resolve();
  }

  #removeLingering(): void {
    if (this.#lingering.size === 0) return;
    try {
      this.#onDisk(() => this.#buffer.remove([...this.#lingering]));
      this.#lingering.clear();
    } catch (error) {
      this.#tellBuffer(error);
    }
  }

  /** @throws BufferFailedError */
  #onDisk<T>(use: () => T): T {
    try {
      return use();
    } catch (error) {
      throw new BufferFailedError(errorMessage(error), { cause: error });
    }
  }

  /** Triggers before `firstSeq` are gone: another process of this listener delivered them. Asks the principal for their runs. */
  #askAgain(firstSeq: number): void {
    for (const [seq, waiters] of this.#waiters) {
      if (seq >= firstSeq) continue;
      this.#waiters.delete(seq);
      for (const waiter of waiters) this.#deliverAgain(waiter);
    }
  }

  /** Asks the principal for the run of a trigger that was delivered. */
  #deliverAgain({ request, resolve, reject }: Waiter): void {
    sendTrigger(this.#client, request, { signal: this.stopSignal }).then(resolve, (error) => {
      if (error instanceof RequestRefusedError) reject(error);
      else resolve(buffered(request));
    });
  }

  #tellAway(error: unknown): void {
    if (this.#awaySinceMs !== null) return;
    this.#awaySinceMs = this.clock.now();
    this.#log.warn(
      `Triggers are buffered on disk because the principal does not accept them: ${errorMessage(error)}`,
    );
  }

  #tellBack(): void {
    if (this.#awaySinceMs === null) return;
    const seconds = Math.round((this.clock.now() - this.#awaySinceMs) / 1000);
    this.#awaySinceMs = null;
    this.#log.info(
      `The principal is back after ${seconds} s; ${this.#waiting} buffered triggers are being delivered`,
    );
  }

  #tellBuffer(error: unknown): void {
    if (this.#toldBuffer) return;
    this.#toldBuffer = true;
    this.#log.error(
      `The buffer of triggers on this host's disk does not work: ${errorMessage(error)}. Triggers that were delivered may stay in it, which starts no second run. Free space, or repair the disk of CDKTR_APP_DATA_DIRECTORY.`,
    );
  }

  #tellBufferWorks(): void {
    if (!this.#toldBuffer || this.#lingering.size > 0) return;
    this.#toldBuffer = false;
    this.#log.info("The buffer of triggers on this host's disk works again");
  }

  /** The triggers, or those of a workflow, are safe on disk, so their callers need not wait for the principal. */
  #releaseWaiters(workflowId?: string): void {
    for (const [seq, waiters] of this.#waiters) {
      if (workflowId !== undefined && waiters[0]?.request.workflowId !== workflowId) continue;
      this.#waiters.delete(seq);
      for (const waiter of waiters) waiter.resolve(buffered(waiter.request));
    }
  }
}

function buffered(request: TriggerRequest): Triggered {
  return { workflow_instance_id: null, dedupe_key: request.dedupeKey, buffered: true };
}
