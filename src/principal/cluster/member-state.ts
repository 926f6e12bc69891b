/**
 * The state machine of a member: one of the principals of an installation with a store for several.
 *
 *        its copy of the       nobody leads: it has         its services
 *        state is loaded      claimed the next term         answer
 *   ──▶ JOINING ───────────▶ FOLLOWING ─────────▶ TAKING_OVER ─────────▶ LEADING
 *        │   ▲                │   │                    │                    │
 *        │   │                │   │                    │                    │
 *        │   ├────────────────┘   │                    ├────────────────────┘
 *        │   │  the copy must be  │                    │  the term is over, or it stops
 *        │   │  loaded again      │                    ▼
 *        │   └────────────────────┼───────────── STEPPING_DOWN
 *        │                        │                    │
 *        └───────────┬────────────┴────────────────────┘
 *                    ▼  it stops
 *                 STOPPED
 */
import { canTransition, type Transitions } from "../../workflow/status.ts";

export type MemberState = "JOINING" | "FOLLOWING" | "TAKING_OVER" | "LEADING" | "STEPPING_DOWN" | "STOPPED";

/** The legal transitions of a member. */
export const MEMBER_TRANSITIONS: Transitions<MemberState> = {
  JOINING: ["FOLLOWING", "STOPPED"],
  FOLLOWING: ["JOINING", "TAKING_OVER", "STOPPED"],
  TAKING_OVER: ["LEADING", "STEPPING_DOWN"],
  LEADING: ["STEPPING_DOWN"],
  STEPPING_DOWN: ["JOINING", "STOPPED"],
  STOPPED: [],
};

/** The state of one member. */
export class MemberLife {
  #state: MemberState = "JOINING";

  get state(): MemberState {
    return this.#state;
  }

  /** Enters a state if the table allows it, and returns whether it did: news may come late. */
  enter(state: MemberState): boolean {
    if (!canTransition(MEMBER_TRANSITIONS, this.#state, state)) return false;
    this.#state = state;
    return true;
  }
}
