/** What keeps a run out of the queue, in a word or two. */
import type { RunSummary } from "./messages.ts";

/** `group eu`, `its workflow` or `a pause`; null for nothing. */
export function holdWord({ hold, group, workflow_id }: RunSummary): string | null {
  if (hold === undefined) return null;
  if (hold === "pause") return "a pause";
  return group === undefined || group === workflow_id ? "its workflow" : `group ${group}`;
}
