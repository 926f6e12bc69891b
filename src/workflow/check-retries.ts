/** Warns of keys of `retry` that have no effect, and finds values that contradict each other. */
import type { Finding } from "./diagnostic.ts";
import { type IssuePath, placeOf } from "./issues.ts";
import type { RetryPolicy } from "./model.ts";
import type { Located } from "./yaml-tree.ts";

/**
 * Checks the retries of the tasks, or of the hooks, of a file.
 * @param key where in the file they are
 */
export function checkRetries(
  tasks: readonly { readonly id: string; readonly retry: RetryPolicy }[],
  root: Located,
  key: "tasks" | "hooks" = "tasks",
): Finding[] {
  return tasks.flatMap(({ id, retry }) => checkRetry([key, id, "retry"], id, retry, root));
}

function checkRetry(path: IssuePath, id: string, retry: RetryPolicy, root: Located): Finding[] {
  const findings: Finding[] = [];
  const at = (key: string) => placeOf(root, [...path, key]);
  const warn = (key: string, where: string, help: string): void => {
    findings.push({ code: "W002", message: `"${key}" has no effect ${where}`, help, ...at(key) });
  };
  // What expressions give is not known yet.
  if (retry.templates !== undefined) return findings;
  const { max_delay_ms, jitter, on_exit_codes, max_attempts, delay_ms, backoff } = retry;
  if (max_attempts === 1) {
    const help = "max_attempts counts the first attempt: write 2 or more";
    if (max_delay_ms !== undefined) warn("max_delay", "with a single attempt", help);
    if (jitter !== undefined) warn("jitter", "with a single attempt", help);
    if (on_exit_codes !== undefined) warn("on_exit_codes", "with a single attempt", help);
    return findings;
  }
  if (max_delay_ms !== undefined && max_delay_ms < delay_ms) {
    findings.push({
      code: "E014",
      message: `"max_delay" in retry of task "${id}" is shorter than its delay`,
      help: "no delay is longer than max_delay: make it longer, or shorten delay",
      ...at("max_delay"),
    });
  } else if (max_delay_ms !== undefined && backoff === 1 && (jitter ?? 0) === 0) {
    warn("max_delay", "if the delay does not grow", "add backoff: exponential, or remove it");
  }
  if (jitter !== undefined && jitter > 0 && delay_ms === 0)
    warn("jitter", "without a delay", 'add a delay, such as "10s", or remove it');
  return findings;
}
