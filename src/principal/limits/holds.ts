/** What keeps a run out of the queue now, in words. Part of a unit of work. */
import type { RunHold } from "../../contract/messages.ts";
import type { OperationalTx, RunRecord } from "../../storage/operational/store.ts";
import { heldReason } from "./hold-reasons.ts";

/** What holds a run; empty for nothing. */
export async function holdsOf(tx: OperationalTx, run: RunRecord): Promise<RunHold[]> {
  const { hold, group_key: key, group_max: max } = run;
  if (hold !== "group" || key === null || max === null) return [];
  const { running } = await tx.groupState(key);
  const holders = await tx.groupHolders(key, 1);
  const reason = heldReason({ key, max }, { holders, running, before: await tx.heldBefore(run) });
  return [{ kind: "group", ...reason, since_ms: run.status_at_ms }];
}
