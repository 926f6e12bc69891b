/** What keys can cause beyond the state: requests to the principal, the clipboard, files, the process. */
import type { Action } from "./overlays/overlay.ts";

export interface Effects {
  /** Does what has been confirmed; the result comes as a toast. */
  perform(action: Action): void;
  /** Shows another principal, by its index. */
  switchPrincipal(index: number): void;
  /** Reads everything again at once. */
  refresh(): void;
  /** Reads lines before the first one of the shown log. */
  loadOlderLines(): void;
  /** Puts text onto the user's clipboard (through the terminal, also over ssh). */
  copy(text: string, what: string): void;
  /** Writes the shown lines of the log into a file. */
  saveLog(path: string): void;
  /** Stops the process as Ctrl-Z does. */
  suspend(): void;
  /** Draws the whole screen anew. */
  redraw(): void;
}
