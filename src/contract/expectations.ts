/** Expectations in the words of the views. */
import type { ExpectationSummary } from "./messages/expectations.ts";

const LATE: Readonly<Record<string, string>> = {
  start_within: "has not started in time",
  max_duration: "takes too long",
  finish_by: "has not completed in time",
};
const MISSED: Readonly<Record<string, string>> = {
  finish_by: "no run has completed in time",
  at_least_every: "no run has completed for too long",
};

/** Whether it is broken. */
export function isBroken({ state }: ExpectationSummary): boolean {
  return state === "late" || state === "missed";
}

/**
 * What is broken, as part of a sentence: `late since 2026-11-28 06:00: run 0198… has not completed in time (finish_by)`.
 * @param instant how a time is written
 */
export function brokenText(
  { rule, state, due_ms, workflow_instance_id: run }: ExpectationSummary,
  instant: (ms: number) => string,
): string {
  const since = due_ms === null ? state : `${state} since ${instant(due_ms)}`;
  const what =
    state === "late"
      ? `${run === undefined ? "a run" : `run ${run}`} ${LATE[rule] ?? ""}`
      : (MISSED[rule] ?? "");
  return `${since}: ${what.trim()} (${rule})`;
}
