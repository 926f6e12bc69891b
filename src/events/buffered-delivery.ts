/** Brings triggers to the principal over its absences: through a buffer on disk, in order, each with its dedupe key. */
import type { ConsolaInstance } from "consola";
import { type Clock, systemClock } from "../clock.ts";
import { errorMessage } from "../errors.ts";
import { type PrincipalClient, RequestRefusedError } from "../protocol/client.ts";
import type { Service } from "../service.ts";
import { sendTrigger, type TriggerDelivery, type Triggered, type TriggerRequest } from "./event-listener.ts";
import type { TriggerBuffer, WaitingTrigger } from "./trigger-buffer.ts";

/** Triggers that may wait, if nothing else is said. */
export const DEFAULT_BUFFER_LIMIT = 100_000;
/** Pauses between attempts to reach the principal, ms: they double. */
const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 2000;

/** What a delivery has done since it started, and how it is. */
export interface DeliveryMetrics {
  /** Triggers that became runs. */
  readonly delivered: number;
  /** Triggers that the principal refused; they are gone. */
  readonly refused: number;
  /** Triggers that wait on disk. */
  readonly waiting: number;
  /** Since when the principal does not take them, ms since the epoch; null while it does. */
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

type Waiter = PromiseWithResolvers<Triggered>;

/** The delivery. Triggers that an earlier process left in the buffer go first. */
export class BufferedDelivery implements TriggerDelivery, Service {
  readonly name = "delivery of triggers";
  readonly #client: PrincipalClient;
  readonly #buffer: TriggerBuffer;
  readonly #log: ConsolaInstance;
  readonly #limit: number;
  readonly #clock: Clock;
  readonly #stop = new AbortController();
  readonly #waiters = new Map<number, Waiter[]>();
  #delivering: Promise<void> = Promise.resolve();
  #work = Promise.withResolvers<void>();
  #room = Promise.withResolvers<void>();
  #empty = Promise.withResolvers<void>();
  #delivered = 0;
  #refused = 0;
  #awaySinceMs: number | null = null;
  #toldFull = false;
  #closed = false;

  constructor(options: BufferedDeliveryOptions) {
    this.#client = options.client;
    this.#buffer = options.buffer;
    this.#log = options.log;
    this.#limit = options.limit ?? DEFAULT_BUFFER_LIMIT;
    this.#clock = options.clock ?? systemClock;
  }

  get metrics(): DeliveryMetrics {
    return {
      delivered: this.#delivered,
      refused: this.#refused,
      waiting: this.#buffer.size,
      awaySinceMs: this.#awaySinceMs,
    };
  }

