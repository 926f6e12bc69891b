/**
 * The state machine of a lease: the right of one agent to execute one attempt of a run. Assignment creates it, on disk,
 * before the agent hears of it; when it ends, the attempt is over and nothing the agent says about it counts any more.
 *
 *                   agent reports RUNNING          agent reports the end
 *   ──▶ OFFERED ──────────────────────────▶ HELD ───────────────────────▶ RELEASED
 *        │    │                              │
 *        │    │ agent lost, cancelled,       │ agent lost or started anew, or it no longer
 *        │    │ agent started anew           │ knows the run
 *        │    └───────────▶ REVOKED ◀────────┘
 *        │ nobody confirmed it before its deadline
 *        └───────────▶ EXPIRED
 */
import type { Transitions } from "../../workflow/status.ts";

/** OFFERED and HELD leases are open: the attempt belongs to the agent. */
export type LeaseState = "OFFERED" | "HELD" | "RELEASED" | "REVOKED" | "EXPIRED";

/** Legal transitions of a lease. */
export const LEASE_TRANSITIONS: Transitions<LeaseState> = {
  OFFERED: ["HELD", "EXPIRED", "REVOKED"],
  HELD: ["RELEASED", "REVOKED"],
  RELEASED: [],
  REVOKED: [],
  EXPIRED: [],
};
