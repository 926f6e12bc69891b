/**
 * Follows a log: yields lines of the history, then live lines, each exactly once. Lines published while the connection is lost are
 * read from the history after the reconnect.
 */
import { type LogLine, lineKey } from "../contract/log-line.ts";
import type { SearchLogs } from "../contract/messages.ts";
import { BackOff, Timer } from "../timer.ts";
import { RequestRefusedError } from "./client.ts";
import { ExactlyOnce } from "./exactly-once.ts";
import { type AskForPage, isFoundBy, searchPages } from "./log-search.ts";
import type { LogSubscription } from "./log-subscription.ts";

/** Number of lines remembered, to recognise them when they come again. */
const REMEMBERED = 300_000;
/** After a reconnect, the history is read from this long before the newest line, because the clocks of agents differ, ms. */
const OVERLAP_MS = 60_000;
/** First and longest pause before the history is read again, after it was unavailable or incomplete, ms. */
const FIRST_RETRY_MS = 2000;
const LONGEST_RETRY_MS = 60_000;

/** What to follow. */
export interface FollowOptions {
  /** The live log, connected. What it receives before {@link LogFollower.lines} is read is kept. */
  readonly live: LogSubscription;
  /** Asks for pages of the history. */
  readonly ask: AskForPage;
  /** Selects lines. `task` and `grep` only apply to the history; `matches` has to apply them to live lines. */
  readonly search: SearchLogs;
  readonly matches?: (line: LogLine) => boolean | Promise<boolean>;
  /** Number of lines of the history to begin with, the newest ones; undefined for all. */
  readonly limit: number | undefined;
  /** Called when the history cannot be read after a reconnect, which is tried again, or at the end. */
  readonly failed: (error: unknown) => void;
  /** Number of lines to remember; {@link REMEMBERED} by default. */
  readonly remembered?: number;
}

/** See the top of this file. */
export class LogFollower {
  readonly #o: FollowOptions;
  readonly #once: ExactlyOnce;
  /** The connection of the last live lines. */
  #connection: number;
  /** Lines older than this were not asked for, ms. Until the first line, the time at which this began. */
  #oldestMs: number;
  /** Time of the newest line, ms. */
  #newestMs: number | undefined;
  /** Start of the time range in which lines may have been missed, ms. */
  #missedFromMs: number | undefined;
  readonly #pauses = new BackOff(FIRST_RETRY_MS, LONGEST_RETRY_MS);
  readonly #retry = new Timer(() => this.#o.live.wake());
  #isComplete: (() => Promise<boolean>) | undefined;

  constructor(options: FollowOptions) {
    this.#o = options;
    this.#once = new ExactlyOnce(options.remembered ?? REMEMBERED);
    this.#connection = options.live.connection;
    this.#oldestMs = options.limit === undefined ? 0 : Date.now();
  }

  /**
   * The lines, in batches; ends when the subscription is closed.
   * @throws what `ask` throws for the lines to begin with; AccessRefusedError when the principal refuses the key later
   */
  async *lines(): AsyncGenerator<readonly LogLine[]> {
    const { live } = this.#o;
    try {
      yield* this.#begin();
      for await (const { connection, lines } of live.batches()) {
        if (connection !== this.#connection) {
          this.#connection = connection;
          this.#once.restartLive();
          this.#missedFromMs ??= Math.max(
            this.#oldestMs,
            Math.min(this.#newestMs ?? 0, Date.now()) - OVERLAP_MS,
          );
          this.#retry.cancel();
        }
        if (this.#missedFromMs !== undefined && !this.#retry.isSet) {
          yield* this.#readMissed(this.#missedFromMs);
        }
        yield* this.#offerLive(lines);
      }
      if (this.#isComplete !== undefined && !(await this.#isComplete())) yield* this.#readRest();
    } finally {
      this.#retry.cancel();
    }
  }

  /**
   * Ends the live log. {@link lines} continues with what has arrived and then, unless `isComplete` resolves to true, with all lines
   * of the history that did not arrive live.
   */
  finish(isComplete: () => Promise<boolean>): void {
    this.#isComplete = isComplete;
    this.#o.live.close();
  }

  async *#begin(): AsyncGenerator<readonly LogLine[]> {
    const { live, search, limit } = this.#o;
    if (limit === 0) return;
    let oldestMs: number | undefined;
    for await (const { lines, first } of this.#history(search, limit)) {
      oldestMs ??= first;
      yield* lines;
    }
    // With a limit, live lines that arrived meanwhile but are older than the oldest line of the history lie beyond the limit.
    if (limit === undefined || oldestMs === undefined) return;
    const fromMs = oldestMs;
    this.#oldestMs = fromMs;
    if (live.closed) return;
    for (const { lines } of live.takeArrived(this.#connection)) {
      yield* this.#offerLive(lines.filter((line) => line.timestamp_ms >= fromMs));
    }
  }

  async *#readRest(): AsyncGenerator<readonly LogLine[]> {
    try {
      for await (const { lines } of this.#history(this.#o.search)) yield* lines;
    } catch (error) {
      this.#o.failed(error);
    }
  }

  async *#readMissed(fromMs: number): AsyncGenerator<readonly LogLine[]> {
    const { search, failed } = this.#o;
    const { forgottenMs = -1 } = this.#once;
    const since_ms = Math.max(search.since_ms ?? 0, fromMs, forgottenMs + 1);
    let isWhole = true;
    try {
      for await (const { lines, warning } of this.#history({ ...search, since_ms })) {
        if (warning !== null) isWhole = false;
        yield* lines;
      }
    } catch (error) {
      // A principal that refuses the request will not answer it later either.
      isWhole = error instanceof RequestRefusedError;
      failed(error);
    }
    if (isWhole) {
      this.#missedFromMs = undefined;
      this.#pauses.reset();
      return;
    }
    this.#retry.in(this.#pauses.next());
  }

  /** Reads the history page by page; `lines` holds at most one array, with the lines of the page that are new. */
  async *#history(search: SearchLogs, limit?: number) {
    this.#once.startHistory();
    try {
      for await (const { lines, warning } of searchPages(this.#o.ask, search, limit)) {
        const fresh = lines.filter((line) => this.#once.offerHistory(lineKey(line), line.timestamp_ms));
        yield { lines: this.#some(fresh), first: lines[0]?.timestamp_ms, warning };
      }
    } finally {
      this.#once.endHistory();
    }
  }

  async *#offerLive(lines: readonly LogLine[]): AsyncGenerator<readonly LogLine[]> {
    const { search, matches } = this.#o;
    const fresh: LogLine[] = [];
    for (const line of lines) {
      if (!isFoundBy(search, line)) continue;
      const wanted = matches?.(line) ?? true;
      if (!(typeof wanted === "boolean" ? wanted : await wanted)) continue;
      if (this.#once.offerLive(lineKey(line), line.timestamp_ms)) fresh.push(line);
    }
    yield* this.#some(fresh);
  }

  #some(lines: readonly LogLine[]): readonly (readonly LogLine[])[] {
    for (const { timestamp_ms } of lines) {
      if (this.#newestMs === undefined) this.#oldestMs = Math.min(this.#oldestMs, timestamp_ms);
      this.#newestMs = Math.max(this.#newestMs ?? timestamp_ms, timestamp_ms);
    }
    return lines.length === 0 ? [] : [lines];
  }
}
