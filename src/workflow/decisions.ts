/** What the machine of progress.ts is told, and what it decides. */
import { formatDuration } from "./duration.ts";
import type { Placement } from "./placement.ts";
import type { Outputs } from "./plan.ts";
import type { Ending } from "./task-state.ts";

/** How a task ended. */
export interface TaskEnd {
  readonly status: Ending;
  readonly error?: string | null;
  readonly outputs?: Outputs | null;
  /** It FAILED, and was allowed to: who accepts COMPLETED accepts it, and the run does not fail for it. */
  readonly isAllowed?: boolean;
  /** It FAILED without having started: its condition, or the items of a fan-out, could not be computed. */
  readonly isUnstarted?: boolean;
  /** Why what it has published was not kept; undefined if it was, or there is none. */
  readonly leftOut?: string | undefined;
}

/** How a run, or the part of it that is in scope, ended. */
export interface RunFinish {
  readonly status: "COMPLETED" | "FAILED" | "CANCELLED" | "CRASHED";
  readonly error: string | null;
  /** Number of tasks that FAILED and were allowed to; a fan-out counts as one. */
  readonly allowed: number;
}

/** How the tasks of a run ended, hooks apart. */
export interface Outcome extends RunFinish {
  /** The tasks that FAILED or CRASHED and were not allowed to, in the order of the file. */
  readonly failed: readonly string[];
}

/** An item of a fan-out. */
export interface Item {
  /** Unique among the items. */
  readonly key: string;
  /** Where it may run; by default where its fan-out may. */
  readonly placement?: Placement;
  /** How it ended, if it is over from before. */
  readonly end?: TaskEnd | undefined;
}

/** What is to be done. */
export type Decision =
  /** Execute the task. */
  | { readonly kind: "start"; readonly task: string }
  /** Compute the items of a fan-out and call `expanded`. */
  | { readonly kind: "expand"; readonly task: string }
  /** Wait for what the task waits for. */
  | { readonly kind: "wait"; readonly task: string }
  /** Stop the task, which has been started, or waits for a child run. */
  | { readonly kind: "cancel"; readonly task: string; readonly reason: string }
  /** The task is over without having run (FAILED: its condition cannot be computed, or it waited when the run timed out). */
  | {
      readonly kind: "skip";
      readonly task: string;
      readonly status: "SKIPPED" | "CANCELLED" | "FAILED";
      readonly reason: string;
      /** It FAILED, and was allowed to. */
      readonly isAllowed: boolean;
    }
  /** A fan-out is over. */
  | ({ readonly kind: "end"; readonly task: string } & Ended)
  /** All tasks COMPLETED: compute the outputs of the workflow and call `concluded`. Hooks are decided about then. */
  | { readonly kind: "conclude" }
  /** Everything in scope is over. */
  | ({ readonly kind: "finish" } & RunFinish);

/** How a task ended, in full. */
export type Ended = Required<Omit<TaskEnd, "leftOut">> & Pick<TaskEnd, "leftOut">;

/** Why nothing more is started. */
export type Stop = "cancelled" | "timed out";

/** What becomes of tasks that wait, for their needs or asleep, when a run is stopped, and why. */
export const STOPPED = {
  cancelled: { waiting: "CANCELLED", asleep: "CANCELLED", reason: "the run was cancelled" },
  "timed out": { waiting: "SKIPPED", asleep: "FAILED", reason: "the run timed out" },
} as const;

/** Why a task did not run in a run that was stopped. */
export function stopReason(kind: Stop): string {
  return STOPPED[kind].reason;
}

/** Why a run that took longer than it may has FAILED. */
export function timeoutText({ timeout_ms }: { readonly timeout_ms: number | null }): string {
  return timeout_ms === null ? STOPPED["timed out"].reason : `timed out after ${formatDuration(timeout_ms)}`;
}
