/** The workflows as listeners of this process read them: not through the API, because there may be tens of thousands. */
import type { DeclarationSource } from "../../events/declared/declaration-source.ts";
import { pause } from "../../timer.ts";
import type { WorkflowDirectory } from "./workflow-directory.ts";

/** When the principal stops, waits for changes end at once: the next one does not begin at once, ms. */
const PAUSE_MS = 100;

/** The workflows of a directory that declare a trigger. */
export function declarationsOf(workflows: WorkflowDirectory): DeclarationSource {
  return {
    async watch(revision, waitMs, signal) {
      const present = await workflows.watch(revision, waitMs);
      if (present === revision) await pause(PAUSE_MS, signal);
      return present;
    },
    list: () => workflows.declared(),
  };
}
