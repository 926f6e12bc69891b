/** Backfills that do not go on until somebody does something. */
import type { BackfillSummary } from "../contract/messages.ts";
import { type PrincipalClient, RequestRefusedError } from "../protocol/client.ts";
import { type Finding, warning } from "./finding.ts";

/** What keeps backfills from going on. */
export async function checkBackfills(client: PrincipalClient): Promise<Finding[]> {
  try {
    return judgeBackfills(await client.call("LSBACKFILLS", { open: true }));
  } catch (error) {
    // An older principal knows none.
    if (error instanceof RequestRefusedError) return [];
    throw error;
  }
}

/** Assesses backfills that are not over. What somebody has paused is no problem. */
export function judgeBackfills(
  backfills: readonly Pick<BackfillSummary, "backfill_id" | "workflow_id" | "state" | "note">[],
): Finding[] {
  return backfills.flatMap(({ backfill_id: id, workflow_id, state, note }) => {
    if (note === null) return [];
    return [
      warning(
        "backfills",
        `Backfill ${id} of ${workflow_id} does not go on: ${note}`,
        state === "PAUSED"
          ? "It has paused itself, and makes no further runs."
          : "It goes on by itself when the cause is gone.",
        state === "PAUSED"
          ? `When the cause is gone: cdktr backfills resume ${id}; or end it: cdktr backfills cancel ${id}`
          : `See how far it is: cdktr backfills show ${id}`,
      ),
    ];
  });
}
