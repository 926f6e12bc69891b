/**
 * The one shape of a background service: started in order, stopped in reverse, and stopped means done.
 */
export interface Service {
  /** Shown in messages about starting and stopping. */
  readonly name: string;
  /** Resolves when the service is ready; rejects with a typed error when it cannot be. */
  start(): Promise<void>;
  /** Resolves when nothing of the service runs any more. Safe to call twice, and before `start`. */
  stop(): Promise<void>;
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
