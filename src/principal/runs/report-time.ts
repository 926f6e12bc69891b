/** When a report was made: the clocks of agents may be wrong. */
import type { Held, ReportedClock } from "./hearing.ts";

/** The time of a report by the principal's clock, and the error of the agent's clock. */
export interface ReportTime {
  readonly at_ms: number;
  readonly offset_ms: number;
}

/** By how much a time may be wrong that is computed from a difference of clocks: messages take time, ms. */
const CLOCK_ERROR_MS = 3000;

/**
 * When a report was made, by the principal's clock. An attempt begins after its assignment, and everything in a report happened before
 * its arrival. If the times contradict that, the agent's clock is wrong by at least the difference, which is then added to the times of
 * all reports of the attempt, so that durations are right.
 * @param now by the principal's clock, ms since the epoch
 */
export function timeOf(
  { run, attempt }: Held,
  { timestamp_ms, latest_ms = timestamp_ms, ahead_ms = 0 }: ReportedClock & { timestamp_ms: number },
  now: number,
): ReportTime {
  const told = timestamp_ms - ahead_ms;
  if (attempt.lease === "OFFERED" || attempt.clock_offset_ms === 0) {
    const isPossible = ahead_ms !== 0 && attempt.assigned_at_ms <= told && latest_ms - ahead_ms <= now;
    const least = Math.min(now - latest_ms, Math.max(0, attempt.assigned_at_ms - timestamp_ms));
    const offset_ms = Math.round(isPossible ? -ahead_ms : least);
    return { at_ms: timestamp_ms + offset_ms, offset_ms };
  }
  const { clock_offset_ms: offset_ms } = attempt;
  const corrected = timestamp_ms + offset_ms;
  // The agent's clock may have been set in the meantime.
  const possible = [corrected, told, timestamp_ms].find(
    (at) => run.status_at_ms - CLOCK_ERROR_MS <= at && at <= now + CLOCK_ERROR_MS,
  );
  return { at_ms: Math.round(Math.min(possible ?? corrected, now)), offset_ms };
}
