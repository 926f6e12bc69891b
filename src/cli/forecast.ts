import { remarksOf } from "../contract/forecast-remarks.ts";
import {
  type Forecast,
  type ForecastFiring,
  MOST_FORECAST_MS,
  MOST_TOLD_FIRINGS,
} from "../contract/messages.ts";
import { UsageError } from "../errors.ts";
import { command, wholeNumber } from "./support/command.ts";
import { principalNow, withPrincipal } from "./support/connect.ts";
import { formatDuration, formatInstant, plural } from "./support/format.ts";
import { jsonArg, principalArg } from "./support/globals.ts";
import { say } from "./support/report.ts";
import { printJson, printLine } from "./support/stdout.ts";
import { styleFor } from "./support/style.ts";
import { renderTable } from "./support/table.ts";
import { instantOption, parseComing, spanOption } from "./support/time.ts";

const DAY_MS = 86_400_000;
/** A year of a busy installation takes some seconds. */
const TIMEOUT_MS = 60_000;

export default command({
  meta: { name: "forecast", description: "What schedules will do: firings, durations, overlaps, load" },
  args: {
    next: { type: "string", valueHint: "D", description: "How far ahead, such as 6h or 2d (default: 24h)" },
    from: { type: "string", valueHint: "TIME", description: "From this time on (default: now)" },
    to: { type: "string", valueHint: "TIME", description: "Until this time" },
    limit: {
      type: "string",
      alias: "n",
      valueHint: "N",
      default: "1000",
      description: "Maximum number of firings",
    },
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    rest: "ID",
    restDescription: "Only the firings of these workflows; all others are simulated, too",
    completes: { id: "workflow" },
    see: ["workflow list", "runs why"],
    topic: "forecast",
    details: `Simulates what the schedules do from now on, with the agents that are up, the pools, the groups and the pauses as they are now; each run takes as long as the median of its last runs that completed.

      Says of each firing when its run starts and ends, and what is remarkable about it: it overlaps with the run before it, waits for a group, a pool or an agent, is SKIPPED by a policy, its workflow is paused, the clock changes.`,
    examples: [
      { command: "cdktr forecast", does: "the next 24 hours" },
      { command: "cdktr forecast etl.daily --next 7d", does: "one workflow, for a week" },
      {
        command: "cdktr forecast --from '2026-03-29 00:00' --to '2026-03-30 00:00'",
        does: "the day on which the clock changes",
      },
      {
        command: "cdktr forecast --json | jq '.firings[] | select(.overlaps != [])'",
        does: "runs that overlap, for a program",
      },
    ],
  },
  async run({ args }) {
    const now = principalNow();
    const span = spanOf(args, now);
    const limit = wholeNumber(args.limit, "--limit", { min: 1, max: MOST_TOLD_FIRINGS });
    const forecast = await withPrincipal(args, ({ client }) =>
      client.forecast(
        { ...span, limit, ...(args._.length === 0 ? {} : { workflow_ids: args._ }) },
        { timeoutMs: TIMEOUT_MS },
      ),
    );
    if (forecast.warning !== null) say(`${styleFor("stderr").yellow("warning:")} ${forecast.warning}`);
    if (args.json) return printJson(forecast);
    for (const line of forecastLines(forecast)) await printLine(line);
    if (forecast.firings.length === 0) say("Nothing fires in this time.");
    if (forecast.left_out > 0)
      say(`${plural(forecast.left_out, "firing")} more in this time: -n N shows more of them.`);
    if (forecast.truncated_at_ms !== null)
      say(`There are too many firings: the forecast ends at ${formatInstant(forecast.truncated_at_ms)}.`);
  },
});

/** @throws UsageError */
function spanOf(
  args: { next?: string | undefined; from?: string | undefined; to?: string | undefined },
  now: number,
): { from_ms?: number; to_ms: number } {
  if (args.next !== undefined && args.to !== undefined)
    throw new UsageError("--next and --to say the same thing: give one of them.");
  const from_ms = coming(args.from, "--from", now);
  const next = spanOption(args.next, "--next", MOST_FORECAST_MS);
  const to_ms = coming(args.to, "--to", now) ?? (from_ms ?? now) + (next ?? DAY_MS);
  if (to_ms <= (from_ms ?? now))
    throw new UsageError(
      args.next === undefined
        ? "--to is not after the beginning of the forecast."
        : "--next must be more than 0.",
    );
  return { ...(from_ms === undefined ? {} : { from_ms }), to_ms };
}

/** A time of day is the next one; anything else is as in other options. */
function coming(text: string | undefined, flag: string, now: number): number | undefined {
  return text === undefined ? undefined : (parseComing(text, now) ?? instantOption(text, flag, now));
}

/** The table, and what is most at once. */
function forecastLines(forecast: Forecast): string[] {
  const { firings, load, peaks } = forecast;
  const lines = firings.length === 0 ? [] : forecastTable(firings);
  if (firings.some(({ expected_ms }) => expected_ms === null))
    lines.push("", "?: no run of this workflow has completed yet; it counts as one that takes no time.");
  const most: string[] = [];
  if (peaks.runs !== null) most.push(`${plural(peaks.runs.most, "run")} at ${minuteOf(peaks.runs.at_ms)}`);
  if (peaks.places !== null)
    most.push(
      `${peaks.places.most} of ${plural(load.room, "place")} on agents at ${minuteOf(peaks.places.at_ms)}`,
    );
  for (const [name, { most: used, at_ms }] of Object.entries(peaks.pools))
    most.push(`${used} of ${load.pools[name]?.size ?? 0} slots of pool ${name} at ${minuteOf(at_ms)}`);
  return most.length === 0 ? lines : [...lines, "", `Most at once: ${most.join("; ")}.`];
}

function forecastTable(firings: readonly ForecastFiring[]): string[] {
  const style = styleFor("stdout");
  return renderTable<ForecastFiring>(
    [
      { title: "TIME", value: ({ at_ms }) => minuteOf(at_ms) },
      { title: "WORKFLOW", value: ({ workflow_id }) => workflow_id, flexible: true },
      {
        title: "EXPECTED",
        value: ({ expected_ms }) => (expected_ms === null ? "?" : formatDuration(expected_ms)),
        align: "right",
      },
      {
        title: "UNTIL",
        value: ({ at_ms, ends_ms }) => (ends_ms === null ? "-" : shortTime(ends_ms, at_ms)),
      },
      {
        title: "REMARKS",
        value: (firing) => remarksOf(firing, (ms) => shortTime(ms, firing.at_ms)).join("; "),
        paint: ({ outcome }) => (outcome === "runs" || outcome === "cancels" ? (text) => text : style.yellow),
        below: true,
      },
    ],
    firings,
  );
}

/** Date and time, with seconds if there are any: `2025-01-20 14:03`. */
function minuteOf(ms: number): string {
  const text = formatInstant(ms);
  return text.endsWith(":00") ? text.slice(0, -3) : text;
}

/** The time of day alone if it is on the same day. */
function shortTime(ms: number, nearMs: number): string {
  const text = minuteOf(ms);
  const date = formatInstant(nearMs).slice(0, 10);
  return text.startsWith(date) ? text.slice(11) : text;
}
