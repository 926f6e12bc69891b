/**
 * The lines of a log: live lines in the order of their arrival, and lines from the database, which {@link LogBuffer.merge} puts in
 * their place without gaps or duplicates.
 */
import { LOG_LEVELS, type LogLevel, type LogLine, lineKey } from "../../contract/log-line.ts";
import { printable } from "../../terminal/foreign-text.ts";

/** A line for display. */
export interface ShownLine extends LogLine {
  /** The payload, sanitized for a terminal. */
  readonly text: string;
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

/** The same while older lines are being read: they must not go away under the reader. */
export const MAX_LINES_PAUSED = 1_000_000;

/** Lines in order, with the subset that passes a filter and the subset that matches a search. */
export class LogBuffer {
  #lines: ShownLine[] = [];
  #shown: ShownLine[] = [];
  #filter: LogFilter = NO_FILTER;
  #search = "";
  #find = finder("");
  /** Indices into the shown lines, ascending. */
  #matches: number[] = [];
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

  /**
   * Adds a live line.
   * @param most how many lines to keep at most
   */
  append(line: LogLine, most = MAX_LINES): void {
    this.#add(toShown(line));
    if (this.#lines.length > most) this.#shorten();
    this.version++;
  }

  /**
   * Merges consecutive rows from the database. In the time range that they cover, the database's order wins; lines that it does not
   * have yet are kept. Returns the number of additional shown lines.
   */
  merge(rows: readonly LogLine[]): number {
    let [from, to] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    for (const { timestamp_ms } of rows) {
      from = Math.min(from, timestamp_ms);
      to = Math.max(to, timestamp_ms);
    }
    let start = this.#lines.findIndex((line) => line.timestamp_ms >= from);
    if (start === -1) start = this.#lines.length;
    const end = Math.max(start, this.#lines.findLastIndex((line) => line.timestamp_ms <= to) + 1);
    const here = this.#lines.slice(start, end);
    const merged = mergeLines(here, rows);
    if (merged.length === here.length && merged.every((line, i) => line === here[i])) return 0;
    const before = this.#shown.length;
    this.#lines = [...this.#lines.slice(0, start), ...merged, ...this.#lines.slice(end)];
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

/** Whether a line is shown with a filter. */
export function isShown(line: LogLine, filter: LogFilter): boolean {
  return passes(toShown(line), filter);
}

function passes(line: ShownLine, filter: LogFilter): boolean {
  if (filter.task !== null && !isOfTask(line, filter.task)) return false;
  if (LOG_LEVELS.indexOf(line.level) < LOG_LEVELS.indexOf(filter.level)) return false;
  return filter.text === "" || finder(filter.text)(line.text) !== -1;
}

/** Whether it is a line of the task, or of one of its items. */
function isOfTask({ task_name, task_instance_id }: LogLine, task: string): boolean {
  return task_name === task || task_name.startsWith(`${task}[`) || task_instance_id === task;
}

function toShown(line: LogLine): ShownLine {
  return { ...line, text: printable(line.payload) };
}

/** The rows in their order, as existing lines where there are any, with the lines that have no row placed between them by time. */
function mergeLines(here: readonly ShownLine[], rows: readonly LogLine[]): ShownLine[] {
  const known = new Map<bigint, ShownLine[]>();
  for (const line of here.toReversed()) {
    const key = lineKey(line);
    const same = known.get(key);
    if (same === undefined) known.set(key, [line]);
    else same.push(line);
  }
  const stored = rows.map((row) => known.get(lineKey(row))?.pop() ?? toShown(row));
  const taken = new Set(stored);
  const left = here.filter((line) => !taken.has(line));
  const merged: ShownLine[] = [];
  let next = 0;
  for (const line of stored) {
    for (
      let other = left[next];
      other !== undefined && other.timestamp_ms < line.timestamp_ms;
      other = left[next]
    ) {
      merged.push(other);
      next++;
    }
    merged.push(line);
  }
  return [...merged, ...left.slice(next)];
}