  /** Begins to deliver; does not wait for the principal. */
  async start(): Promise<void> {
    if (this.#buffer.size > 0)
      this.#log.info(`${this.#buffer.size} triggers of before wait for the principal`);
    this.#delivering = this.#deliverAll();
  }

  /** What is not delivered stays on disk. */
  async stop(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#stop.abort(new Error("the listener stops"));
    this.#work.resolve();
    this.#room.resolve();
    this.#empty.resolve();
    await this.#delivering;
    this.#releaseWaiters();
    if (this.#buffer.size > 0) {
      this.#log.info(`${this.#buffer.size} triggers wait on disk for the next start`);
    }
    this.#buffer.close();
  }

  /** Resolves when nothing waits, or when the delivery is stopped. */
  async drained(): Promise<void> {
    while (this.#buffer.size > 0 && !this.#stop.signal.aborted) await this.#empty.promise;
  }

  /** Writes the trigger down and waits until it is a run, or until it is known that the principal is away. */
  async deliver(request: TriggerRequest): Promise<Triggered> {
    while (this.#buffer.size >= this.#limit && !this.#stop.signal.aborted) {
      if (!this.#toldFull) {
        this.#toldFull = true;
        this.#log.warn(`${this.#limit} triggers wait for the principal: no more are taken until it is back`);
      }
      await this.#room.promise;
    }
    this.#stop.signal.throwIfAborted();
    const seq = this.#buffer.add(request, this.#clock.now());
    this.#work.resolve();
    if (this.#awaySinceMs !== null) return buffered(request);
    const waiter: Waiter = Promise.withResolvers();
    const others = this.#waiters.get(seq);
    if (others === undefined) this.#waiters.set(seq, [waiter]);
    else others.push(waiter);
    const made = await waiter.promise;
    return made.buffered ? buffered(request) : made;
  }

  async #deliverAll(): Promise<void> {
    const { signal } = this.#stop;
    let retryMs = FIRST_RETRY_MS;
    while (!signal.aborted) {
      try {
        const next = this.#buffer.first();
        if (next === undefined) await this.#waitForWork();
        else await this.#deliverOne(next);
        retryMs = FIRST_RETRY_MS;
      } catch (error) {
        if (signal.aborted) return;
        // Also when the disk fails: what was delivered and could not be taken out is delivered again under the same key.
        this.#tellAway(error);
        await this.#sleep(retryMs);
        retryMs = Math.min(retryMs * 2, LAST_RETRY_MS);
      }
    }
  }

  async #waitForWork(): Promise<void> {
    this.#empty.resolve();
    this.#empty = Promise.withResolvers();
    this.#work = Promise.withResolvers();
    await this.#work.promise;
  }

  /** @throws whatever says that it cannot be done now */
  async #deliverOne({ seq, request }: WaitingTrigger): Promise<void> {
    try {
      const made = await sendTrigger(this.#client, request, { signal: this.#stop.signal });
      this.#delivered++;
      this.#tellBack();
      this.#take(seq, (waiter) => waiter.resolve(made));
    } catch (error) {
      if (!(error instanceof RequestRefusedError)) throw error;
      this.#refused++;
      this.#tellBack();
      if (!this.#waiters.has(seq)) {
        this.#log.error(
          `The trigger of ${request.workflowId} (${request.dedupeKey}) is dropped: ${error.message}`,
        );
      }
      this.#take(seq, (waiter) => waiter.reject(error));
    }
  }

  #take(seq: number, settle: (waiter: Waiter) => void): void {
    this.#buffer.remove(seq);
    for (const waiter of this.#waiters.get(seq) ?? []) settle(waiter);
    this.#waiters.delete(seq);
    if (this.#buffer.size >= this.#limit) return;
    this.#toldFull = false;
    this.#room.resolve();
    this.#room = Promise.withResolvers();
  }

  #tellAway(error: unknown): void {
    if (this.#awaySinceMs === null) {
      this.#awaySinceMs = this.#clock.now();
      this.#log.warn(`Triggers wait on disk, the principal does not take them: ${errorMessage(error)}`);
    }
    this.#releaseWaiters();
  }

  #tellBack(): void {
    if (this.#awaySinceMs === null) return;
    const seconds = Math.round((this.#clock.now() - this.#awaySinceMs) / 1000);
    this.#awaySinceMs = null;
    this.#log.info(
      `The principal is back after ${seconds} s; ${this.#buffer.size} triggers that waited are delivered`,
    );
  }

  /** The triggers are safe on disk: nobody has to wait for the principal. */
  #releaseWaiters(): void {
    for (const waiters of this.#waiters.values()) {
      for (const waiter of waiters) {
        waiter.resolve({ workflow_instance_id: null, dedupe_key: "", buffered: true });
      }
    }
    this.#waiters.clear();
  }

  #sleep(ms: number): Promise<void> {
    const { signal } = this.#stop;
    return new Promise((resolve) => {
      if (signal.aborted) return resolve();
      const done = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      signal.addEventListener("abort", done, { once: true });
    });
  }
}

function buffered(request: TriggerRequest): Triggered {
  return { workflow_instance_id: null, dedupe_key: request.dedupeKey, buffered: true };
}
