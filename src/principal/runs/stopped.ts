/** Whether a part of a run is being stopped. */
import type { RunRecord } from "../../storage/operational/store.ts";
import type { Stop } from "../../workflow/decisions.ts";

type Stopped = Pick<RunRecord, "cancel_requested_at_ms" | "timed_out_at_ms" | "hooks_stopped">;

/**
 * Why the tasks of a run, or its hooks, are being stopped; null if they are not. Hooks run although the run was stopped, until they are
 * stopped themselves.
 */
export function stopOf(run: Stopped, isHook = false): Stop | null {
  if (isHook) return run.hooks_stopped ? "cancelled" : null;
  if (run.cancel_requested_at_ms !== null) return "cancelled";
  return run.timed_out_at_ms === null ? null : "timed out";
}
