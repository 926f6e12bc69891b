/**
 * The state machine of a backfill: the firings of a schedule in a stretch of time, as runs. A firing of it becomes a run only while it is
 * ACTIVE, in a commit that has seen that.
 *
 *                paused, or it cannot go on
 *   ──▶ ACTIVE ────────────────────────────▶ PAUSED
 *         ▲                                     │
 *         └─────────────────────────────────────┘
 *                         resumed
 *
 *   ACTIVE ──▶ DONE                each of its firings has had its run
 *   ACTIVE, PAUSED ──▶ CANCELLED   no further runs; those that are not over are cancelled
 *
 * A DONE backfill is over. A CANCELLED one is over when its runs are.
 */
import type { Transitions } from "../../workflow/status.ts";

export type BackfillState = "ACTIVE" | "PAUSED" | "CANCELLED" | "DONE";

/** The legal transitions of a backfill. */
export const BACKFILL_TRANSITIONS: Transitions<BackfillState> = {
  ACTIVE: ["PAUSED", "CANCELLED", "DONE"],
  PAUSED: ["ACTIVE", "CANCELLED"],
  CANCELLED: [],
  DONE: [],
};
