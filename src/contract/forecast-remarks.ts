/** What is to be said about a firing of a forecast, in words. */
import { formatDuration } from "../workflow/duration.ts";
import type { ForecastFiring, ForecastWait } from "./messages/forecast.ts";

const MINUTE_MS = 60_000;

/**
 * The remarks, each a part of a sentence, the most important one first; none if there is nothing to say.
 * @param time prints a time, ms since the epoch
 */
export function remarksOf(firing: ForecastFiring, time: (ms: number) => string): string[] {
  const { outcome, overlaps, waits, dst, at_ms } = firing;
  const remarks = [...outcomeOf(firing, time)];
  if (dst === "skipped hour") remarks.push(`this hour does not exist: fires at ${time(at_ms)}`);
  if (dst === "repeated hour") remarks.push("this hour comes twice");
  for (const wait of waits) remarks.push(waitText(wait, outcome === "waits"));
  const [first, ...others] = overlaps;
  if (first !== undefined) {
    const until = first.until_ms === null ? "" : ` (until ${time(first.until_ms)})`;
    const more = others.length === 0 ? "" : ` and ${others.length} more`;
    remarks.push(`overlaps with its run of ${time(first.at_ms)}${until}${more}`);
  }
  return remarks;
}

function outcomeOf(
  { outcome, note, ends_ms }: ForecastFiring,
  time: (ms: number) => string,
): readonly string[] {
  const because = note === null ? "" : `: ${note}`;
  switch (outcome) {
    case "runs":
      return [];
    case "cancels":
      return ["cancels the run before it (on_conflict: cancel_running)"];
    case "cancelled":
      return [`is cancelled${ends_ms === null ? "" : ` at ${time(ends_ms)}`} (on_conflict: cancel_running)`];
    case "skipped":
      return [`SKIPPED${note === null ? "" : ` (${note})`}`];
    case "dropped":
      return [`SKIPPED: it still waits when the next one is due${because}`];
    case "paused":
      return ["paused"];
    case "waits":
      return [`does not start${because}`];
    case "refused":
      return [`is refused${because}`];
  }
}

function waitText({ kind, name, for_ms }: ForecastWait, isStuck: boolean): string {
  const span = `${isStuck ? "" : "about "}${roughly(for_ms)}`;
  switch (kind) {
    case "group":
      return name === null
        ? `waits ${span} for the run before it`
        : `waits ${span} for group ${JSON.stringify(name)}`;
    case "pool":
      return `waits ${span} for pool ${name}`;
    case "agents":
      return `waits ${span}: agents are full`;
    case "pause":
      return "runs when its workflow is resumed";
    case "jitter":
      return `${roughly(for_ms)} later by jitter`;
  }
}

/** A duration to the minute, or to the second if it is a short one. */
function roughly(ms: number): string {
  const unit = ms < 2 * MINUTE_MS ? 1000 : MINUTE_MS;
  return formatDuration(Math.max(unit, Math.round(ms / unit) * unit));
}
