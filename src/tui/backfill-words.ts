/** How far a backfill has got, in words. */
import type { BackfillSummary } from "../contract/messages.ts";
import { count, duration } from "./format.ts";

/** How far a backfill has got. */
interface BackfillProgress {
  /** Firings that need nothing more, and all of them. */
  readonly done: number;
  readonly total: number;
  /** What is left, or why it does not go on. */
  readonly text: string;
  /** `12 COMPLETED, 1 FAILED, 3 run, 2 had a run before`. */
  readonly counts: string;
}

/** How far a backfill has got. */
export function backfillProgress(backfill: BackfillSummary): BackfillProgress {
  const { total, present, active, by_status, state, note, left_ms, median_ms, at_once } = backfill;
  const ended = Object.values(by_status).reduce((sum, runs) => sum + (runs ?? 0), 0);
  const counts = [
    ...Object.entries(by_status).map(([status, runs]) => `${runs} ${status}`),
    ...(active > 0 ? [`${count(active, "run")} not over`] : []),
    ...(present > 0 ? [`${present} had a run before`] : []),
    `${total - ended - present - active} to come`,
  ];
  const left =
    left_ms !== null
      ? `about ${duration(left_ms)} left${median_ms === null ? "" : ` (median ${duration(median_ms)}, ${at_once} at once)`}`
      : "how long it takes is not known until a run has completed";
  const text =
    state === "ACTIVE"
      ? (note ?? left)
      : state === "PAUSED"
        ? `paused${note === null ? "" : `: ${note}`}`
        : active > 0
          ? `cancelling: ${count(active, "run")}`
          : state;
  return { done: ended + present, total, text, counts: counts.join(", ") };
}
