/** Backfills for people. */
import type { BackfillDetails, BackfillPlan, BackfillSummary } from "../../contract/messages.ts";
import { SHORTEST_PREFIX } from "../../contract/run-id.ts";
import { LIMITS_SINCE } from "../../contract/version.ts";
import { UnprocessableError, UsageError } from "../../errors.ts";
import { dateFields } from "../../workflow/expressions/dates.ts";
import { type Connection, principalNow } from "./connect.ts";
import { formatDuration, plural } from "./format.ts";
import { parseInstant } from "./time.ts";

/** The argument that names a backfill. */
export const backfillArg = {
  backfill: { type: "positional", required: true, description: "The backfill's id or a prefix of it" },
} as const;

/** What an older principal would not understand. @throws UnprocessableError */
export function requireBackfills({ info: { protocol, version } }: Connection): void {
  if (protocol.version >= LIMITS_SINCE) return;
  throw new UnprocessableError(`The principal (cdktr ${version}) is too old for backfills.`, {
    hint: "Upgrade it: cdktr docs operations",
  });
}

/**
 * An end of a backfill as the principal reads it: a date is the whole day in the zone of the schedule, anything else a point in time.
 * @throws UsageError
 */
export function boundOption(text: string, flag: string): string {
  const trimmed = text.trim();
  const instant = parseInstant(trimmed, principalNow());
  if (instant === undefined)
    throw new UsageError(`${flag} ${text}: expected a date or a time.`, {
      hint: "For example 2025-01-20, which is the whole day in the zone of the schedule, 2025-01-20T02:00:00Z, '2025-01-20 02:00' (local time) or '7d ago'.",
    });
  return /^\d{4}-\d{2}-\d{2}$/.test(trimmed) ? trimmed : new Date(instant).toISOString();
}

/** The id of a backfill as it was given. @throws UsageError for what can be none */
export function backfillId(text: string): string {
  if (/^[\da-f-]+$/i.test(text) && text.length >= SHORTEST_PREFIX) return text.toLowerCase();
  throw new UsageError(
    `'${text}' is neither the id of a backfill nor the beginning of one, of at least ${SHORTEST_PREFIX} characters.`,
    {
      hint: "'cdktr backfills list' shows the ids.",
    },
  );
}

/** A time in a zone: `2025-01-20T02:00:00+01:00`. */
export function zonedTime(ms: number, zone: string): string {
  const ahead = dateFields(ms, zone).aheadMinutes;
  const two = (n: number) => String(n).padStart(2, "0");
  const [hours, minutes] = [Math.floor(Math.abs(ahead) / 60), Math.abs(ahead) % 60];
  const local = new Date(ms + ahead * 60_000).toISOString().replace(/(\.\d{3})?Z$/, "");
  return `${local}${ahead < 0 ? "-" : "+"}${two(hours)}:${two(minutes)}`;
}

/** A line of a plan: the time of the firing, and what becomes of it. */
export function plannedLine({
  scheduled_time_ms,
  timezone,
  params = {},
  present,
}: BackfillPlan["firings"][number]): string {
  const given = Object.entries(params).map(([name, value]) => `  ${name}=${value}`);
  const verdict =
    present === undefined
      ? "runs"
      : `present: ${present.status ?? "end unknown"} ${present.workflow_instance_id}`;
  return `${zonedTime(scheduled_time_ms, timezone)}  ${verdict}${given.join("")}`;
}

/** What a plan comes to: `31 firings: 28 would run, 3 are present.` */
export function planSum(total: number, present: number): string {
  const runs = total - present;
  const parts = [
    ...(runs === 0 ? [] : [`${runs} would run`]),
    ...(present === 0 ? [] : [`${present} ${present === 1 ? "is" : "are"} present`]),
  ];
  return `${plural(total, "firing")}: ${parts.join(", ")}.`;
}

/** How many firings have become of a backfill what they are to become. */
export function doneOf({ present, by_status }: BackfillSummary): number {
  return present + Object.values(by_status).reduce((sum, count) => sum + count, 0);
}

/** How many firings it has yet to decide about. */
export function leftOf(backfill: BackfillSummary): number {
  return Math.max(0, backfill.total - doneOf(backfill) - backfill.active);
}

/** How many of its runs have not COMPLETED although they are over. */
export function failedOf({ by_status }: BackfillSummary): number {
  return Object.entries(by_status).reduce(
    (sum, [status, count]) => (status === "COMPLETED" ? sum : sum + count),
    0,
  );
}

/** Its state, with what is still to be done about it. */
export function stateText({ state, active, finished_at_ms }: BackfillSummary): string {
  if (state !== "CANCELLED" || finished_at_ms !== null) return state;
  return `CANCELLED (cancelling: ${plural(active, "run")})`;
}

/** How long it still takes, in words; null if there is nothing to say. */
export function estimate({
  state,
  left_ms,
  median_ms,
  interval_ms,
  at_once,
}: BackfillSummary): string | null {
  if (state !== "ACTIVE") return null;
  if (left_ms === null) return "unknown until a run has completed";
  const left = `about ${formatDuration(left_ms)} left`;
  if (interval_ms !== null) return `${left} (a run ends every ${formatDuration(interval_ms)})`;
  return median_ms === null ? left : `${left} (median ${formatDuration(median_ms)}, ${at_once} at once)`;
}

/** The time that it covers. */
export function spanText({ from, to }: Pick<BackfillSummary, "from" | "to">): string {
  return `${shortBound(from)} to ${shortBound(to)}`;
}

/** Without seconds. */
function shortBound(text: string): string {
  return text.replace(/(T\d{2}:\d{2}):\d{2}(\.\d+)?/, "$1");
}

/** The zone in which the times of an entry are shown. */
export function zoneOfEntry({ entries }: Pick<BackfillDetails, "entries">, entry: string): string {
  return entries.find((each) => each.entry === entry)?.timezone ?? "UTC";
}
