/** A run or a task run. */
interface Timed {
  readonly started_at_ms: number | null;
  readonly finished_at_ms: number | null;
  readonly duration_ms?: number | null | undefined;
}

/**
 * How long a run or a task took, or has been running, ms; null when it has not started. The times may come from several clocks, or from
 * one that was set meanwhile; a duration comes from one monotonic clock.
 */
export function tookMs({ started_at_ms, finished_at_ms, duration_ms }: Timed, nowMs: number): number | null {
  if (started_at_ms === null) return null;
  return duration_ms ?? Math.max(0, (finished_at_ms ?? nowMs) - started_at_ms);
}
