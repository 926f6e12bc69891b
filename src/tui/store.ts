/** Holds the state; every change schedules a frame. */
import type { State } from "./state.ts";

export interface Store {
  readonly state: State;
  /** Changes the state and schedules a frame. */
  update(change: (state: State) => void): void;
}
