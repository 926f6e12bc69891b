/** Maintains the list of runs from overlapping pages, most of whose content is already known. */
import type { RunSummary } from "../../contract/messages.ts";

/** Maximum number of runs; the oldest are dropped. */
export const MOST_RUNS = 10_000;

/** `known` updated from `pages`, newest first; returns `known` itself if nothing has changed. */
export function mergeRuns(
  known: readonly RunSummary[],
  ...pages: readonly (readonly RunSummary[])[]
): readonly RunSummary[] {
  const told = pages.flat();
  const index = indexOf(known);
  const news = told.filter((run) => {
    const before = index.get(run.workflow_instance_id);
    return before === undefined || !sameRun(before, run);
  });
  if (news.length === 0) return known;
  const byId = new Map(index);
  for (const run of news) byId.set(run.workflow_instance_id, run);
  const runs = [...byId.values()].sort(
    (a, b) => b.created_at_ms - a.created_at_ms || (a.workflow_instance_id < b.workflow_instance_id ? 1 : -1),
  );
  return runs.slice(0, MOST_RUNS);
}

const indices = new WeakMap<readonly RunSummary[], ReadonlyMap<string, RunSummary>>();

function indexOf(runs: readonly RunSummary[]): ReadonlyMap<string, RunSummary> {
  let index = indices.get(runs);
  if (index === undefined) {
    index = new Map(runs.map((run) => [run.workflow_instance_id, run]));
    indices.set(runs, index);
  }
  return index;
}

/** Whether a run is not over. */
export function isOpen(run: RunSummary): boolean {
  return run.status === "PENDING" || run.status === "RUNNING" || run.status === "WAITING";
}

function sameRun(a: RunSummary, b: RunSummary): boolean {
  return (
    a.status === b.status &&
    a.attempt === b.attempt &&
    a.agent_id === b.agent_id &&
    a.agents === b.agents &&
    a.started_at_ms === b.started_at_ms &&
    a.finished_at_ms === b.finished_at_ms &&
    a.tasks_done === b.tasks_done &&
    a.tasks_total === b.tasks_total
  );
}
