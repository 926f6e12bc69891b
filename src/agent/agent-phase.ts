/**
 * The state machine of an agent process, from start to end.
 *
 *                              ┌─────────────────────┐
 *                              │                     ▼
 *   STARTING ──▶ REGISTERING ──┴──▶ UP ◀────────▶ ALONE    the principal does not answer; runs continue
 *       │             │              │               │
 *       └─────────────┴──────┬───────┴───────────────┘
 *                            │ told to stop, or ALONE without runs
 *                            ▼
 *                        DRAINING ──────┐                  takes no new runs; finishes those it has
 *                            │          │ told to stop now, or refused by the principal
 *                            │          │ (possible from any phase above)
 *                            │          ▼
 *                            │   CANCELLING | HANDING_OVER | REFUSED      stops its runs
 *                            │          │
 *                    no runs └────┬─────┘ no runs
 *                                 ▼
 *                              ENDING                      delivers what the principal does not have yet
 *                                 ▼
 *                               ENDED
 */
import { canTransition, type Transitions } from "../workflow/status.ts";
import type { StopReason } from "./task-context.ts";

/** The phase of an agent's life. */
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

/** The legal transitions of an agent. */
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

/** Phases that end as soon as there are no runs. */
const ENDS_WHEN_IDLE: ReadonlySet<AgentPhase> = new Set([
  "ALONE",
  "DRAINING",
  "CANCELLING",
  "HANDING_OVER",
  "REFUSED",
]);

/** Why all runs are stopped, in the phases that stop them. */
const STOPS: Partial<Record<AgentPhase, StopReason>> = {
  CANCELLING: "cancelled",
  HANDING_OVER: "handed over",
  // Other agents take over its runs at a time that this one does not know.
  REFUSED: "superseded",
};

/** The phase of one agent. */
export class AgentLife {
  #phase: AgentPhase = "STARTING";

  get phase(): AgentPhase {
    return this.#phase;
  }

  /** Enters a phase if the table allows it, and returns whether it did: orders may come late, or twice. */
  enter(phase: AgentPhase): boolean {
    if (!canTransition(AGENT_PHASES, this.#phase, phase)) return false;
    this.#phase = phase;
    return true;
  }

  /** Whether the agent accepts new runs. */
  get isTaking(): boolean {
    return TAKING.has(this.#phase);
  }

  /** Whether the agent ends as soon as there are no runs. */
  get endsWhenIdle(): boolean {
    return ENDS_WHEN_IDLE.has(this.#phase);
  }

  /** Why every run is stopped, including one that arrives now; undefined when runs continue. */
  get stopReason(): StopReason | undefined {
    return STOPS[this.#phase];
  }
}
