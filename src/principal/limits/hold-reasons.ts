/** Why a run is kept out of the queue, or is dropped, in words. Pure. */
import type { OnConflict } from "../../workflow/concurrency.ts";
import { groupText } from "../../workflow/group.ts";

/** A run that has a place of a group, in messages. */
interface HolderInWords {
  readonly workflow_instance_id: string;
  readonly workflow_id: string;
  /** Since when it runs, ms since the epoch; null if it waits for an agent. */
  readonly started_at_ms: number | null;
}

/** A group, and how many runs of it may run. */
interface GroupInWords {
  readonly key: string;
  readonly max: number;
}

/** `group "eu" is full (max_runs: 1)`: it does not depend on who is in the group, so that it need not be written again. */
export function fullReason({ key, max }: GroupInWords): string {
  return isOfWorkflow(key)
    ? `${groupText(key)} runs already (max_runs: ${max})`
    : `${groupText(key)} is full (max_runs: ${max})`;
}

/** Why a run waits for a place of its group, and what to do about it. */
export function heldReason(
  group: GroupInWords,
  { holders, running, before }: { holders: readonly HolderInWords[]; running: number; before: number },
): { readonly reason: string; readonly hint: string | null } {
  const { key, max } = group;
  const waiting = before === 0 ? "" : `${before} ${before === 1 ? "run waits" : "runs wait"} before it`;
  const [first] = holders;
  if (running < max || first === undefined) {
    // Somebody with a smaller max_runs is first, or the place has just become free.
    const who = waiting === "" ? "it is next" : waiting;
    return { reason: `${groupText(key)} (max_runs: ${max}): ${who}`, hint: null };
  }
  const id = first.workflow_instance_id;
  const name = isOfWorkflow(key) ? `run ${id}` : `run ${id} of ${first.workflow_id}`;
  const since =
    first.started_at_ms === null ? ", which has not begun" : ` since ${timeText(first.started_at_ms)}`;
  const more = running > 1 ? ` and ${running - 1} more` : "";
  const held = isOfWorkflow(key) ? name : `held by ${name}`;
  return {
    reason: `${fullReason(group)}: ${held}${since}${more}${waiting === "" ? "" : `; ${waiting}`}`,
    hint: `To stop that run: cdktr runs cancel ${id}`,
  };
}

/** The error of a run that found its group full and does not wait. @param holder the run that has the place; null if it is not known */
export function skippedReason(group: GroupInWords, holder: string | null): string {
  const who = holder === null ? "" : isOfWorkflow(group.key) ? `: run ${holder}` : `: run ${holder} holds it`;
  return `${fullReason(group)}${who} (on_conflict: skip)`;
}

/** The error of a run that waited until another one came. */
export function replacedReason({ key }: GroupInWords, by: string, onConflict: OnConflict): string {
  return `it still waited for ${groupText(key)} when run ${by} came (on_conflict: ${onConflict})`;
}

/** The error of a run that is cancelled for another one. */
export function cancelledReason(by: string): string {
  return `cancelled for run ${by} (on_conflict: cancel_running)`;
}

/** The error of a run that waits for a place that a run has which waits for it. */
export function stuckReason({ key, max }: GroupInWords, holder: string): string {
  return `it would wait for itself: ${groupText(key)} (max_runs: ${max}) is held by run ${holder}, which waits for it`;
}

function isOfWorkflow(key: string): boolean {
  return key.startsWith("w ");
}

function timeText(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, "Z");
}
