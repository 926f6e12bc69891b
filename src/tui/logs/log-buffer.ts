/**
 * The lines of a log: history from the database and live lines, joined without gaps or duplicates. A live line is provisional
 * until the database has it; {@link LogBuffer.reconcile} replaces it with the line from the database.
 */
import { LOG_LEVELS, type LogLevel, type LogLine, lineKey } from "../../contract/log-line.ts";
import { printable } from "../../terminal/foreign-text.ts";

/** A line for display. */
export interface ShownLine extends LogLine {
  /** The payload, sanitized for a terminal. */
  readonly text: string;
  /** A live line that the database has not confirmed yet. */
  readonly live: boolean;
}

/** Which lines to show. */
export interface LogFilter {
  /** Name or id of a task run. */
  readonly task: string | null;
  /** Lines below this level are hidden. */
  readonly level: LogLevel;
  /** Only lines that contain this text. */
  readonly text: string;
}

export const NO_FILTER: LogFilter = { task: null, level: "DEBUG", text: "" };

/** Maximum number of lines in memory; when it is exceeded, the oldest tenth is dropped. */
export const MAX_LINES = 200_000;

/** Lines in order, with the subset that passes a filter and the subset that matches a search. */
export class LogBuffer {
  #lines: ShownLine[] = [];
  #shown: ShownLine[] = [];
  #filter: LogFilter = NO_FILTER;
  #search = "";
  #find = finder("");
  /** Indices into the shown lines, ascending. */
  #matches: number[] = [];
  #liveCount = 0;
  /** Number of shown lines that have been dropped from the front. */
  dropped = 0;
  /** Incremented whenever the shown lines change. */
  version = 0;

  /** The lines that pass the filter. */
  get shown(): readonly ShownLine[] {
    return this.#shown;
  }

  /** Number of all lines. */
  get size(): number {
    return this.#lines.length;
  }

  /** Number of lines that the database has not confirmed. */
  get liveCount(): number {
    return this.#liveCount;
  }

  get filter(): LogFilter {
    return this.#filter;
  }

  get search(): string {
    return this.#search;
  }

  /** Indices of the shown lines that match the search. */
  get matches(): readonly number[] {
    return this.#matches;
  }

  /** Time of the first line, ms since the epoch. */
  get firstMs(): number | null {
    return this.#lines[0]?.timestamp_ms ?? null;
  }

  /** All lines, including hidden ones. */
  get all(): readonly ShownLine[] {
    return this.#lines;
  }

  /** Start of the range for which {@link reconcile} needs the database's lines, ms since the epoch. */
  get confirmFromMs(): number {
    let from = Number.POSITIVE_INFINITY;
    let confirmed: number | null = null;
    for (let i = this.#lines.length - 1; i >= 0; i--) {
      const line = this.#lines[i];
      if (line === undefined) break;
      if (line.live) from = Math.min(from, line.timestamp_ms);
      else {
        confirmed = line.timestamp_ms;
        break;
      }
    }
    if (confirmed !== null) from = Math.min(from, confirmed);
    // The lines of several tasks are not strictly ordered by time.
    return Number.isFinite(from) ? Math.max(0, from - 1000) : 0;
  }

  clear(): void {
    this.#lines = [];
    this.#liveCount = 0;
    this.dropped = 0;
    this.#rebuild();
  }

