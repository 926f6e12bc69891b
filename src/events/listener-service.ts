/** Runs a listener as a service: with a buffer for its triggers, a stop signal, and an orderly end. */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../clock.ts";
import type { ListenerState, ListenerStatus } from "../contract/messages.ts";
import { errorMessage } from "../errors.ts";
import type { PrincipalClient } from "../protocol/client.ts";
import { BackgroundService } from "../service.ts";
import { BackOff, isDoneWithin } from "../timer.ts";
import { BufferedDelivery, type DeliveryMetrics, type DeliverySignals } from "./buffered-delivery.ts";
import type { EventListener, TriggerDelivery } from "./event-listener.ts";
import { listenerDirectory } from "./listener-file.ts";
import { hasBuffer, TriggerBuffer } from "./trigger-buffer.ts";

/** How long a listener may take to stop, ms. */
const GRACE_MS = 3000;
/** Exponential back-off before a failed listener is restarted, ms. */
const FIRST_PAUSE_MS = 500;
const LAST_PAUSE_MS = 30_000;

/** What it needs. */
export interface ListenerServiceOptions {
  readonly listener: EventListener;
  /** It is closed when the service stops. */
  readonly client: PrincipalClient;
  readonly log: ConsolaInstance;
  /** The buffer is in `listeners/NAME` below it. */
  readonly dataDirectory: string;
  /** Restarts it with increasing delays when it fails; without this, {@link ListenerService.done} rejects. */
  readonly restarts?: boolean;
  /** Maximum number of buffered triggers. */
  readonly bufferLimit?: number;
  readonly graceMs?: number;
  /** Where its triggers go instead of a buffer on disk, of which only what an earlier process has left is delivered. */
  readonly direct?: CountedDelivery;
  readonly clock?: Clock;
}

/** A delivery with its counters. */
export interface CountedDelivery extends TriggerDelivery {
  readonly metrics: Pick<DeliveryMetrics, "fired" | "delivered" | "failed" | "lastTriggerMs" | "awaySinceMs">;
}

/** Events of the service. */
interface ListenerSignals extends DeliverySignals {
  /** Its state has changed. */
  readonly changed: ListenerState;
}

/** A running listener. */
export class ListenerService extends BackgroundService<ListenerSignals> {
  readonly name: string;
  /** Resolves when the listener has finished and all its triggers are delivered; rejects when it fails. */
  readonly done: Promise<void>;
  readonly #options: ListenerServiceOptions;
  readonly #told = Promise.withResolvers<void>();
  readonly #done = Promise.withResolvers<void>();
  #delivery: BufferedDelivery | undefined;
  #listening: Promise<void> = Promise.resolve();
  #state: ListenerState = "stopped";
  #error: string | null = null;
  #restarts = 0;

  constructor(options: ListenerServiceOptions) {
    super(options.clock);
    this.#options = options;
    this.name = `listener ${options.listener.name}`;
    this.done = this.#done.promise;
    // A rejection must not crash the process if it is not awaited.
    this.done.catch(() => {});
  }

  /** Its state, and its counters since the start. */
  get status(): ListenerStatus {
    const metrics = this.#delivery?.metrics;
    const direct = this.#options.direct?.metrics;
    return {
      name: this.#options.listener.name,
      state: this.#state,
      error: this.#error,
      restarts: this.#restarts,
      fired: (metrics?.fired ?? 0) + (direct?.fired ?? 0),
      delivered: (metrics?.delivered ?? 0) + (direct?.delivered ?? 0),
      failed: (metrics?.failed ?? 0) + (direct?.failed ?? 0),
      dropped: metrics?.dropped ?? 0,
      buffered: metrics?.buffered ?? 0,
      buffer_bytes: metrics?.bufferBytes ?? 0,
      last_trigger_ms: direct?.lastTriggerMs ?? metrics?.lastTriggerMs ?? null,
      principal_away_since_ms: direct?.awaySinceMs ?? metrics?.awaySinceMs ?? null,
    };
  }

  /** Starts listening; does not wait for the principal. */
  protected override onStart(): void {
    this.#listening = this.#listen();
  }

  /** Tells the listener to stop, waits a little for it, and leaves undelivered triggers on disk. */
  protected override async onStop(): Promise<void> {
    this.#told.resolve();
    const closing = this.#options.listener.stopListening().then(() => this.#listening);
    // A listener that ignores its signal would wait for events forever.
    await isDoneWithin(this.#options.graceMs ?? GRACE_MS, closing).catch(() => {});
    await this.#delivery?.stop();
    await this.#options.client.close();
    this.#become("stopped", null);
    this.#done.resolve();
  }

  async #listen(): Promise<void> {
    const { listener, restarts = false, log } = this.#options;
    const signal = this.stopSignal;
    const backOff = new BackOff(FIRST_PAUSE_MS, LAST_PAUSE_MS);
    for (;;) {
      try {
        const delivery = await this.#open();
        this.#become("running", null);
        await listener.startListening();
        await Promise.race([delivery?.drained(), this.#told.promise]);
        break;
      } catch (error) {
        if (signal.aborted) break;
        this.#become("backing off", errorMessage(error));
        if (!restarts) return this.#done.reject(error);
        const pauseMs = backOff.next();
        log.error(
          `The listener ${listener.name} failed: ${errorMessage(error)}; restarting in ${pauseMs / 1000} s`,
        );
        await this.pause(pauseMs);
        if (signal.aborted) break;
        this.#restarts++;
      }
    }
    this.#become("stopped", null);
    this.#done.resolve();
  }

  /** @throws ListenerFileError when the buffer cannot be opened */
  async #open(): Promise<BufferedDelivery | undefined> {
    if (this.#delivery !== undefined) return this.#delivery;
    const { listener, client, log, dataDirectory, bufferLimit, clock, direct } = this.#options;
    const directory = listenerDirectory(dataDirectory, listener.name);
    if (direct !== undefined) listener.attach({ client, delivery: direct, signal: this.stopSignal });
    if (direct !== undefined && !hasBuffer(directory)) return undefined;
    const buffer = new TriggerBuffer(directory);
    const delivery = new BufferedDelivery({ client, buffer, log, limit: bufferLimit, clock });
    this.#delivery = delivery;
    for (const topic of ["buffered", "delivered", "full"] as const) {
      delivery.signals.on(topic, () => this.signals.emit(topic));
    }
    await delivery.start();
    if (direct === undefined) listener.attach({ client, delivery, signal: this.stopSignal });
    return delivery;
  }

  #become(state: ListenerState, error: string | null): void {
    if (this.#state === state && this.#error === error) return;
    this.#state = state;
    this.#error = error;
    this.signals.emit("changed", state);
  }
}
