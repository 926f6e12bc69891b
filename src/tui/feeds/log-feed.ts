/** Fills the log on the screen with history from the database and live lines from the principal's publisher. */
import { type LogLine, lineOf } from "../../contract/log-line.ts";
import type { PrincipalInfo, SearchLogs } from "../../contract/messages.ts";
import { errorMessage, UnprocessableError } from "../../errors.ts";
import type { PrincipalClient } from "../../protocol/client.ts";
import { LogFollower } from "../../protocol/log-follower.ts";
import { searchPages } from "../../protocol/log-search.ts";
import { LogSubscription } from "../../protocol/log-subscription.ts";
import { BackgroundService } from "../../service.ts";
import { dateTime } from "../format.ts";
import { MAX_LINES, MAX_LINES_PAUSED } from "../logs/log-buffer.ts";
import { type LogSource, newLogView } from "../logs/log-view.ts";
import type { State } from "../state.ts";
import type { Store } from "../store.ts";

/** Number of lines read at first, and each time older ones are requested. */
const CHUNK = 5000;
/** The same on the way to a line that was found further back. */
const LARGE_CHUNK = 50_000;
/** Number of lines of a run that are read without being requested. */
const WHOLE_RUN = 100_000;
const CONNECT_MS = 1500;
/** Time between attempts to read the history, ms. */
const RETRY_MS = 2000;
/** Interval between readings of the database while it has not confirmed all live lines, ms. */
const CONFIRM_MS = 4000;
const MOST_PATIENCE_MS = 30_000;
/** How far readings overlap, because the lines of several tasks are not strictly ordered by time, ms. */
const OVERLAP_MS = 1000;
const TIMEOUT_MS = 20_000;

export interface LogFeedOptions {
  readonly client: PrincipalClient;
  readonly store: Store;
  readonly info: PrincipalInfo;
  readonly source: LogSource;
}

/** Live lines that the database has not confirmed yet. */
interface Unconfirmed {
  readonly count: number;
  /** Time of the oldest of them, ms. */
  readonly oldestMs: number;
}

const NONE: Unconfirmed = { count: 0, oldestMs: Number.POSITIVE_INFINITY };

/** Feeds one log; each log has a feed of its own. */
export class LogFeed extends BackgroundService {
  readonly name = "log feed";
  readonly source: LogSource;
  readonly #options: LogFeedOptions;
  readonly #search: SearchLogs;
  readonly #live: LogSubscription;
  readonly #confirming = this.timer(() => this.#confirmInTime());
  #reading = false;
  #confirmedAt = 0;
  #unconfirmed = NONE;
  /** Time of the newest line read from the database, ms. */
  #storedMs: number | undefined;

