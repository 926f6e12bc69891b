/** A schedule in words, as the command line and the terminal UI show it. */
import { cronInWords } from "../terminal/cron-words.ts";
import { formatDuration } from "./duration.ts";
import { jitterOf } from "./jitter.ts";
import type { Entry } from "./schedules.ts";

/**
 * What an entry says beyond its expression, such as `calendar workdays` or `region=eu`.
 * @param isDefault the policy for missed firings that is not told
 * @param time formats a time, ms since the epoch
 */
export function entryFacts(
  workflowId: string,
  entry: Entry,
  isDefault: Entry["catchup"] | null,
  time: (ms: number) => string,
): string[] {
  const { start_time_ms, end_time_ms, catchup, catchup_window_ms, calendar, jitter_ms, params = {} } = entry;
  return [
    ...(calendar === undefined ? [] : [`calendar ${calendar}`]),
    ...(jitter_ms === undefined
      ? []
      : [
          `jitter ${formatDuration(jitter_ms)} (here ${inSeconds(jitterOf(workflowId, jitter_ms), jitter_ms)})`,
        ]),
    ...(start_time_ms === null ? [] : [`from ${time(start_time_ms)}`]),
    ...(end_time_ms === undefined ? [] : [`until ${time(end_time_ms)}`]),
    ...(catchup === isDefault && catchup_window_ms === undefined
      ? []
      : [catchupText(catchup, catchup_window_ms)]),
    ...Object.entries(params).map(([name, value]) => `${name}=${value}`),
  ];
}

/** Rounded to seconds, unless all of it is only a few. */
function inSeconds(ms: number, ofMs: number): string {
  return formatDuration(ofMs < 60_000 ? ms : Math.round(ms / 1000) * 1000);
}

function catchupText(catchup: Entry["catchup"], windowMs: number | undefined): string {
  return `catchup ${catchup}${windowMs === undefined ? "" : ` for ${formatDuration(windowMs)}`}`;
}

/** `every day at 02:00 (Europe/London)`. @param zone that of schedules without one, if it is known */
export function entryInWords({ cron, timezone }: Entry, zone: string | undefined): string {
  const place = timezone ?? zone;
  return `${cronInWords(cron)}${place === undefined ? "" : ` (${place})`}`;
}
