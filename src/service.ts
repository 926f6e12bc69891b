/** Background services: one interface, one base class, started in order and stopped in reverse. */
import { type Clock, systemClock } from "./clock.ts";
import { EventHub } from "./event-hub.ts";
import { pause, Timer } from "./timer.ts";

/** Something that starts and stops. */
export interface Service {
  /** Name in messages about starting and stopping. */
  readonly name: string;
  /** Resolves when the service is ready; rejects with a typed error when it cannot be. */
  start(): Promise<void>;
  /** Resolves when nothing of the service is running any more. Safe to call twice, and before `start`. */
  stop(): Promise<void>;
}

/** For a service without signals. */
export type NoSignals = Record<never, never>;

/**
 * The base class of background services. A service starts once until it is stopped. `stop` waits for a start in progress, for
 * {@link onStop}, and for everything passed to {@link track}; no timer of the service fires after that. A start that fails leaves nothing
 * behind: the service is stopped before the error is thrown. A stopped service can be started again.
 */
export abstract class BackgroundService<Signals extends object = NoSignals> implements Service {
  abstract readonly name: string;
  /** Events about what it did, mainly for tests. */
  readonly signals = new EventHub<Signals>();
  protected readonly clock: Clock;
  readonly #timers: Timer[] = [];
  readonly #tracked = new Set<Promise<unknown>>();
  #stop = new AbortController();
  #starting: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;

  constructor(clock: Clock = systemClock) {
    this.clock = clock;
  }

  /** Makes the service ready. If it throws, {@link start} rejects with the error, after {@link onStop}. */
  protected abstract onStart(): Promise<void> | void;

  /** Ends what {@link onStart} began, however far it got. Timers are off and {@link stopSignal} is aborted by then. */
  protected onStop(): Promise<void> | void {}

  start(): Promise<void> {
    this.#starting ??= this.#start();
    return this.#starting;
  }

  stop(): Promise<void> {
    if (this.#starting === undefined) {
      this.#cancelTimers();
      return Promise.resolve();
    }
    this.#stopping ??= this.#end(this.#starting);
    return this.#stopping;
  }

  /** Whether it was told to stop, and has not been started again. */
  get isStopping(): boolean {
    return this.#stop.signal.aborted;
  }

  /** Aborts when the service is told to stop. */
  protected get stopSignal(): AbortSignal {
    return this.#stop.signal;
  }

  /** A timer that is turned off when the service is told to stop. */
  protected timer(ring: () => void): Timer {
    const timer = new Timer(ring, this.clock, () => !this.isStopping);
    this.#timers.push(timer);
    return timer;
  }

  /** Resolves after `ms`, or at once when the service is told to stop. */
  protected pause(ms: number): Promise<void> {
    return pause(ms, this.#stop.signal, this.clock);
  }

  /** Registers work that {@link stop} waits for. It must not reject. */
  protected track(work: Promise<unknown>): void {
    this.#tracked.add(work);
    void work.finally(() => this.#tracked.delete(work));
  }

  async #start(): Promise<void> {
    if (this.isStopping) this.#stop = new AbortController();
    try {
      await this.onStart();
    } catch (error) {
      await this.#clear().catch(() => {});
      this.#starting = undefined;
      throw error;
    }
  }

  async #end(starting: Promise<void>): Promise<void> {
    this.#stop.abort(new Error(`${this.name} stops`));
    const isStarted = await starting.then(
      () => true,
      () => false,
    );
    try {
      if (isStarted) await this.#clear();
    } finally {
      this.#starting = this.#stopping = undefined;
    }
  }

  async #clear(): Promise<void> {
    this.#stop.abort(new Error(`${this.name} stops`));
    this.#cancelTimers();
    try {
      await this.onStop();
    } finally {
      while (this.#tracked.size > 0) await Promise.allSettled(this.#tracked);
    }
  }

  #cancelTimers(): void {
    for (const timer of this.#timers) timer.cancel();
  }
}

/** Starts services in order. When one fails, those already started are stopped in reverse before the error is thrown. */
export async function startServices(services: readonly Service[]): Promise<void> {
  const started: Service[] = [];
  for (const service of services) {
    try {
      await service.start();
    } catch (error) {
      await stopServices(started);
      throw error;
    }
    started.push(service);
  }
}

/** Stops services in reverse order; goes on when one fails to stop, then throws the first failure. */
export async function stopServices(services: readonly Service[]): Promise<void> {
  let failure: unknown;
  for (const service of [...services].reverse()) {
    try {
      await service.stop();
    } catch (error) {
      failure ??= error;
    }
  }
  if (failure !== undefined) throw failure;
}
