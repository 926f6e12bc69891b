/**
 * The state machine of an expectation: that a run, or a workflow, does something by a time.
 *
 *            its time passes
 *   ──▶ OPEN ───────────────▶ RAISED
 *        ▲                       │
 *        └───────────────────────┘
 *          it is kept after all
 *
 *   OPEN, RAISED ──▶ HELD         the workflow is paused: nothing is expected
 *   HELD ──▶ OPEN                 it is resumed
 *   OPEN, RAISED, HELD ──▶ OVER   it is over, or not expected any more
 *
 * An expectation that is OVER is removed. RAISED is committed together with its alert, and so is what follows it.
 */
import type { Transitions } from "../../workflow/status.ts";

export type ExpectationState = "OPEN" | "RAISED" | "HELD" | "OVER";

/** The legal transitions of an expectation. */
export const EXPECTATION_TRANSITIONS: Transitions<ExpectationState> = {
  OPEN: ["RAISED", "HELD", "OVER"],
  RAISED: ["OPEN", "HELD", "OVER"],
  HELD: ["OPEN", "OVER"],
  OVER: [],
};
