/** The metrics of what is expected of workflows. Their number is bounded by the number of workflows that get series of their own. */
import type { Exposition } from "../../metrics/exposition.ts";
import { OTHERS } from "./workflow-metrics.ts";

/** Something that is expected of a workflow and was not done in time. */
export interface BrokenExpectation {
  readonly workflow_id: string;
  readonly rule: string;
  readonly kind: "late" | "missed";
}

/** Adds them. @param most workflows with series of their own; the others are counted together */
export function addExpectations(page: Exposition, broken: readonly BrokenExpectation[], most: number): void {
  const workflows = (of: BrokenExpectation["kind"]) =>
    new Set(broken.filter(({ kind }) => kind === of).map(({ workflow_id }) => workflow_id)).size;
  page.gauge("cdktr_workflows_late", "Workflows that are late, or have missed what is expected of them.", [
    [{ kind: "late" }, workflows("late")],
    [{ kind: "missed" }, workflows("missed")],
  ]);
  if (most === 0) return;
  const own = new Set<string>();
  const counts = new Map<string, { labels: Record<string, string>; count: number }>();
  for (const { workflow_id, rule, kind } of broken) {
    if (own.size < most) own.add(workflow_id);
    const labels = { workflow: own.has(workflow_id) ? workflow_id : OTHERS, kind, rule };
    const key = Object.values(labels).join("\n");
    const known = counts.get(key);
    counts.set(key, { labels, count: (known?.count ?? 0) + 1 });
  }
  page.gauge(
    "cdktr_workflow_late",
    "What is late or missed of a workflow, by rule; a workflow that is in time has no such series.",
    [...counts.values()].map(({ labels, count }) => [labels, count] as const),
  );
}
