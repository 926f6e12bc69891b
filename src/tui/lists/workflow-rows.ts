/** The rows of the list of workflows. */
import type { RunSummary, WorkflowSummary } from "../../contract/messages.ts";
import { schedulesOf } from "../../workflow/schedules.ts";
import { memo } from "../memo.ts";
import type { ListState, State } from "../state.ts";
import { matcher } from "./filter.ts";

export interface WorkflowRow {
  readonly workflow: WorkflowSummary;
  /** Its latest runs, newest first. */
  readonly lastRuns: readonly RunSummary[];
  /** Its next firing, ms since the epoch. */
  readonly next: number | null;
}

export const WORKFLOW_SORTS = ["id", "last run", "next firing", "status"] as const;

/** Number of runs in a sparkline. */
export const HISTORY = 10;

/** The newest runs of each workflow, newest first. */
export const runsByWorkflow = memo((runs: readonly RunSummary[] | null) => {
  const byWorkflow = new Map<string, RunSummary[]>();
  for (const run of runs ?? []) {
    const list = byWorkflow.get(run.workflow_id);
    if (list === undefined) byWorkflow.set(run.workflow_id, [run]);
    else if (list.length < HISTORY) list.push(run);
  }
  return byWorkflow;
});

const computeRows = memo(
  (
    workflows: readonly WorkflowSummary[],
    runs: readonly RunSummary[] | null,
    filter: string,
    sort: number,
    reverse: boolean,
  ): readonly WorkflowRow[] => {
    const byWorkflow = runsByWorkflow(runs);
    const matches = matcher(filter);
    const rows: WorkflowRow[] = [];
    for (const workflow of workflows) {
      const lastRuns = byWorkflow.get(workflow.id) ?? [];
      const paused = workflow.paused === undefined ? "" : "paused";
      if (
        matches(`${workflow.id} ${workflow.name} ${lastRuns[0]?.status ?? ""} ${cronsOf(workflow)} ${paused}`)
      ) {
        rows.push({ workflow, lastRuns, next: workflow.next_firing_ms ?? null });
      }
    }
    const compare = ORDERS[sort] ?? byId;
    rows.sort((a, b) => compare(a, b) || byId(a, b));
    return reverse ? rows.reverse() : rows;
  },
);

function cronsOf(workflow: WorkflowSummary): string {
  return schedulesOf(workflow)
    .map(({ cron }) => cron)
    .join(" ");
}

type Order = (a: WorkflowRow, b: WorkflowRow) => number;
const byId: Order = (a, b) => (a.workflow.id < b.workflow.id ? -1 : a.workflow.id > b.workflow.id ? 1 : 0);
const URGENCY = ["RUNNING", "FAILED", "CRASHED", "PENDING", "WAITING", "CANCELLED", "SKIPPED", "COMPLETED"];
const urgency = (row: WorkflowRow) => {
  const status = row.lastRuns[0]?.status;
  return status === undefined ? URGENCY.length : URGENCY.indexOf(status);
};
const ORDERS: readonly Order[] = [
  byId,
  (a, b) => (b.lastRuns[0]?.created_at_ms ?? 0) - (a.lastRuns[0]?.created_at_ms ?? 0),
  (a, b) => (a.next ?? Number.MAX_SAFE_INTEGER) - (b.next ?? Number.MAX_SAFE_INTEGER),
  (a, b) => urgency(a) - urgency(b),
];

const EMPTY: readonly WorkflowSummary[] = [];

/** The rows after filtering and sorting. */
export function workflowRows(state: State, list: Readonly<ListState> | undefined): readonly WorkflowRow[] {
  return computeRows(
    state.data.workflows ?? EMPTY,
    state.data.runs,
    list?.filter ?? "",
    list?.sort ?? 0,
    list?.reverse ?? false,
  );
}
