/** Human-readable times, durations, sizes and statuses. */
import { STATUS_SYMBOLS } from "../../terminal/status-symbols.ts";
import type { RunStatus } from "../../workflow/status.ts";
import type { Paint, Style } from "./style.ts";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** A duration: `37ms`, `4.2s`, `3m 20s`, `5h 12m`, `2d 3h`. */
export function formatDuration(ms: number): string {
  if (ms < 0) return `-${formatDuration(-ms)}`;
  if (ms < SECOND) return `${Math.round(ms)}ms`;
  if (Math.round(ms / 100) < 600) return `${(ms / SECOND).toFixed(1)}s`;
  const seconds = Math.round(ms / SECOND);
  if (seconds < HOUR / SECOND) return joined(Math.floor(seconds / 60), "m", seconds % 60, "s");
  const minutes = Math.round(ms / MINUTE);
  if (minutes < DAY / MINUTE) return joined(Math.floor(minutes / 60), "h", minutes % 60, "m");
  const hours = Math.round(ms / HOUR);
  return joined(Math.floor(hours / 24), "d", hours % 24, "h");
}

function joined(big: number, bigUnit: string, small: number, smallUnit: string): string {
  return small === 0 ? `${big}${bigUnit}` : `${big}${bigUnit} ${small}${smallUnit}`;
}

/** A relative time: `just now`, `12s ago`, `3h ago`, `in 5m`. */
export function formatRelative(instantMs: number, nowMs: number): string {
  const distance = Math.abs(nowMs - instantMs);
  if (distance < SECOND) return "just now";
  const span =
    distance < MINUTE
      ? `${Math.floor(distance / SECOND)}s`
      : distance < HOUR
        ? `${Math.floor(distance / MINUTE)}m`
        : distance < 2 * DAY
          ? `${Math.floor(distance / HOUR)}h`
          : `${Math.floor(distance / DAY)}d`;
  return instantMs <= nowMs ? `${span} ago` : `in ${span}`;
}

/** Time of day in the local zone: `14:03:07.250`. */
export function formatClock(instantMs: number): string {
  const date = new Date(instantMs);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

/** Date and time in the local zone: `2025-01-20 14:03:07`. */
export function formatInstant(instantMs: number): string {
  const date = new Date(instantMs);
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${formatClock(instantMs).slice(0, 8)}`;
}

function two(n: number): string {
  return String(n).padStart(2, "0");
}

/** A size: `812 B`, `3.4 KiB`, `1.2 GiB`. */
export function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let value = bytes / 1024;
  let unit = 0;
  while (value >= 1023.95 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${value.toFixed(1)} ${units[unit]}`;
}

/** `1 run`, `2 runs`. */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

export function statusPaint(status: RunStatus, style: Style): Paint {
  switch (status) {
    case "COMPLETED":
      return style.green;
    case "FAILED":
    case "CRASHED":
      return style.red;
    case "RUNNING":
      return style.cyan;
    case "WAITING":
    case "CANCELLED":
      return style.yellow;
    default:
      return style.dim;
  }
}

/** A status: with symbol and colour on a terminal, elsewhere the bare word, which programs can compare. */
export function formatStatus(status: RunStatus, style: Style): string {
  return style.enabled ? statusPaint(status, style)(`${STATUS_SYMBOLS[status]} ${status}`) : status;
}
