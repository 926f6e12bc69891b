/** Holds the state; whoever changes it says so, and a frame is drawn. */
import type { State } from "./state.ts";

export interface Store {
  readonly state: State;
  /** Changes the state and has a frame drawn soon. */
  update(change: (state: State) => void): void;
}
