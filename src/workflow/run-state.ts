/**
 * The state machine of a run, and of an attempt of it or of one of its slices. Only the principal changes it. A whole run has the status
 * of its newest attempt; a split run is RUNNING from its first slice on, and ends when progress.ts says so.
 *
 *               an agent has it           all tasks are over
 *   ──▶ PENDING ───────────────▶ RUNNING ───────────────────▶ COMPLETED, FAILED
 *          │
 *          ├──▶ SKIPPED   no agent took it before the next firing was due, or its concurrency group was full
 *          └──▶ FAILED    its time was up while it waited for another attempt
 *
 *   RUNNING ──▶ WAITING   nothing of it runs, and a task waits for its next try, a time or a person
 *   WAITING ──▶ RUNNING   something of it runs again
 *   WAITING ──▶ COMPLETED, FAILED   as from RUNNING: that was the end of it
 *   PENDING, RUNNING, WAITING ──▶ CANCELLED   cancelled, and its agents have stopped it
 *   PENDING, RUNNING, WAITING ──▶ CRASHED     its agent was lost, or never confirmed it
 *                        CRASHED ─ ─ ▶ PENDING of the next attempt
 *
 * The next attempt follows in the same transaction, unless attempts are used up or failover is `never`. An offer that was never confirmed
 * ends as CRASHED too, from PENDING: it may have reached an agent, so its number is never reused. Firings of a schedule are SKIPPED unless
 * `catchup` is `all`, and other runs only by the `on_conflict` of their concurrency group.
 *
 * Retrying a run that is over creates a new run (trigger `retry`): a terminal status never changes.
 */
import { RUN_STATUSES, type RunStatus, type Transitions } from "./status.ts";

export const RUN_TRANSITIONS: Transitions<RunStatus> = {
  PENDING: ["RUNNING", "FAILED", "CANCELLED", "CRASHED", "SKIPPED"],
  RUNNING: ["WAITING", "COMPLETED", "FAILED", "CRASHED", "CANCELLED"],
  WAITING: ["RUNNING", "COMPLETED", "FAILED", "CRASHED", "CANCELLED"],
  COMPLETED: [],
  FAILED: [],
  CRASHED: [],
  SKIPPED: [],
  CANCELLED: [],
};

/** The statuses that runs can have; the others only apply to tasks. */
export const STATUSES_OF_RUNS = RUN_STATUSES.filter(
  (status) => status === "PENDING" || Object.values(RUN_TRANSITIONS).some((next) => next.includes(status)),
);

/**
 * The status of a run as it is told. A run that rests is stored as RUNNING, because an older cdktr takes WAITING for the end of a run.
 */
export function toldStatus({
  status,
  resting,
}: {
  readonly status: RunStatus;
  readonly resting: boolean;
}): RunStatus {
  return resting && status === "RUNNING" ? "WAITING" : status;
}

/** Maximum number of attempts of a run whose agents die. */
export const MAX_RUN_ATTEMPTS = 3;
