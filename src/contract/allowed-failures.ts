/** How failures are told that do not make their run fail. */
import type { RunDetails, TaskRunSummary } from "./messages.ts";

/** How many failures a run allowed, in words; null for none. */
export function allowedWord({
  allowed_failures: count = 0,
}: Pick<RunDetails, "allowed_failures">): string | null {
  if (count === 0) return null;
  return count === 1 ? "1 failure allowed" : `${count} failures allowed`;
}

/** What is told after the status of a task. */
export function allowedSuffix({ is_allowed = false }: Pick<TaskRunSummary, "is_allowed">): string {
  return is_allowed ? " (allowed)" : "";
}
