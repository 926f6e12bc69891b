/**
 * Who of a concurrency group may run: pure functions, used when a run enters its group, when another one ends, and by the forecast.
 *
 *   on_conflict      there is room, and nobody waits   otherwise
 *   queue            it is admitted                    it waits
 *   queue_latest     it is admitted                    it waits; those that wait with queue_latest are SKIPPED
 *   skip             it is admitted                    it is SKIPPED
 *   cancel_running   it is admitted                    it waits; those that wait with cancel_running are SKIPPED, and the oldest ones that
 *                                                      run are cancelled, until it has room
 *
 * Room is below the `max_runs` of the run that arrives. Those that wait are admitted strictly in their order: the first one blocks the
 * others, so that one with a small `max_runs` starts, too.
 */
import type { OnConflict } from "../../workflow/concurrency.ts";

/** A run that has a place of the group. */
interface Holder {
  readonly id: string;
  /** It is being cancelled, or only its hooks are left: its place is about to be free. */
  readonly isEnding: boolean;
}

/** A run that waits for a place of the group. */
export interface Held {
  readonly id: string;
  readonly max: number;
  readonly on_conflict: OnConflict;
}

/** A group as a run finds it. */
export interface GroupState {
  /** How many have a place. */
  readonly running: number;
  /** Whether somebody waits for one. */
  readonly isAwaited: boolean;
}

/** Who is in a group; read only if a decision needs it. */
export interface GroupMembers {
  /** Oldest first. */
  readonly holders: readonly Holder[];
  readonly held: readonly Held[];
}

/** What becomes of a run that enters its group, and of others for its sake, by their ids. */
export interface Entry {
  readonly outcome: "admitted" | "held" | "skipped";
  readonly skip: readonly string[];
  readonly cancel: readonly string[];
}

/** Whether a run finds room and nobody who waits before it. */
export function hasRoom({ running, isAwaited }: GroupState, max: number): boolean {
  return running < max && !isAwaited;
}

/** What becomes of a run for which the group has no room. */
export function decideConflict(
  { holders, held }: GroupMembers,
  { max, on_conflict }: Pick<Held, "max" | "on_conflict">,
): Entry {
  const sameKind = held.filter((run) => run.on_conflict === on_conflict).map(({ id }) => id);
  switch (on_conflict) {
    case "skip":
      return { outcome: "skipped", skip: [], cancel: [] };
    case "queue_latest":
      return { outcome: "held", skip: sameKind, cancel: [] };
    case "cancel_running": {
      const staying = holders.filter(({ isEnding }) => !isEnding).map(({ id }) => id);
      return {
        outcome: "held",
        skip: sameKind,
        cancel: staying.slice(0, Math.max(0, staying.length - max + 1)),
      };
    }
    default:
      return { outcome: "held", skip: [], cancel: [] };
  }
}

/** How many of those that wait, in their order, get a place now. */
export function nextAdmissions(running: number, held: readonly Pick<Held, "max">[]): number {
  const blocked = held.findIndex(({ max }, before) => running + before >= max);
  return blocked < 0 ? held.length : blocked;
}
