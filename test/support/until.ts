/**
 * Polls for conditions without an event: the end of a foreign process, a file, a changing reply of a principal. Where a service
 * emits a signal, or a request waits (WAITRUN, `--wait`), that is waited for instead.
 * @param look returns the awaited value, or undefined or false
 * @throws Error with `what` when it does not happen in time
 */
export async function until<T>(
  what: string,
  look: () => Promise<T | undefined | false> | T | undefined | false,
  timeoutMs = 45_000,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    // What is awaited may never happen.
    if (performance.now() > deadline) throw new Error(`It did not happen in ${timeoutMs / 1000} s: ${what}`);
    // The one place where tests look again and again.
    await Bun.sleep(10);
  }
}
