/** Helpers for the tests of the machine. */

import type { Decision } from "../../src/workflow/decisions.ts";
import { readPlacement } from "../../src/workflow/placement.ts";
import { type Plan, type PlanNode, planFrom } from "../../src/workflow/plan.ts";
import type { RunFacts } from "../../src/workflow/run-facts.ts";
import type { RunStatus } from "../../src/workflow/status.ts";
import { tasksOf } from "./support.ts";

/** The facts of a run without any. */
export const FACTS: RunFacts = {
  params: {},
  run: {
    id: "r",
    workflow_id: "w",
    attempt: 1,
    trigger: "test",
    scheduled_time_ms: null,
    created_at_ms: 0,
  },
  event: {},
  env: {},
};

/** What a test says of a node beyond its needs, which accept COMPLETED unless `accepts` has others for them. */
export type NodeSpec = Partial<Omit<PlanNode, "id" | "needs" | "placement">> & {
  readonly accepts?: Readonly<Record<string, readonly RunStatus[]>>;
  /** The key of its placement. */
  readonly at?: string;
};

/** A plan of tasks in one line: `a; b < a; c < a b`. */
export function planned(text: string, specs: Readonly<Record<string, NodeSpec>> = {}): Plan {
  return planFrom(
    tasksOf(text).map(({ id, depends }, index) => {
      const { accepts = {}, at = "{}", ...more } = specs[id] ?? {};
      const needs = depends.map((task) => ({
        task,
        accepts: new Set<RunStatus>(accepts[task] ?? ["COMPLETED"]),
      }));
      return { id, name: id, index, needs, placement: readPlacement(at), ...more };
    }),
  );
}

/** Decisions in words: `start a`, `skip b SKIPPED: reason`, `finish FAILED: reason`. */
export function said(decisions: readonly Decision[]): string[] {
  return decisions.map((decision) => {
    switch (decision.kind) {
      case "finish":
        return `finish ${decision.status}${decision.error === null ? "" : `: ${decision.error}`}`;
      case "skip":
        return `skip ${decision.task} ${decision.status}: ${decision.reason}`;
      case "cancel":
        return `cancel ${decision.task}: ${decision.reason}`;
      case "end":
        return `end ${decision.task} ${decision.status}`;
      case "conclude":
        return "conclude";
      default:
        return `${decision.kind} ${decision.task}`;
    }
  });
}
