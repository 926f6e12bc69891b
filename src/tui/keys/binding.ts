/** A key and what it does. */
import type { Effects } from "../effects.ts";
import type { State } from "../state.ts";

export interface Binding {
  /** Names as terminal-kit gives them; any of them. */
  readonly keys: readonly string[];
  /** How the key is written in the footer and the help. */
  readonly label: string;
  readonly help: string;
  /** A word for the footer; keys without one stand in the help only. */
  readonly footer?: string;
  /** Whether the key means anything now; left out: always. */
  when?(state: State): boolean;
  run(state: State, effects: Effects): void;
}
