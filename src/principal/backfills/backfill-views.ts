/** Backfills as clients see them. */
import type { BackfillSummary } from "../../contract/messages.ts";
import type { BackfillRecord, OperationalTx } from "../../storage/operational/store.ts";
import type { RunStatus } from "../../workflow/status.ts";
import { thawed } from "./frozen-plan.ts";
import { intervalOf, timeLeft } from "./plan.ts";

/** How many of the newest runs tell how long one takes, and how fast a backfill is. */
const AMONG = 20;

/**
 * A backfill with its progress. Part of a unit of work.
 * @param most how many runs of its concurrency group may run at once; undefined without one
 */
export async function backfillSummary(
  tx: OperationalTx,
  backfill: BackfillRecord,
  most = backfill.max_active,
): Promise<BackfillSummary> {
  const { backfill_id, workflow_id, state, max_active, total } = backfill;
  const counts = await tx.countFirings(backfill_id);
  const active = await tx.countBackfillRuns(backfill_id);
  const isActive = state === "ACTIVE";
  const median_ms = isActive ? await tx.medianDuration(workflow_id, AMONG) : null;
  const atOnce = Math.min(max_active, most);
  const endsMs = isActive ? await tx.endsOfBackfill(backfill, AMONG) : [];
  const pace = { medianMs: median_ms, atOnce, endsMs };
  const by_status: Partial<Record<RunStatus, number>> = {};
  let present = 0;
  let over = 0;
  for (const { outcome, firings } of counts) {
    if (outcome === null) continue;
    over += firings;
    if (outcome === "PRESENT") present = firings;
    else by_status[outcome] = firings;
  }
  const { from, to } = boundsText(backfill);
  return {
    backfill_id,
    workflow_id,
    state,
    from,
    to,
    reverse: backfill.is_reverse,
    reprocess: backfill.reprocess as BackfillSummary["reprocess"],
    max_active,
    priority: backfill.priority,
    params: { ...backfill.params },
    actor: backfill.actor,
    created_at_ms: backfill.created_at_ms,
    finished_at_ms: backfill.finished_at_ms,
    total,
    present,
    active,
    by_status,
    note: backfill.note,
    median_ms,
    interval_ms: intervalOf(pace),
    at_once: atOnce,
    left_ms: isActive ? timeLeft(Math.max(0, total - over), pace) : null,
  };
}

/** What it covers, as it was given if that can be read. */
function boundsText(backfill: BackfillRecord): { from: string; to: string } {
  try {
    return thawed(backfill);
  } catch {
    return { from: new Date(backfill.from_ms).toISOString(), to: new Date(backfill.to_ms).toISOString() };
  }
}
