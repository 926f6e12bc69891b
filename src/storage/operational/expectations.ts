/** Expectations in the operational state. Workflows of which nobody expects anything have none. */
import type { ExpectRule } from "../../workflow/expect.ts";
import type { ExpectationState } from "./expectation-state.ts";
import type { ListedRun } from "./records.ts";

/** Something that is expected of a run or of a workflow. */
export interface ExpectationRecord {
  readonly workflow_id: string;
  /** `resumed` says when the workflow was last resumed: nothing is due. */
  readonly rule: ExpectRule | "resumed";
  /** The run; "" for what is expected of the workflow. */
  readonly key: string;
  /** When it is late or missed, ms since the epoch; of `max_duration` by the store's clock of deadlines. */
  readonly due_ms: number;
  readonly state: Exclude<ExpectationState, "OVER">;
  /** JSON object: what else is to be known. */
  readonly data: string;
}

/** What identifies an expectation. */
type Named = Pick<ExpectationRecord, "workflow_id" | "rule" | "key">;

/** What units of work do with expectations. */
export interface ExpectationIntentions {
  /**
   * Adds an expectation, or replaces it.
   * @param leftMs the time that is left, ms, of one that is due by the store's clock
   */
  putExpectation(expectation: ExpectationRecord, leftMs?: number): Promise<void>;
  /** Changes an expectation that is in the state in which it was read. Returns its new state. */
  changeExpectation(
    expectation: ExpectationRecord,
    to: Partial<Pick<ExpectationRecord, "due_ms" | "state" | "data">>,
  ): Promise<ExpectationRecord>;
  /** It is over. */
  dropExpectation(expectation: Named): Promise<void>;
  getExpectation(expectation: Named): Promise<ExpectationRecord | null>;
  /** Those of a workflow, and of one of its runs if it is given. */
  expectationsOf(workflowId: string, runId?: string): Promise<ExpectationRecord[]>;
  /** Those of workflows, and those of runs that are RAISED. */
  listExpectations(): Promise<ExpectationRecord[]>;
  /** The workflows that have any. */
  expectedWorkflows(): Promise<string[]>;
  /** Those of runs that are over, or not known. */
  expectationsOfEndedRuns(): Promise<ExpectationRecord[]>;
  /** Those that are OPEN and due, oldest first; those by the store's clock by that. */
  dueExpectations(nowMs: number, limit: number): Promise<ExpectationRecord[]>;
  /** When the next one is due, ms since the epoch, and the time until the next one by the store's clock, ms; null for none. */
  nextExpectation(): Promise<{ readonly due_ms: number | null; readonly left_ms: number | null }>;
  /** A workflow is paused: the starts of its runs are HELD. */
  holdStarts(workflowId: string): Promise<void>;
  /** It goes on: they are OPEN again, with all of their time. */
  releaseStarts(workflowId: string, nowMs: number): Promise<void>;
  /** The newest run of a workflow that is not over and whose time in the schedule, or else of its creation, is not before `fromMs`. */
  newestOpenRun(workflowId: string, fromMs: number): Promise<ListedRun | null>;
}
