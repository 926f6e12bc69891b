/**
 * The state machine of a lease: the right of one agent to execute one attempt of a run, or of a slice of it. The assignment creates it on
 * disk before the agent receives anything. When it ends, the attempt is over, and later reports of the agent about it are ignored (fencing).
 *
 *             the agent confirms it         the agent reports the end
 *   ──▶ OFFERED ────────────────────▶ HELD ───────────────────────▶ RELEASED
 *          │                           ▲
 *          │                           └── most leases begin here
 *          └──▶ EXPIRED   not confirmed in time
 *
 *   OFFERED, HELD ──▶ REVOKED   its agent was lost, left or was restarted;
 *                               what waited was cancelled
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
