/** Effects of keys beyond the state: requests to the principal, the clipboard, files, the process. */
import type { ArtifactFile } from "../protocol/artifact-files.ts";
import type { Action } from "./overlays/overlay.ts";

export interface Effects {
  /** Performs a confirmed action; the result is shown as a toast. */
  perform(action: Action): void;
  /** Switches to another principal, by index. */
  switchPrincipal(index: number): void;
  /** Refreshes everything at once. */
  refresh(): void;
  /** Reads what an item of a fan-out published, and shows it. */
  showItemOutputs(runId: string, taskId: string, index: number): void;
  /** Reads everything that is known about an alert, and shows it. */
  showAlert(alertId: string): void;
  /** Shows the beginning of a file that a task left. */
  showFile(file: ArtifactFile): void;
  /** Saves a file that a task left. */
  saveFile(file: ArtifactFile, path: string): void;
  /** Loads lines before the first one of the current log. */
  loadOlderLines(): void;
  /** Searches the lines before the first one for the current search text, and goes to the newest that has it. */
  searchOlderLines(): void;
  /** Copies text to the user's clipboard (through the terminal, so it works over ssh). */
  copy(text: string, what: string): void;
  /** Saves the lines of the log that pass the filters to a file, also those that are not loaded. */
  saveLog(path: string): void;
  /** Suspends the process like Ctrl-Z. */
  suspend(): void;
  /** Redraws the whole screen. */
  redraw(): void;
}
