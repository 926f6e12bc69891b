/** How long a task waits between its attempts. */
import { MAX_DURATION_MS } from "./duration.ts";
import type { RetryPolicy } from "./model.ts";

/**
 * The delay in ms before the next attempt, after `attempt` attempts (1-based) have failed; `null` when no attempt is left.
 * It grows by the factor `backoff`, up to the longest duration.
 */
export function retryDelayMs(policy: RetryPolicy, attempt: number): number | null {
  if (attempt >= policy.max_attempts) return null;
  // The power may be infinite, and 0 times infinity is NaN.
  if (policy.delay_ms === 0) return 0;
  return Math.min(MAX_DURATION_MS, Math.round(policy.delay_ms * policy.backoff ** (attempt - 1)));
}
