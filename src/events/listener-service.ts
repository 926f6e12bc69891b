/** Runs a listener as a service: with a buffer for its triggers, a signal to end, and an end that is waited for. */
import { join } from "node:path";
import type { ConsolaInstance } from "consola";
import type { PrincipalClient } from "../protocol/client.ts";
import type { Service } from "../service.ts";
import { BufferedDelivery, type DeliveryMetrics } from "./buffered-delivery.ts";
import type { EventListener } from "./event-listener.ts";
import { TriggerBuffer } from "./trigger-buffer.ts";

/** How long a listener that was told to end may take, ms. */
const GRACE_MS = 3000;

/** What it needs. */
export interface ListenerServiceOptions {
  readonly listener: EventListener;
  /** It is closed when the service stops. */
  readonly client: PrincipalClient;
  readonly log: ConsolaInstance;
  /** The buffer is in `listeners/NAME` below it. */
  readonly dataDirectory: string;
  /** Triggers that may wait on disk. */
  readonly bufferLimit?: number;
  readonly graceMs?: number;
}

/** A listener that runs. */
export class ListenerService implements Service {
  readonly name: string;
  /** Resolves when the listener has come to its end and all its triggers are delivered; rejects when it fails. */
  readonly done: Promise<void>;
  readonly #options: ListenerServiceOptions;
  readonly #stop = new AbortController();
  readonly #told = Promise.withResolvers<void>();
  readonly #done = Promise.withResolvers<void>();
  #delivery: BufferedDelivery | undefined;
  #listening: Promise<void> = Promise.resolve();
  #stopped: Promise<void> | undefined;

  constructor(options: ListenerServiceOptions) {
    this.#options = options;
    this.name = `listener ${options.listener.name}`;
    this.done = this.#done.promise;
    // Whoever does not look at it is not to be ended by it.
    this.done.catch(() => {});
  }

  get metrics(): DeliveryMetrics {
    return this.#delivery?.metrics ?? { delivered: 0, refused: 0, waiting: 0, awaySinceMs: null };
  }

  /**
   * Begins to listen; does not wait for the principal.
   * @throws TriggerBufferError when the buffer cannot be opened
   */
  async start(): Promise<void> {
    const { listener, client, log, dataDirectory, bufferLimit } = this.#options;
    const buffer = new TriggerBuffer(join(dataDirectory, "listeners", directoryName(listener.name)));
    const delivery = new BufferedDelivery({ client, buffer, log, limit: bufferLimit });
    this.#delivery = delivery;
    await delivery.start();
    listener.attach({ client, delivery, signal: this.#stop.signal });
    this.#listening = this.#listen(delivery);
  }

  /** Tells the listener to end, waits a little for it, and leaves on disk what is not delivered. */
  stop(): Promise<void> {
    this.#stopped ??= this.#end();
    return this.#stopped;
  }

  async #listen(delivery: BufferedDelivery): Promise<void> {
    try {
      await this.#options.listener.startListening();
      await Promise.race([delivery.drained(), this.#told.promise]);
      this.#done.resolve();
    } catch (error) {
      if (this.#stop.signal.aborted) this.#done.resolve();
      else this.#done.reject(error);
    }
  }

  async #end(): Promise<void> {
    this.#stop.abort(new Error("the listener stops"));
    this.#told.resolve();
    let timer: Timer | undefined;
    const patience = new Promise<void>((done) => {
      timer = setTimeout(done, this.#options.graceMs ?? GRACE_MS);
    });
    const closing = this.#options.listener.stopListening().then(() => this.#listening);
    // A listener that does not look at its signal waits for events for ever.
    await Promise.race([closing.catch(() => {}), patience]);
    clearTimeout(timer);
    await this.#delivery?.stop();
    await this.#options.client.close();
    this.#done.resolve();
  }
}

/** The name as a directory: nothing in it leads elsewhere. */
function directoryName(name: string): string {
  return encodeURIComponent(name).replaceAll(".", "%2E").slice(0, 200) || "listener";
}
