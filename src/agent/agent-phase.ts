/**
 * The state machine of an agent's process, from its start to its end.
 *
 *                              ┌─────────────────────┐
 *                              │                     ▼
 *   STARTING ──▶ REGISTERING ──┴──▶ UP ◀────────▶ ALONE    the principal does not answer; what runs goes on
 *       │             │              │               │
 *       └─────────────┴──────┬───────┴───────────────┘
 *                            │ told to end, or ALONE and nothing runs
 *                            ▼
 *                        DRAINING ──────┐                  takes nothing new; what runs is finished
 *                            │          │ told to end now, or refused by the principal
 *                            │          │ (also straight from any phase above)
 *                            │          ▼
 *                            │   CANCELLING | HANDING_OVER | REFUSED      what runs is stopped
 *                            │          │
 *               nothing runs └────┬─────┘ nothing runs
 *                                 ▼
 *                              ENDING                      delivers what the principal does not have yet
 *                                 ▼
 *                               ENDED
 */
import { canTransition, type Transitions } from "../workflow/status.ts";
import type { StopReason } from "./task-run.ts";

/** Where an agent is between its start and its end. */
export type AgentPhase =
  | "STARTING"
  | "REGISTERING"
  | "UP"
  | "ALONE"
  | "DRAINING"
  | "CANCELLING"
  | "HANDING_OVER"
  | "REFUSED"
  | "ENDING"
  | "ENDED";

/** Legal transitions of an agent. */
export const AGENT_PHASES: Transitions<AgentPhase> = {
  STARTING: ["REGISTERING", "DRAINING", "CANCELLING", "HANDING_OVER"],
  REGISTERING: ["UP", "ALONE", "DRAINING", "CANCELLING", "HANDING_OVER", "REFUSED"],
  UP: ["ALONE", "DRAINING", "CANCELLING", "HANDING_OVER", "REFUSED"],
  ALONE: ["UP", "DRAINING", "CANCELLING", "HANDING_OVER", "REFUSED"],
  DRAINING: ["CANCELLING", "HANDING_OVER", "REFUSED", "ENDING"],
  CANCELLING: ["ENDING"],
  HANDING_OVER: ["ENDING"],
  REFUSED: ["ENDING"],
  ENDING: ["ENDED"],
  ENDED: [],
};

/** Phases in which an agent asks for work. */
const TAKING: ReadonlySet<AgentPhase> = new Set(["STARTING", "REGISTERING", "UP", "ALONE"]);

/** Phases that end as soon as nothing runs. */
const ENDS_WHEN_IDLE: ReadonlySet<AgentPhase> = new Set([
  "ALONE",
  "DRAINING",
  "CANCELLING",
  "HANDING_OVER",
  "REFUSED",
]);

/** Why runs are stopped, in the phases in which all of them are. */
const STOPS: Partial<Record<AgentPhase, StopReason>> = {
  CANCELLING: "cancelled",
  HANDING_OVER: "handed over",
  // Other agents get its runs, and nobody tells this one when.
  REFUSED: "superseded",
};

/** The phase of one agent. */
export class AgentLife {
  #phase: AgentPhase = "STARTING";

  get phase(): AgentPhase {
    return this.#phase;
  }

  /** Enters a phase if the table allows it. Returns whether it does: orders may come late, or twice. */
  enter(phase: AgentPhase): boolean {
    if (!canTransition(AGENT_PHASES, this.#phase, phase)) return false;
    this.#phase = phase;
    return true;
  }

  /** Whether the agent takes new runs. */
  get isTaking(): boolean {
    return TAKING.has(this.#phase);
  }

  /** Whether the agent ends as soon as nothing runs. */
  get endsWhenIdle(): boolean {
    return ENDS_WHEN_IDLE.has(this.#phase);
  }

  /** Why every run is stopped, also one that comes now; undefined when runs go on. */
  get stopReason(): StopReason | undefined {
    return STOPS[this.#phase];
  }
}