  /** Adds a live line. */
  append(line: LogLine): void {
    this.#add(toShown(line, true));
    this.#liveCount++;
    if (this.#lines.length > MAX_LINES) this.#shorten();
    this.version++;
  }

  /** Replaces everything from `fromMs` on with the database's lines; live lines that it does not have yet stay at the end. */
  reconcile(rows: readonly LogLine[], fromMs: number): void {
    // Leave everything before the affected range untouched: logs are long, and this runs often.
    let start = this.#lines.findIndex((line) => line.live || line.timestamp_ms >= fromMs);
    if (start === -1) start = this.#lines.length;
    const tail = this.#lines.slice(start);
    const kept = tail.filter((line) => !line.live && line.timestamp_ms < fromMs);
    const pending = tail.filter((line) => line.live);
    const known = new Map<bigint, number>();
    const earliest = pending.reduce(
      (least, line) => Math.min(least, line.timestamp_ms),
      Number.POSITIVE_INFINITY,
    );
    for (const row of rows) {
      if (row.timestamp_ms < earliest) continue;
      const key = lineKey(row);
      known.set(key, (known.get(key) ?? 0) + 1);
    }
    const left = pending.filter((line) => {
      const key = lineKey(line);
      const times = known.get(key) ?? 0;
      if (times === 0) return true;
      known.set(key, times - 1);
      return false;
    });
    const gone = tail.reduce((sum, line) => sum + (passes(line, this.#filter) ? 1 : 0), 0);
    this.#shown.length -= gone;
    while ((this.#matches.at(-1) ?? -1) >= this.#shown.length) this.#matches.pop();
    this.#lines.length = start;
    for (const line of kept) this.#add(line);
    for (const row of rows) this.#add(toShown(row, false));
    for (const line of left) this.#add(line);
    this.#liveCount = left.length;
    if (this.#lines.length > MAX_LINES) this.#shorten();
    this.version++;
  }

  /** Inserts older lines from the database at the front, skipping those already present. Returns the number of additional shown lines. */
  prepend(rows: readonly LogLine[]): number {
    const first = this.firstMs ?? Number.POSITIVE_INFINITY;
    const here = new Map<bigint, number>();
    for (const line of this.#lines) {
      if (line.timestamp_ms > first) continue;
      const key = lineKey(line);
      here.set(key, (here.get(key) ?? 0) + 1);
    }
    const older: ShownLine[] = [];
    for (const row of rows) {
      const key = row.timestamp_ms >= first ? lineKey(row) : null;
      const times = key === null ? 0 : (here.get(key) ?? 0);
      if (key !== null && times > 0) here.set(key, times - 1);
      else older.push(toShown(row, false));
    }
    const before = this.#shown.length;
    this.#lines = [...older, ...this.#lines];
    this.#rebuild();
    return this.#shown.length - before;
  }

  setFilter(filter: LogFilter): void {
    this.#filter = filter;
    this.#rebuild();
  }

  /** Marks the lines that contain `text`; lower case matches upper case too, upper case only itself. */
  setSearch(text: string): void {
    // A longer search text can only narrow the matches, so only those are checked again.
    const narrows =
      this.#search !== "" && text.startsWith(this.#search) && isLower(text) === isLower(this.#search);
    const before = narrows ? this.#matches : this.#shown.keys();
    this.#search = text;
    this.#find = finder(text);
    const matches: number[] = [];
    if (text !== "") {
      for (const index of before) {
        const line = this.#shown[index];
        if (line !== undefined && this.#find(line.text) !== -1) matches.push(index);
      }
    }
    this.#matches = matches;
    this.version++;
  }

  /** Names of the tasks that have lines, in order of appearance. */
  taskNames(): string[] {
    return [...new Set(this.#lines.map((line) => line.task_name))];
  }

  #add(line: ShownLine): void {
    this.#lines.push(line);
    if (!passes(line, this.#filter)) return;
    this.#shown.push(line);
    if (this.#search !== "" && this.#find(line.text) !== -1) this.#matches.push(this.#shown.length - 1);
  }

  #rebuild(): void {
    const filter = this.#filter;
    this.#shown = isOpen(filter) ? this.#lines.slice() : this.#lines.filter((line) => passes(line, filter));
    const search = this.#search;
    this.#search = "";
    this.setSearch(search);
  }

  #shorten(): void {
    const shownBefore = this.#shown.length;
    this.#lines = this.#lines.slice(Math.ceil(MAX_LINES / 10));
    this.#liveCount = this.#lines.reduce((sum, line) => sum + (line.live ? 1 : 0), 0);
    this.#rebuild();
    this.dropped += shownBefore - this.#shown.length;
  }
}

/** Returns a function that finds `text` in another string: its index, or -1. */
export function finder(text: string): (line: string) => number {
  if (!isLower(text)) return (line) => line.indexOf(text);
  const pattern = new RegExp(text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"), "iu");
  return (line) => line.search(pattern);
}

function isLower(text: string): boolean {
  return text === text.toLowerCase();
}

function isOpen(filter: LogFilter): boolean {
  return filter.task === null && filter.level === "DEBUG" && filter.text === "";
}

function passes(line: ShownLine, filter: LogFilter): boolean {
  if (filter.task !== null && line.task_name !== filter.task && line.task_instance_id !== filter.task)
    return false;
  if (LOG_LEVELS.indexOf(line.level) < LOG_LEVELS.indexOf(filter.level)) return false;
  return filter.text === "" || finder(filter.text)(line.text) !== -1;
}

function toShown(line: LogLine, live: boolean): ShownLine {
  return { ...line, text: printable(line.payload), live };
}
