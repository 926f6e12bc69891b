/**
 * The state machine of an agent as the principal sees it.
 *
 *                     drain ordered, or the agent drains by itself
 *   registers ──▶ UP ──────────────────────────────────────────────▶ DRAINING
 *                │ ▲ ◀──────── a new process registers ───────────────  │
 *                │ │                                                    │
 *     no sign of │ │ registers again                                    │ no sign of life,
 *     life for a │ │                                                    │ or leaves
 *     timeout    ▼ │                                                    ▼
 *               LOST ─── forgotten after a day ──▶ GONE ◀── leaves ── (UP, DRAINING, LOST)
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
