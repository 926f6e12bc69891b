/** What the ends of several tasks amount to: for who depends on them, for the fan-out that they are items of, for their run. */
import type { Ended, Outcome, RunFinish, Stop } from "./decisions.ts";
import { aggregate } from "./fan-out.ts";
import type { PlanNode } from "./plan.ts";
import type { RunStatus } from "./status.ts";
import type { Ending } from "./task-state.ts";

/** A task or an item, and how it ended. */
interface Over {
  readonly node: PlanNode;
  readonly end: Ended | null;
  /** The task that is to blame if a need of it was not accepted, and how that one ended. */
  readonly blame: string | null;
}

/** From the worst to the best end of an item. */
const WORST_FIRST: readonly Ending[] = ["CRASHED", "FAILED", "CANCELLED", "SKIPPED", "COMPLETED"];
const BEST_FIRST = WORST_FIRST.toReversed();

/** Whether who accepts these statuses accepts how a task ended. */
export function isAccepted(accepts: ReadonlySet<RunStatus>, { end }: Over): boolean {
  return end !== null && (accepts.has(end.status) || (end.isAllowed && accepts.has("COMPLETED")));
}

/** Whether it makes its run, or its fan-out, fail. */
function isFailure({ end }: Over): boolean {
  return end !== null && !end.isAllowed && ["FAILED", "CRASHED", "CANCELLED"].includes(end.status);
}

/** Whether a fan-out with fail_fast cancels the other items for it. */
export function isCause({ end }: Over): boolean {
  return end !== null && !end.isAllowed && (end.status === "FAILED" || end.status === "CRASHED");
}

/** Who is to blame for what depends on this task, which is not accepted: what is skipped passes the blame on. */
export function blameOf({ node, end, blame }: Over, accepts: ReadonlySet<RunStatus>): string {
  const because = `"${node.id}", on which it depends, ${end?.status}`;
  if (accepts.size !== 1 || !accepts.has("COMPLETED")) return `${because}, not ${acceptedText(accepts)}`;
  return end?.status === "SKIPPED" && blame !== null ? blame : because;
}

/** The statuses of a condition in words; CRASHED goes without saying where FAILED is said. */
function acceptedText(accepts: ReadonlySet<RunStatus>): string {
  const said = BEST_FIRST.filter(
    (status) => accepts.has(status) && (status !== "CRASHED" || !accepts.has("FAILED")),
  );
  return said.join(" or ");
}

const MOST_NAMES = 10;

function namesOf(states: readonly Over[]): string {
  const names = states.slice(0, MOST_NAMES).map(({ node }) => node.id);
  const more = states.length - names.length;
  return `${names.join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

/** The end of a fan-out: the worst of its items, and for each output the list of theirs in order. */
export function endOfItems(items: readonly Over[]): Ended {
  const ends = items.flatMap(({ end }) => (end === null ? [] : [end]));
  const failures = items.filter(isFailure);
  const deciding = failures.length === 0 ? items : failures;
  const status =
    WORST_FIRST.find((worse) => deciding.some(({ end }) => end?.status === worse)) ?? "COMPLETED";
  const isAllowed = status === "FAILED" && failures.length === 0;
  const leftOut = ends.find((end) => end.leftOut !== undefined)?.leftOut;
  const failed = isAllowed || failures.length > 0 ? deciding.filter(({ end }) => end?.status === status) : [];
  return {
    status,
    error:
      failed.length === 0 ? null : `${status === "CANCELLED" ? "cancelled" : "failed"}: ${namesOf(failed)}`,
    outputs:
      leftOut === undefined
        ? aggregate(
            ends.length,
            ends.map(({ outputs }, index) => ({ index, outputs })),
          )
        : null,
    isAllowed,
    isUnstarted: false,
    ...(leftOut === undefined ? {} : { leftOut }),
  };
}

/** A run was stopped. */
export interface RunStop {
  readonly kind: Stop;
  /** The text of one that timed out. */
  readonly error: string | null;
}

/** How a run ends whose tasks, hooks and items apart, ended like this. @param stop why nothing more was started, if so */
export function outcomeOf(tasks: readonly Over[], stop: RunStop | null): Outcome {
  const failures = tasks.filter(isFailure);
  const failed = failures.filter(isCause).map(({ node }) => node.id);
  const allowed = tasks.filter(({ end }) => end?.isAllowed === true).length;
  const ended = (status: RunFinish["status"], error: string | null): Outcome => ({
    status,
    error,
    allowed,
    failed,
  });
  if (stop?.kind === "cancelled") return ended("CANCELLED", null);
  if (stop?.kind === "timed out") return ended("FAILED", stop.error);
  const crashed = tasks.filter(({ end }) => end?.status === "CRASHED");
  if (crashed.length > 0) return ended("CRASHED", `crashed: ${namesOf(crashed)}`);
  if (failures.length > 0) return ended("FAILED", `failed: ${namesOf(failures)}`);
  return ended("COMPLETED", null);
}
