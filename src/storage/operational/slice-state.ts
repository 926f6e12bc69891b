/**
 * The state machine of a slice: tasks of a split run that one agent gets at once, with a lease on each attempt at them. A run that is not
 * split has no slices: the run itself is queued and leased.
 *
 *                 given to an agent             its tasks are over
 *   ──▶ QUEUED ───────────────────────▶ LEASED ───────────────────▶ OVER
 *        │  ▲                             │                          ▲
 *        │  └─────────────────────────────┘                          │
 *        │    its agent was lost, or never confirmed it:             │
 *        │    the next attempt                                       │
 *        └───────────────────────────────────────────────────────────┘
 *             cancelled, timed out, or nobody took it in time
 *
 *   LEASED ──▶ ASLEEP   a poll waits for its next try: no agent has it
 *   ASLEEP ──▶ QUEUED   the next try is due: the next attempt
 *   ASLEEP ──▶ OVER     cancelled, or timed out
 *   QUEUED ──▶ ASLEEP   before that, if it waits for an agent with its next try
 *
 * A slice that crashed and may not run again is OVER, too: its tasks are CRASHED.
 */
import type { Transitions } from "../../workflow/status.ts";

export type SliceState = "QUEUED" | "LEASED" | "ASLEEP" | "OVER";

/** The legal transitions of a slice. */
export const SLICE_TRANSITIONS: Transitions<SliceState> = {
  QUEUED: ["LEASED", "ASLEEP", "OVER"],
  LEASED: ["QUEUED", "ASLEEP", "OVER"],
  ASLEEP: ["QUEUED", "OVER"],
  OVER: [],
};
