/** Pauses of workflows in the words of the views and of the history. */
import type { Pause } from "./messages/pauses.ts";

/** Part of a sentence about a paused workflow: `workflow etl is paused since 2026-11-27T18:02:00Z by ops: migration`. */
export function pauseText(workflowId: string, pause: Pause): string {
  return `workflow ${workflowId} is ${pausedText(pause)}`;
}

/** @param instant how a time is written; by default as in the history */
export function pausedText(
  { at_ms, by, reason, until_ms, auto }: Pause,
  instant: (ms: number) => string = isoInstant,
): string {
  const since = `paused since ${instant(at_ms)}${by === null ? "" : ` by ${by}`}`;
  const until = until_ms === null ? "" : ` until ${instant(until_ms)}`;
  const why = reason === null || reason === "" ? "" : auto ? ` after ${reason}` : `: ${reason}`;
  return `${since}${until}${why}`;
}

/** What to do about it. */
export function resumeCommand(workflowId: string): string {
  return `cdktr workflow resume ${workflowId}`;
}

function isoInstant(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d{3}Z$/, "Z");
}
