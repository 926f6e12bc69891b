/**
 * libzmq gives an address back in the background, some time after unbind or close. An address that this process had
 * itself a moment ago is therefore waited for and not reported as in use.
 */
const GRACE_MS = 2_000;

const released = new Map<string, number>();

/** Remembers that this process is giving the endpoint back. */
export function releaseEndpoint(endpoint: string): void {
  const now = performance.now();
  for (const [other, until] of released) if (until < now) released.delete(other);
  released.set(normalise(endpoint), now + GRACE_MS);
}

/** Whether the endpoint may be in use only because this process has not quite given it back. */
export function isBeingReleased(endpoint: string): boolean {
  const until = released.get(normalise(endpoint));
  return until !== undefined && until >= performance.now();
}

function normalise(endpoint: string): string {
  return endpoint.replace("tcp://*:", "tcp://0.0.0.0:").replace("tcp://localhost:", "tcp://127.0.0.1:");
}
