/** Expectations as clients see them. */
import type { ExpectationSummary } from "../../contract/messages.ts";
import type { ExpectationRecord } from "../../storage/operational/expectations.ts";
import type { OperationalTx, RunRecord } from "../../storage/operational/store.ts";
import { RUN_TRANSITIONS } from "../../workflow/run-state.ts";
import { isTerminal } from "../../workflow/status.ts";
import {
  type FinishExpectation,
  NEVER_MS,
  type RunExpectation,
  readExpectation,
} from "./expectation-data.ts";

/** One of them. */
export function expectationView(row: ExpectationRecord): ExpectationSummary {
  const { rule, key, state, data } = row;
  const late = rule === "finish_by" ? readExpectation<FinishExpectation>(data)?.run : undefined;
  const run = key === "" ? late : key;
  return {
    rule,
    state: state === "RAISED" ? (run === undefined ? "missed" : "late") : state === "HELD" ? "held" : "open",
    due_ms: dueMsOf(row),
    ...(run === undefined ? {} : { workflow_instance_id: run }),
  };
}

/** What is expected of a run that is not over. Part of a unit of work. */
export async function expectationsOfRun(
  tx: OperationalTx,
  { workflow_id, workflow_instance_id: id, status }: RunRecord,
): Promise<ExpectationSummary[]> {
  if (isTerminal(RUN_TRANSITIONS, status)) return [];
  const all = (await tx.expectationsOf(workflow_id, id)).map(expectationView);
  return all.filter((each) => each.workflow_instance_id === id);
}

/** When it is due by the wall clock, ms since the epoch; null for never. */
function dueMsOf({ rule, due_ms, data }: ExpectationRecord): number | null {
  if (due_ms === NEVER_MS) return null;
  if (rule !== "max_duration") return due_ms;
  const of = readExpectation<RunExpectation>(data);
  return of === null ? null : of.since_ms + of.limit_ms;
}
