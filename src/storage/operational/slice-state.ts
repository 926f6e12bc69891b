/**
 * The state machine of a slice: tasks of a split run that one agent gets at once, with a lease on each attempt at them. A run that is
 * not split has no slices: the run itself waits and is leased.
 *
 *                          leased to an agent          its agent reports its end, or it must not run again
 *   tasks are ready ──▶ QUEUED ──────────────▶ LEASED ───────────────────────────────────────────────────▶ OVER
 *                        │  ▲                    │                                                          ▲
 *                        │  └────────────────────┘ the lease ended early: the next attempt                  │
 *                        └──────────────────────────────────────────────────────────────────────────────────┘
 *                          cancelled, timed out, or nobody took it in time
 */
import type { Transitions } from "../../workflow/status.ts";

export type SliceState = "QUEUED" | "LEASED" | "OVER";

/** The legal transitions of a slice. */
export const SLICE_TRANSITIONS: Transitions<SliceState> = {
  QUEUED: ["LEASED", "OVER"],
  LEASED: ["QUEUED", "OVER"],
  OVER: [],
};
