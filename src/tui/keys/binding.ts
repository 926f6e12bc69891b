/** A key binding. */
import type { Effects } from "../effects.ts";
import type { State } from "../state.ts";

export interface Binding {
  /** terminal-kit's names of the keys; any of them triggers the binding. */
  readonly keys: readonly string[];
  /** How the key is shown in the footer and the help. */
  readonly label: string;
  readonly help: string;
  /** Label in the footer; keys without one appear only in the help. */
  readonly footer?: string;
  /** Whether the footer and the help show it now; always if omitted. While hidden, its key only shows why it has no effect. */
  offered?(state: State): boolean;
  /** Whether the binding is active now; always if omitted. */
  when?(state: State): boolean;
  run(state: State, effects: Effects): void;
}
