/** Pauses that somebody may have forgotten. */
import type { RunSummary, WorkflowSummary } from "../contract/messages.ts";
import { pausedText, resumeCommand } from "../contract/pauses.ts";
import { type PrincipalClient, RequestRefusedError } from "../protocol/client.ts";
import { type Finding, warning } from "./finding.ts";

const DAY_MS = 86_400_000;
/** A pause that is older may have been forgotten. */
const LONG_PAUSE_MS = 7 * DAY_MS;
/** A run that is held for longer may have been forgotten. */
const LONG_HOLD_MS = DAY_MS;
/** Maximum number of waiting runs that are looked at. */
const LOOKED_AT = 1000;
/** Workflows that are named. */
const NAMED = 5;

/** What is paused or held for so long that somebody may have forgotten it. */
export async function checkPauses(
  client: PrincipalClient,
  workflows: readonly WorkflowSummary[],
  nowMs: number,
): Promise<Finding[]> {
  try {
    const runs = await client.listRuns({ status: "PENDING", limit: LOOKED_AT });
    return [...judgePauses(workflows, nowMs), ...judgeHeld(runs, nowMs)];
  } catch (error) {
    if (error instanceof RequestRefusedError) return [];
    throw error;
  }
}

/** Assesses pauses of workflows. */
export function judgePauses(
  workflows: readonly Pick<WorkflowSummary, "id" | "paused">[],
  nowMs: number,
): Finding[] {
  return workflows.flatMap(({ id, paused }) => {
    if (paused === undefined || paused.until_ms !== null || nowMs - paused.at_ms <= LONG_PAUSE_MS) return [];
    return [
      warning(
        "workflows",
        `Workflow ${id} is ${pausedText(paused)}.`,
        "Its schedules and events make no runs, and runs that people ask for are held.",
        resumeCommand(id),
      ),
    ];
  });
}

/** Assesses runs that wait although an agent could take them. */
export function judgeHeld(
  runs: readonly Pick<RunSummary, "workflow_id" | "hold" | "created_at_ms" | "workflow_instance_id">[],
  nowMs: number,
): Finding[] {
  const old = runs.filter(
    ({ hold, created_at_ms }) => hold !== undefined && nowMs - created_at_ms > LONG_HOLD_MS,
  );
  const [first] = old;
  if (first === undefined) return [];
  const ids = [...new Set(old.map((run) => run.workflow_id))];
  const more = ids.length > NAMED ? ` and ${ids.length - NAMED} more` : "";
  const what = old.length === 1 ? "1 run is" : `${old.length} runs are`;
  return [
    warning(
      "runs",
      `${what} held for more than a day, of ${ids.slice(0, NAMED).join(", ")}${more}.`,
      "Each waits until its workflow is resumed, or until there is room in its concurrency group.",
      `See why: cdktr runs why ${first.workflow_instance_id}`,
    ),
  ];
}
