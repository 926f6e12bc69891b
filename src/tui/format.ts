/** Formats times, durations and sizes for the screen. */
import { DAYS, MONTHS, shortName } from "../terminal/calendar-names.ts";

const pad2 = (n: number) => String(n).padStart(2, "0");

/** `14:03:59`, local time. */
export function clock(ms: number): string {
  const date = new Date(ms);
  return `${pad2(date.getHours())}:${pad2(date.getMinutes())}:${pad2(date.getSeconds())}`;
}

/** `14:03:59.042`, local time. */
export function clockMs(ms: number): string {
  return `${clock(ms)}.${String(Math.abs(ms) % 1000).padStart(3, "0")}`;
}

/** `2026-03-31 14:03:59`, local time. */
export function dateTime(ms: number): string {
  const date = new Date(ms);
  return `${date.getFullYear()}-${pad2(date.getMonth() + 1)}-${pad2(date.getDate())} ${clock(ms)}`;
}

/** `14:03:59` today, otherwise `Tue 31 Mar 14:03`, with the year if it differs. */
export function moment(ms: number, now: number): string {
  const date = new Date(ms);
  const today = new Date(now);
  if (date.toDateString() === today.toDateString()) return clock(ms);
  const year = date.getFullYear() === today.getFullYear() ? "" : ` ${date.getFullYear()}`;
  return `${shortName(DAYS[date.getDay()] ?? "")} ${date.getDate()} ${shortName(MONTHS[date.getMonth()] ?? "")}${year} ${clock(ms).slice(0, 5)}`;
}

/** `850ms`, `4.2s`, `3m12s`, `2h05m`, `3d04h`. */
export function duration(ms: number): string {
  if (ms < 0) return duration(-ms);
  if (ms < 1000) return `${Math.round(ms)}ms`;
  if (ms < 9950) return `${(ms / 1000).toFixed(1)}s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}m${pad2(seconds % 60)}s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours}h${pad2(minutes % 60)}m`;
  return `${Math.floor(hours / 24)}d${pad2(hours % 24)}h`;
}

/** Whole units only, for ages and waits that keep changing: `4s`, `3m`, `2h`. */
export function age(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours}h` : `${Math.floor(hours / 24)}d`;
}

/** `in 4m`, `now`. */
export function until(ms: number): string {
  return ms < 1000 ? "now" : `in ${age(ms)}`;
}

/** KiB as `812K`, `43M`, `1.2G`. */
export function kibibytes(kib: number): string {
  if (kib < 1000) return `${Math.round(kib)}K`;
  if (kib < 1000 * 1024) return `${(kib / 1024).toFixed(kib < 10 * 1024 ? 1 : 0)}M`;
  return `${(kib / 1024 / 1024).toFixed(1)}G`;
}

/** `1 run`, `2 runs`. */
export function count(n: number, one: string, many = `${one}s`): string {
  return `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
}
