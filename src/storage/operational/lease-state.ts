/**
 * The state machine of a lease: the right of one agent to execute one attempt of a run, or of a slice of it. It is created on disk by the assignment,
 * before the agent receives it. When it ends, the attempt is over and later reports of the agent about it are ignored (fencing).
 *
 *                   agent reports RUNNING          agent reports the end
 *   ──▶ OFFERED ──────────────────────────▶ HELD ───────────────────────▶ RELEASED
 *        │    │                              │
 *        │    │ agent lost, cancelled,       │ agent lost or restarted, or it no longer
 *        │    │ agent restarted              │ knows the run
 *        │    └───────────▶ REVOKED ◀────────┘
 *        │ not confirmed before its deadline
 *        └───────────▶ EXPIRED
 *
 * An agent that can ask for the same assignment again need not report RUNNING: its lease is HELD in the commit that creates it, and its
 * tasks start at once. Only runs that must not run again (`failover: never`), and those of agents that cannot ask again, are confirmed.
 */
import type { Transitions } from "../../workflow/status.ts";

/** OFFERED and HELD leases are open: the attempt belongs to the agent. */
export type LeaseState = "OFFERED" | "HELD" | "RELEASED" | "REVOKED" | "EXPIRED";

/** The legal transitions of a lease. */
export const LEASE_TRANSITIONS: Transitions<LeaseState> = {
  OFFERED: ["HELD", "EXPIRED", "REVOKED"],
  HELD: ["RELEASED", "REVOKED"],
  RELEASED: [],
  REVOKED: [],
  EXPIRED: [],
};
