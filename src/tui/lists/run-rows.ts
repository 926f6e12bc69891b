/** The rows of a list of runs: all runs, or those of one workflow. */

import type { RunSummary } from "../../contract/messages.ts";
import { tookMs } from "../../contract/took.ts";
import { memo } from "../memo.ts";
import type { ListState, State } from "../state.ts";
import { matcher } from "./filter.ts";

export const RUN_SORTS = ["created", "status", "duration", "workflow"] as const;

type Order = (a: RunSummary, b: RunSummary) => number;
const newestFirst: Order = (a, b) => b.created_at_ms - a.created_at_ms;
const STATUS_ORDER = [
  "RUNNING",
  "PENDING",
  "WAITING",
  "FAILED",
  "CRASHED",
  "CANCELLED",
  "SKIPPED",
  "COMPLETED",
];
const ORDERS: readonly Order[] = [
  newestFirst,
  (a, b) => STATUS_ORDER.indexOf(a.status) - STATUS_ORDER.indexOf(b.status),
  (a, b) => (tookMs(b, 0) ?? -1) - (tookMs(a, 0) ?? -1),
  (a, b) => (a.workflow_id < b.workflow_id ? -1 : a.workflow_id > b.workflow_id ? 1 : 0),
];

function compute(
  runs: readonly RunSummary[],
  workflowId: string | null,
  filter: string,
  sort: number,
  reverse: boolean,
): readonly RunSummary[] {
  if (workflowId === null && filter.trim() === "" && sort === 0 && !reverse) return runs;
  const matches = matcher(filter);
  const rows = runs.filter(
    (run) =>
      (workflowId === null || run.workflow_id === workflowId) &&
      matches(
        `${run.workflow_id} ${run.workflow_instance_id} ${run.status} ${run.trigger} ${run.agent_id ?? ""} ${run.parent?.workflow_instance_id ?? ""} ${run.backfill_id ?? ""} ${run.group ?? ""} ${run.hold === undefined ? "" : "held"}`,
      ),
  );
  const order = ORDERS[sort];
  // The runs come newest first, and a stable sort keeps that order among equals.
  if (sort > 0 && order !== undefined) rows.sort(order);
  return reverse ? rows.reverse() : rows;
}

const ofAll = memo(compute);
const ofWorkflow = memo(compute);
const EMPTY: readonly RunSummary[] = [];

/** The rows after filtering and sorting. */
export function runRows(
  state: State,
  list: Readonly<ListState> | undefined,
  workflowId: string | null,
): readonly RunSummary[] {
  const rows = workflowId === null ? ofAll : ofWorkflow;
  return rows(
    state.data.runs ?? EMPTY,
    workflowId,
    list?.filter ?? "",
    list?.sort ?? 0,
    list?.reverse ?? false,
  );
}

/** Counts for the header. */
export const runCounts = memo((runs: readonly RunSummary[] | null, minute: number) => {
  const since = minute * 60_000 - 3_600_000;
  let waiting = 0;
  let failed = 0;
  for (const run of runs ?? []) {
    if (run.status === "WAITING") waiting++;
    else if (
      (run.status === "FAILED" || run.status === "CRASHED") &&
      (run.finished_at_ms ?? run.created_at_ms) >= since
    )
      failed++;
  }
  return { waiting, failed };
});
