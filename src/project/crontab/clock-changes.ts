/** Daylight-saving changes and the times of day that they affect. */

/** A change of the clock. */
interface ClockChange {
  /** The local times that are skipped or repeated, in minutes of the day; the end is exclusive. */
  readonly from: number;
  readonly until: number;
}

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
const known = new Map<string, readonly ClockChange[]>();

/**
 * Returns those of the given times of day (minutes) that the clock skips or repeats in the year after `nowMs`. For a job with several
 * fixed times, cron catches up on skipped ones and does not repeat doubled ones; a workflow follows the clock.
 */
export function changedTimes(times: readonly number[], zone: string, nowMs: number): number[] {
  const changes = changesIn(zone, nowMs);
  return times.filter((time) => changes.some(({ from, until }) => time >= from && time < until));
}

function changesIn(zone: string, nowMs: number): readonly ClockChange[] {
  const key = `${zone} ${Math.floor(nowMs / DAY)}`;
  const before = known.get(key);
  if (before !== undefined) return before;
  const offset = offsets(zone);
  const changes: ClockChange[] = [];
  for (let day = 0; day < 366; day++) {
    let [low, high] = [nowMs + day * DAY, nowMs + (day + 1) * DAY];
    const [old, next] = [offset(low), offset(high)];
    if (old === next) continue;
    while (high - low > MINUTE) {
      const middle = low + Math.floor((high - low) / 2);
      if (offset(middle) === old) low = middle;
      else high = middle;
    }
    // The local time of the change, by the earlier of the two offsets.
    const at = Math.round(high / MINUTE) + Math.min(old, next);
    const from = ((at % 1440) + 1440) % 1440;
    changes.push({ from, until: from + Math.abs(next - old) });
  }
  known.set(key, changes);
  return changes;
}

/** UTC offset at a point in time, in minutes. */
function offsets(zone: string): (ms: number) => number {
  const format = new Intl.DateTimeFormat("en", { timeZone: zone, timeZoneName: "longOffset" });
  return (ms) => {
    const name = format.formatToParts(ms).find(({ type }) => type === "timeZoneName")?.value ?? "";
    const [, sign, hours, minutes] = /([+-])(\d\d):(\d\d)/.exec(name) ?? [];
    return hours === undefined ? 0 : (sign === "-" ? -1 : 1) * (Number(hours) * 60 + Number(minutes));
  };
}
