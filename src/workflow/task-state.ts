/**
 * The state machine of a task run. The agent that executes it changes its status; the principal records that, sets CRASHED when the agent
 * is lost, and ends the tasks of split runs that no agent is given.
 *
 *               its needs are met           exit status 0
 *   ──▶ PENDING ───────────────────▶ RUNNING ─────────────▶ COMPLETED
 *          │                          │   ▲
 *          │ a task that it needs     │   │ the next try is due
 *          │ did not complete         ▼   │
 *          └──▶ SKIPPED              WAITING   a try failed, and tries are left
 *
 *   RUNNING ──▶ SKIPPED   a fan-out of which items were skipped
 *   PENDING ──▶ WAITING ──▶ COMPLETED   it waits for a time, without an agent
 *
 *   PENDING, RUNNING, WAITING ──▶ FAILED      no try is left; it cannot start;
 *                                             the time of the run is up
 *   PENDING, RUNNING, WAITING ──▶ CANCELLED   the run was cancelled
 *   PENDING, RUNNING, WAITING ──▶ CRASHED     the attempt crashed
 */
import { isTerminal, type RunStatus, type Transitions } from "./status.ts";

export const TASK_TRANSITIONS: Transitions<RunStatus> = {
  PENDING: ["RUNNING", "WAITING", "SKIPPED", "CANCELLED", "CRASHED", "FAILED"],
  RUNNING: ["COMPLETED", "FAILED", "WAITING", "CANCELLED", "CRASHED", "SKIPPED"],
  WAITING: ["RUNNING", "COMPLETED", "FAILED", "CANCELLED", "CRASHED"],
  COMPLETED: [],
  FAILED: [],
  CRASHED: [],
  SKIPPED: [],
  CANCELLED: [],
};

/** The statuses in which a task is over. */
export type Ending = Exclude<RunStatus, "PENDING" | "RUNNING" | "WAITING">;

/** Whether a task with this status is over. */
export function isEnding(status: RunStatus): status is Ending {
  return isTerminal(TASK_TRANSITIONS, status);
}
