/** Why a run is kept from agents, as of now: who has the places of its group, and what is known of the pause. Parts of units of work. */
import type { RunHold } from "../../contract/messages.ts";
import { pauseText, resumeCommand } from "../../contract/pauses.ts";
import type { OperationalTx, RunRecord } from "../../storage/operational/store.ts";
import { heldReason } from "./hold-reasons.ts";
import { pauseOf } from "./pauses.ts";

/** What keeps a run from agents. */
type Hold = Pick<RunHold, "kind" | "reason" | "hint">;

/** Why a run is held. */
export async function holdReason(tx: OperationalTx, run: RunRecord): Promise<Hold> {
  const { hold, group_key: key, group_max: max } = run;
  if (hold === "pause" || key === null || max === null) return pauseReason(tx, run);
  const { running } = await tx.groupState(key);
  const holders = await tx.groupHolders(key, 1);
  const before = await tx.heldBefore(run);
  return { kind: "group", ...heldReason({ key, max }, { holders, running, before }) };
}

/** Why a run of a paused workflow waits. */
export async function pauseReason(
  tx: OperationalTx,
  { workflow_id: id }: Pick<RunRecord, "workflow_id">,
): Promise<Hold> {
  const pause = await tx.getPause(id);
  // It has ended just now.
  if (pause === null) return { kind: "pause", reason: `workflow ${id} goes on after a pause`, hint: null };
  return {
    kind: "pause",
    reason: pauseText(id, pauseOf(pause)),
    hint: `To go on: ${resumeCommand(id)}`,
  };
}
