/** Whether a task is tried again after a failure, and how long it waits before that. */
import { MAX_DURATION_MS } from "./duration.ts";
import { hasExitCode } from "./exit-codes.ts";
import type { RetryPolicy } from "./model.ts";

/**
 * The delay in ms before the next attempt, after `attempt` attempts (1-based) have failed; `null` when no attempt is left.
 * It grows by the factor `backoff`, varies by the fraction `jitter` in both directions, and is at most `max_delay`.
 * @param random gives numbers from 0 to below 1
 */
export function retryDelayMs(
  policy: RetryPolicy,
  attempt: number,
  random: () => number = Math.random,
): number | null {
  if (attempt >= policy.max_attempts) return null;
  // The power may be infinite, and 0 times infinity is NaN.
  if (policy.delay_ms === 0) return 0;
  const { max_delay_ms = MAX_DURATION_MS, jitter = 0 } = policy;
  const longest = Math.min(max_delay_ms, MAX_DURATION_MS);
  const delay = Math.min(longest, policy.delay_ms * policy.backoff ** (attempt - 1));
  const varied = jitter === 0 ? delay : delay * (1 + jitter * (2 * random() - 1));
  return Math.min(longest, Math.round(varied));
}

/**
 * Whether a failure may be followed by another attempt, if one is left. With `on_exit_codes`, only these are.
 * @param exitCode null for a timeout, a signal, and a program that could not start
 */
export function mayRetry({ on_exit_codes: codes }: RetryPolicy, exitCode: number | null): boolean {
  return codes === undefined || (exitCode !== null && hasExitCode(codes, exitCode));
}
