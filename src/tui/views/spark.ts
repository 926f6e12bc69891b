/** Small charts made of characters. */

import type { RunSummary } from "../../contract/messages.ts";
import { tookMs } from "../../contract/took.ts";
import type { Span } from "../screen/canvas.ts";
import { DIM, type Style } from "../screen/style.ts";
import { STATUS_LOOK } from "../status-look.ts";

const BARS = "▁▂▃▄▅▆▇█";
const PARTS = " ▏▎▍▌▋▊▉";

/** A bar for each run, oldest first: height is the duration, colour the outcome; failed runs show their symbol. */
export function sparkline(newestFirst: readonly RunSummary[], columns: number, now: number): Span[] {
  const runs = newestFirst.slice(0, columns).reverse();
  const longest = Math.max(1, ...runs.map((run) => tookMs(run, now) ?? 0));
  const spans: Span[] = [[" ".repeat(columns - runs.length), 0]];
  for (const run of runs) {
    const { symbol, style } = STATUS_LOOK[run.status];
    if (run.status !== "COMPLETED" && run.status !== "RUNNING") spans.push([symbol, style]);
    else spans.push([bar((tookMs(run, now) ?? 0) / longest), style]);
  }
  return spans;
}

/** A bar of one character. @param part 0 to 1 */
export function bar(part: number): string {
  return BARS.charAt(Math.min(BARS.length - 1, Math.floor(part * BARS.length)));
}

/** A bar filled to `part` (0 to 1). */
export function progressBar(part: number, columns: number, style: Style): Span[] {
  const eighths = Math.round(Math.min(1, Math.max(0, part)) * columns * 8);
  const full = Math.floor(eighths / 8);
  const rest = eighths % 8;
  const filled = "█".repeat(full) + (rest > 0 ? PARTS.charAt(rest) : "");
  return [
    [filled, style],
    ["░".repeat(Math.max(0, columns - full - (rest > 0 ? 1 : 0))), DIM],
  ];
}
