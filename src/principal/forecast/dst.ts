/** What the change of a clock does to a firing. */
import { aheadMs } from "../../workflow/expressions/dates.ts";

const HOUR_MS = 3_600_000;
/** No change of a clock is larger, ms: whoever changes the date skips a day. */
const LARGEST_MS = 3 * HOUR_MS;
const MINUTE_MS = 60_000;

/**
 * `skipped hour`: the clock skips the time at which it would fire, so it fires right after. `repeated hour`: the local time of its firing
 * occurs twice. Null for nearly all firings.
 * @param cron the expression @param zone IANA name
 */
export function dstOf(cron: string, zone: string, atMs: number): "skipped hour" | "repeated hour" | null {
  const ahead = aheadMs(atMs, zone);
  const before = aheadMs(atMs - LARGEST_MS, zone);
  const after = aheadMs(atMs + LARGEST_MS, zone);
  if (ahead === before && ahead === after) return null;
  // It went back by so much: what was shown before is shown again.
  if (before > ahead && aheadMs(atMs - (before - ahead), zone) === before) return "repeated hour";
  if (ahead > after && aheadMs(atMs + (ahead - after), zone) === after) return "repeated hour";
  const isFirst = ahead > before && aheadMs(atMs - MINUTE_MS, zone) === before;
  return isFirst && !isAt(cron, atMs + ahead) ? "skipped hour" : null;
}

/** Whether a local time is one of the expression, as far as minute and hour are single numbers. */
function isAt(cron: string, localMs: number): boolean {
  const fields = cron.trim().split(/\s+/);
  const [minute = "", hour = ""] = fields.length === 6 ? fields.slice(1) : fields;
  const local = new Date(localMs);
  const is = (field: string, value: number) => !/^\d+$/.test(field) || Number(field) === value;
  return is(minute, local.getUTCMinutes()) && is(hour, local.getUTCHours());
}
