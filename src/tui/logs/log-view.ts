/** The view of a log: position, filters and display options. */
import { LogBuffer } from "./log-buffer.ts";

/** The subject of the log. */
export type LogSource =
  | { readonly kind: "all" }
  | { readonly kind: "workflow"; readonly workflowId: string }
  | { readonly kind: "run"; readonly workflowId: string; readonly runId: string };

export interface LogView {
  source: LogSource;
  buffer: LogBuffer;
  /** Keeps the newest line visible. */
  follow: boolean;
  /** Index of the first visible line, among the shown ones. */
  top: number;
  /** Horizontal scroll offset, in columns. */
  left: number;
  wrap: boolean;
  timestamps: boolean;
  /** Index of the match that was last jumped to. */
  match: number | null;
  status: "idle" | "loading" | "live" | "failed";
  /** What is missing, and why. */
  warning: string | null;
  /** The database may have lines before the first one. */
  olderThere: boolean;
  /** Older lines are being loaded. */
  loadingOlder: boolean;
  /** Height of the log on the screen, in rows, as last drawn. */
  height: number;
}

export function newLogView(source: LogSource): LogView {
  return {
    source,
    buffer: new LogBuffer(),
    follow: true,
    top: 0,
    left: 0,
    wrap: false,
    timestamps: true,
    match: null,
    status: "idle",
    warning: null,
    olderThere: false,
    loadingOlder: false,
    height: 1,
  };
}

export function sameSource(a: LogSource, b: LogSource): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** Describes the subject of a log. */
export function sourceName(source: LogSource): string {
  switch (source.kind) {
    case "all":
      return "all workflows";
    case "workflow":
      return source.workflowId;
    case "run":
      return `${source.workflowId} · run ${source.runId}`;
  }
}

/** Scrolls by `lines`; scrolling up stops following, reaching the end resumes it. */
export function scrollLog(view: LogView, lines: number): void {
  const last = Math.max(0, view.buffer.shown.length - view.height);
  const from = view.follow ? last : view.top;
  view.top = Math.min(Math.max(0, from + lines), last);
  view.follow = lines > 0 && view.top >= last;
}

/** Scrolls to the shown line `index`, placing it a third down the screen. */
function showLine(view: LogView, index: number): void {
  view.follow = false;
  const last = Math.max(0, view.buffer.shown.length - view.height);
  view.top = Math.min(Math.max(0, index - Math.floor(view.height / 3)), last);
}

/** Jumps to the next match (`1`) or the previous one (`-1`), wrapping around; false when there is none. */
export function nextMatch(view: LogView, direction: 1 | -1): boolean {
  const { matches, shown } = view.buffer;
  if (matches.length === 0) return false;
  const from = view.match ?? (view.follow ? shown.length : view.top - direction);
  const found =
    direction === 1
      ? (matches.find((index) => index > from) ?? matches[0])
      : (matches.findLast((index) => index < from) ?? matches.at(-1));
  if (found === undefined) return false;
  view.match = found;
  if (view.follow || found < view.top || found >= view.top + view.height) showLine(view, found);
  view.follow = false;
  return true;
}

/** Scrolls to the first line at or after a time (ms since the epoch), or to the last line when all are earlier. */
export function jumpToTime(view: LogView, ms: number): void {
  const { shown } = view.buffer;
  const index = shown.findIndex((line) => line.timestamp_ms >= ms);
  view.follow = false;
  const last = Math.max(0, shown.length - view.height);
  view.top = index === -1 ? last : Math.min(index, last);
}

/**
 * Parses a time as a person types it: `14:03`, `14:03:59`, `2026-03-31 14:03`, or `-5m` before `now`.
 * A time without a date is the most recent one before `now`. Null when it is none of these.
 */
export function parseMoment(text: string, now: number): number | null {
  const back = /^-\s*(\d+)\s*(s|m|h|d)$/.exec(text.trim());
  if (back !== null) {
    const unit = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }[back[2] as "s" | "m" | "h" | "d"];
    return now - Number(back[1]) * unit;
  }
  const match = /^(?:(\d{4})-(\d{2})-(\d{2})[ T])?(\d{1,2}):(\d{2})(?::(\d{2}))?$/.exec(text.trim());
  if (match === null) return null;
  const [, year, month, day, hours, minutes, seconds] = match;
  if (Number(hours) > 23 || Number(minutes) > 59 || Number(seconds ?? 0) > 59) return null;
  const date = year === undefined ? new Date(now) : new Date(Number(year), Number(month) - 1, Number(day));
  date.setHours(Number(hours), Number(minutes), Number(seconds ?? 0), 0);
  if (year === undefined && date.getTime() > now) date.setDate(date.getDate() - 1);
  return date.getTime();
}
