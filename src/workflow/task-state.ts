/**
 * The state machine of a task run. The agent that executes it changes it; the principal records that, sets CRASHED when the agent is
 * lost, and ends tasks of split runs that no agent is given. A task that waits, or cannot be started at all, FAILED without running.
 *
 *               dependencies COMPLETED                exit 0
 *   ──▶ PENDING ──────────────────────▶ RUNNING ──────────────────▶ COMPLETED
 *          │ │                           ▲  │ │
 *          │ │ a dependency              │  │ └─ no tries left, timeout ──▶ FAILED
 *          │ │ did not complete          │  │
 *          │ └──────────▶ SKIPPED        │  ▼ failed, tries left
 *          │                           WAITING
 *          └── run cancelled: PENDING, RUNNING, WAITING ──▶ CANCELLED;   agent lost ──▶ CRASHED
 */
import { isTerminal, type RunStatus, type Transitions } from "./status.ts";

export const TASK_TRANSITIONS: Transitions<RunStatus> = {
  PENDING: ["RUNNING", "SKIPPED", "CANCELLED", "CRASHED", "FAILED"],
  RUNNING: ["COMPLETED", "FAILED", "WAITING", "CANCELLED", "CRASHED"],
  WAITING: ["RUNNING", "FAILED", "CANCELLED", "CRASHED"],
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
