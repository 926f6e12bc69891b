/** Warns about what a workflow is expected to do, but cannot do, or cannot fail to do. */
import type { Finding } from "./diagnostic.ts";
import { formatDuration } from "./duration.ts";
import { entriesOfFile, type FileSchedules } from "./entry-fields.ts";
import { firingsBetween } from "./firings.ts";
import { placeOf } from "./issues.ts";
import type { WorkflowDefinition } from "./model.ts";
import { schedulesOf } from "./schedules.ts";
import type { Located } from "./yaml-tree.ts";

type File = FileSchedules & Pick<WorkflowDefinition, "expect" | "timeout_ms">;

/** The firings whose distances are looked at: those of a schedule without a start begin here. */
const SOME_TIME_MS = Date.UTC(2026, 0, 1);
const SOME_FIRINGS = 62;
const FOUR_YEARS_MS = 4 * 366 * 86_400_000;

/** @param file as it was read, before the entries are completed */
export function checkExpect(file: File, root: Located): Finding[] {
  const { expect, timeout_ms } = file;
  if (expect === undefined) return [];
  const findings: Finding[] = [];
  const { max_duration_ms, at_least_every_ms } = expect;
  if (max_duration_ms !== undefined && timeout_ms !== null && timeout_ms <= max_duration_ms) {
    const message = `"max_duration" in expect has no effect: the timeout of the workflow ends its runs after ${formatDuration(timeout_ms)}`;
    const help = "make it shorter than the timeout, or remove it";
    findings.push({ code: "W002", message, help, ...placeOf(root, ["expect", "max_duration"]) });
  }
  const gap = at_least_every_ms === undefined ? null : longestGap(file);
  if (gap !== null && at_least_every_ms !== undefined && at_least_every_ms <= gap) {
    const message = `"at_least_every" in expect is ${formatDuration(at_least_every_ms)}, but ${formatDuration(gap)} may pass between two firings of the schedule: it is missed although all of them run`;
    const help = "allow for the time between two firings and for the duration of a run";
    findings.push({ code: "W120", message, help, ...placeOf(root, ["expect", "at_least_every"]) });
  }
  return findings;
}

/** The longest time between some firings of a file, ms; null without a schedule, and where a calendar decides, which is not known here. */
function longestGap(file: File): number | null {
  const entries = file.schedules === undefined ? schedulesOf(file) : entriesOfFile(file);
  if (entries.length === 0 || entries.some(({ calendar }) => calendar !== undefined)) return null;
  const from = Math.max(SOME_TIME_MS, ...entries.map(({ start_time_ms }) => start_time_ms ?? 0));
  const all = entries.map((entry) => {
    const context = { zone: entry.timezone ?? "UTC", calendar: null, offsetMs: 0 };
    return firingsBetween(entry, context, from, from + FOUR_YEARS_MS, SOME_FIRINGS);
  });
  // Beyond the last firing of one that fires often, others are known, but not its own.
  const end = Math.min(...all.filter((some) => some.length >= SOME_FIRINGS).map((some) => some.at(-1) ?? 0));
  const firings = all
    .flat()
    .filter((at) => at <= end)
    .sort((a, b) => a - b);
  const gaps = firings.slice(1).map((at, n) => at - (firings[n] ?? 0));
  return gaps.length === 0 ? null : Math.max(...gaps);
}
