/**
 * The state machine of a task run. The agent that executes the run changes it; the principal records it,
 * and sets CRASHED when the agent is lost.
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
import type { RunStatus, Transitions } from "./status.ts";

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
