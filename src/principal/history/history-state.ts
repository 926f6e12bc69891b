/**
 * The state machine of the history, as the principal sees it. The principal works in every state; reads of the history work in UP.
 *
 *                 opened, or cannot be
 *   ──▶ STARTING ──────────────────────▶ UP ◀──────────────▶ SLOW    is silent: reads fail at once
 *       │  ▲                             │    silent / heard  │
 *       │  │ pause is over               │ ended              │ ended, or killed because it is silent for too long
 *       │  └───────────── DOWN ◀─────────┴────────────────────┘
 *       │                  ▲ │
 *       └──────────────────┘ │
 *          ended             ▼ the principal stops (from any state)
 *                          OVER
 */
import { canTransition, type Transitions } from "../../workflow/status.ts";

export type HistoryState = "DOWN" | "STARTING" | "UP" | "SLOW" | "OVER";

/** The legal transitions. */
const HISTORY_TRANSITIONS: Transitions<HistoryState> = {
  DOWN: ["STARTING", "OVER"],
  STARTING: ["UP", "DOWN", "OVER"],
  UP: ["SLOW", "DOWN", "OVER"],
  SLOW: ["UP", "DOWN", "OVER"],
  OVER: [],
};

/** The state of one history. */
export class HistoryLife {
  #state: HistoryState = "DOWN";

  get state(): HistoryState {
    return this.#state;
  }

  /** Enters a state if the table allows it, and returns whether it did: news may come late. */
  enter(state: HistoryState): boolean {
    if (!canTransition(HISTORY_TRANSITIONS, this.#state, state)) return false;
    this.#state = state;
    return true;
  }
}
