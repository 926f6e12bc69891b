/**
 * The state machine of an agent as the principal sees it.
 *
 *             a drain is ordered, or it drains by itself
 *   ──▶ UP ──────────────────────────────────────────────▶ DRAINING
 *       ▲                                                      │
 *       └──────────────────────────────────────────────────────┘
 *             a new process registers
 *
 *   UP, DRAINING ──▶ LOST         silent for a timeout
 *   LOST ──▶ UP                   it registers again
 *   UP, DRAINING, LOST ──▶ GONE   it leaves, or has been LOST for a day
 *
 * A LOST agent holds no lease: they are revoked in the same transaction. GONE agents are not stored.
 */
import type { Transitions } from "../../workflow/status.ts";

/** GONE is never stored. */
export type AgentState = "UP" | "DRAINING" | "LOST" | "GONE";

/** The legal transitions of an agent. */
export const AGENT_TRANSITIONS: Transitions<AgentState> = {
  UP: ["DRAINING", "LOST", "GONE"],
  DRAINING: ["UP", "LOST", "GONE"],
  LOST: ["UP", "GONE"],
  GONE: [],
};