  constructor(options: LogFeedOptions) {
    super();
    this.#options = options;
    this.source = options.source;
    this.#search = searchOf(options.source);
    const { client, info, source } = options;
    this.#live = new LogSubscription({
      client,
      port: info.logs_publishing_port,
      workflowId: source.kind === "all" ? undefined : source.workflowId,
      // The principal feed reports problems with the key; the database has the lines.
      persistent: true,
    });
  }

  protected override onStart(): void {
    const { store, source } = this.#options;
    store.update((state) => {
      const { wrap, timestamps } = state.log;
      // Filters that were set for this log are kept.
      if (state.log.status !== "idle" || JSON.stringify(state.log.source) !== JSON.stringify(source)) {
        state.log = { ...newLogView(source), wrap, timestamps };
      }
      state.log.status = "loading";
    });
    this.track(this.#run().catch((error) => this.#failed(error)));
  }

  protected override onStop(): void {
    this.#live.close();
  }

  /** Reads the time range of the unconfirmed live lines from the database, which has what was missed and the right order. */
  async confirm(): Promise<void> {
    if (this.#reading || this.isStopping) return;
    const asked = this.#unconfirmed;
    this.#unconfirmed = NONE;
    this.#confirmedAt = performance.now();
    const fromMs = Math.min(asked.oldestMs, this.#storedMs ?? asked.oldestMs) - OVERLAP_MS;
    try {
      const isWhole = await this.#merge({ since_ms: Number.isFinite(fromMs) ? Math.max(0, fromMs) : 0 });
      if (!isWhole) this.#addUnconfirmed(asked);
    } catch {
      // It is tried again soon.
      this.#addUnconfirmed(asked);
    }
  }

  /** The more live lines there are to confirm, the less often this reads. */
  #confirmInTime(): void {
    const { count } = this.#unconfirmed;
    const patience = Math.min(MOST_PATIENCE_MS, count * 2);
    if (count > 0 && performance.now() - this.#confirmedAt >= patience) void this.confirm();
  }

  #addUnconfirmed(more: Unconfirmed): void {
    const { count, oldestMs } = this.#unconfirmed;
    this.#unconfirmed = { count: count + more.count, oldestMs: Math.min(oldestMs, more.oldestMs) };
  }

  /** Loads lines older than the first one; returns how many more are shown. */
  async loadOlder(): Promise<number> {
    const { store } = this.#options;
    const first = store.state.log.buffer.firstMs;
    if (this.#reading || first === null || !store.state.log.olderThere) return 0;
    this.#update(({ log }) => {
      log.loadingOlder = true;
    });
    try {
      return await this.#mergeOlder(first, CHUNK);
    } finally {
      this.#update(({ log }) => {
        log.loadingOlder = false;
      });
    }
  }

  /** Reads lines up to a time; returns how many more are shown. */
  async #mergeOlder(untilMs: number, limit: number): Promise<number> {
    let added = 0;
    await this.#merge({ until_ms: untilMs }, limit, ({ log }, rows, more) => {
      added = more;
      log.top += added;
      if (log.match !== null) log.match += added;
      log.olderThere = rows >= limit && log.buffer.firstMs !== null && log.buffer.firstMs < untilMs;
    });
    return added;
  }

  /**
   * Looks for a text in the lines that are older than the first one, on the principal, and loads the lines from the newest that has it.
   * @returns the time of that line, ms since the epoch; null when there is none
   * @throws UnprocessableError when it is too far back to be loaded
   */
  async findOlder(text: string): Promise<number | null> {
    const { log } = this.#options.store.state;
    const first = log.buffer.firstMs;
    if (first === null || !log.olderThere) return null;
    const known = log.buffer.matches.filter((index) => log.buffer.shown[index]?.timestamp_ms === first);
    const { task } = log.buffer.filter;
    const page = await this.#ask({
      ...this.#search,
      ...(task === null ? {} : { task }),
      grep: patternOf(text),
      until_ms: first,
      limit: known.length + 1,
    });
    const found = page.rows.length > known.length ? page.rows[0] : undefined;
    if (found === undefined) return null;
    const foundMs = lineOf(found).timestamp_ms;
    while (!this.isStopping && log.olderThere && (log.buffer.firstMs ?? 0) >= foundMs) {
      if (log.buffer.size >= MAX_LINES_PAUSED)
        throw new UnprocessableError(
          `It is at ${dateTime(foundMs)}, too far back to be loaded here; use 'cdktr logs query --grep'.`,
        );
      await this.#mergeOlder(log.buffer.firstMs ?? 0, LARGE_CHUNK);
    }
    return foundMs;
  }

  /**
   * All lines of the history, also those that are not loaded, page by page.
   * @throws UnprocessableError after the last one when the history is incomplete
   */
  async *everyLine(): AsyncGenerator<readonly LogLine[]> {
    let missing: string | null = null;
    for await (const { lines, warning } of searchPages(this.#ask, this.#search)) {
      missing ??= warning;
      yield lines;
    }
    if (missing !== null) throw new UnprocessableError(missing);
  }

  async #run(): Promise<void> {
    // Subscribe before reading: lines published in between come both ways, and none is missed.
    await this.#live.connect(CONNECT_MS);
    if (this.isStopping) return;
    const following = this.#follow();
    while (!this.isStopping) {
      try {
        await this.#merge({}, CHUNK, ({ log }, rows) => {
          log.olderThere = rows >= CHUNK;
          log.status = "live";
        });
        break;
      } catch (error) {
        this.#failed(error);
        await this.pause(RETRY_MS);
      }
    }
    this.#confirming.every(CONFIRM_MS);
    if (this.source.kind === "run") await this.#readWholeRun();
    await following;
  }

  #failed(error: unknown): void {
    this.#update(({ log }) => {
      log.status = "failed";
      log.warning = errorMessage(error);
    });
  }

  /** Takes in live lines, and after each reconnect the lines published in between. */
  async #follow(): Promise<void> {
    const follower = new LogFollower({
      live: this.#live,
      ask: this.#ask,
      search: this.#search,
      limit: 0,
      failed: () => {},
    });
    for await (const lines of follower.lines()) {
      for (const { timestamp_ms: oldestMs } of lines) this.#addUnconfirmed({ count: 1, oldestMs });
      this.#update((state) => appendLines(state, lines));
    }
  }

  async #readWholeRun(): Promise<void> {
    const { store } = this.#options;
    try {
      while (!this.isStopping && store.state.log.olderThere) {
        if (store.state.log.buffer.size >= WHOLE_RUN || (await this.loadOlder()) === 0) return;
      }
    } catch {
      // Scrolling to the top tries again.
    }
  }

  /**
   * Reads lines from the database and merges them into the log.
   * @param limit only the newest lines, this many
   * @param change also changes the state; gets the number of lines found and of additional shown lines
   * @returns whether the history was complete
   */
  async #merge(
    search: SearchLogs,
    limit?: number,
    change: (state: State, found: number, added: number) => void = () => {},
  ): Promise<boolean> {
    this.#reading = true;
    let warning: string | null = null;
    const rows: LogLine[] = [];
    try {
      for await (const page of searchPages(this.#ask, { ...search, ...this.#search }, limit)) {
        rows.push(...page.lines);
        warning ??= page.warning;
      }
    } finally {
      this.#reading = false;
    }
    const newest = rows.at(-1)?.timestamp_ms;
    if (newest !== undefined) this.#storedMs = Math.max(this.#storedMs ?? 0, newest);
    this.#update((state) => {
      state.log.warning = warning;
      change(state, rows.length, state.log.buffer.merge(rows));
    });
    return warning === null;
  }

  readonly #ask = (search: SearchLogs) =>
    this.#options.client.searchLogs(search, { timeoutMs: TIMEOUT_MS, signal: this.stopSignal });

  /** Changes the state, unless the feed has been stopped. */
  #update(change: (state: State) => void): void {
    if (!this.isStopping) this.#options.store.update(change);
  }
}

/** The regular expression (RE2) for a text that is searched as the log buffer does: lower case matches upper case too. */
function patternOf(text: string): string {
  const escaped = text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
  return text === text.toLowerCase() ? `(?i)${escaped}` : escaped;
}

function searchOf(source: LogSource): SearchLogs {
  switch (source.kind) {
    case "all":
      return {};
    case "workflow":
      return { workflow_id: source.workflowId };
    case "run":
      return { workflow_instance_id: source.runId };
  }
}

/** Appends live lines; the view keeps its position when old lines are dropped. */
function appendLines({ log }: State, lines: readonly LogLine[]): void {
  const { dropped } = log.buffer;
  const most = log.follow ? MAX_LINES : MAX_LINES_PAUSED;
  for (const line of lines) log.buffer.append(line, most);
  const gone = log.buffer.dropped - dropped;
  if (gone === 0) return;
  log.top = Math.max(0, log.top - gone);
  log.match = log.match !== null && log.match >= gone ? log.match - gone : null;
  log.olderThere = true;
}
