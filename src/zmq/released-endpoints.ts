/**
 * libzmq releases an address in the background, some time after unbind or close. If an address was held by this process a moment
 * ago, a bind therefore waits for it instead of reporting that it is in use.
 */
const GRACE_MS = 2_000;

const released = new Map<string, number>();

/** Records that this process is releasing the endpoint. */
export function releaseEndpoint(endpoint: string): void {
  const now = performance.now();
  for (const [other, until] of released) if (until < now) released.delete(other);
  released.set(normalise(endpoint), now + GRACE_MS);
}

/** Whether the endpoint may be in use only because this process has not fully released it yet. */
export function isBeingReleased(endpoint: string): boolean {
  const until = released.get(normalise(endpoint));
  return until !== undefined && until >= performance.now();
}

function normalise(endpoint: string): string {
  return endpoint.replace("tcp://*:", "tcp://0.0.0.0:").replace("tcp://localhost:", "tcp://127.0.0.1:");
}
