/** Fills the log that is shown: history from the database, live lines from the principal's publisher, joined. */

import { type LogLine, lineOf } from "../../contract/log-line.ts";
import type { PrincipalInfo, SearchLogs } from "../../contract/messages.ts";
import { errorMessage } from "../../errors.ts";
import type { PrincipalClient } from "../../protocol/client.ts";
import { LogSubscription } from "../../protocol/log-subscription.ts";
import type { Service } from "../../service.ts";
import { type LogSource, newLogView } from "../logs/log-view.ts";
import type { State } from "../state.ts";
import type { Store } from "../store.ts";

/** Lines that are read at first, and each time older ones are wanted. */
const CHUNK = 5000;
/** Lines of a run that are read without being asked for. */
const WHOLE_RUN = 100_000;
const CONNECT_MS = 1500;
/** Time between looks into the database while there are lines it has not confirmed, ms. */
const CONFIRM_MS = 4000;
const MOST_PATIENCE_MS = 30_000;
const TIMEOUT_MS = 20_000;

export interface LogFeedOptions {
  readonly client: PrincipalClient;
  readonly store: Store;
  readonly info: PrincipalInfo;
  readonly source: LogSource;
}

/** Feeds one log; for another one, make another feed. */
export class LogFeed implements Service {
  readonly name = "log feed";
  readonly source: LogSource;
  readonly #options: LogFeedOptions;
  readonly #end = new AbortController();
  readonly #live: LogSubscription;
  #confirming: Timer | undefined;
  #running: Promise<unknown> = Promise.resolve();
  #reading = false;
  #confirmedAt = 0;

  constructor(options: LogFeedOptions) {
    this.#options = options;
    this.source = options.source;
    const { source } = options;
    this.#live = new LogSubscription({
      client: options.client,
      port: options.info.logs_publishing_port,
      workflowId: source.kind === "all" ? undefined : source.workflowId,
      // The feed of the principal says what is wrong with the key; here the database has the lines.
      persistent: true,
    });
  }

  async start(): Promise<void> {
    const { store, source } = this.#options;
    store.update((state) => {
      const { wrap, timestamps } = state.log;
      // Filters that were set for this very log stay.
      if (state.log.status !== "idle" || JSON.stringify(state.log.source) !== JSON.stringify(source)) {
        state.log = { ...newLogView(source), wrap, timestamps };
      }
      state.log.status = "loading";
    });
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#end.abort(new Error("stopped"));
    clearInterval(this.#confirming);
    this.#live.close();
    await this.#running;
  }

  /** Looks what the database has: after a gap in the live lines, or when a run has ended. */
  async confirm(): Promise<void> {
    if (this.#reading || this.#end.signal.aborted) return;
    this.#reading = true;
    this.#confirmedAt = performance.now();
    try {
      const { buffer } = this.#options.store.state.log;
      const from = buffer.confirmFromMs;
      const rows: LogLine[] = [];
      for await (const lines of this.#pages({ since_ms: from })) rows.push(...lines);
      this.#update((state) => state.log.buffer.reconcile(rows, from));
    } catch {
      // The next look comes soon.
    } finally {
      this.#reading = false;
    }
  }

  /** Many live lines are many to read again: that is done less often. */
  #confirmInTime(): void {
    const { liveCount } = this.#options.store.state.log.buffer;
    const patience = Math.min(MOST_PATIENCE_MS, liveCount * 2);
    if (liveCount > 0 && performance.now() - this.#confirmedAt >= patience) void this.confirm();
  }

  /** Reads lines before the first one. */
  async loadOlder(): Promise<number> {
    const { store } = this.#options;
    const first = store.state.log.buffer.firstMs;
    if (this.#reading || first === null || !store.state.log.olderThere) return 0;
    this.#reading = true;
    this.#update(({ log }) => {
      log.loadingOlder = true;
    });
    let added = 0;
    try {
      const rows: LogLine[] = [];
      for await (const lines of this.#pages({ until_ms: first, limit: CHUNK })) rows.push(...lines);
      this.#update(({ log }) => {
        added = log.buffer.prepend(rows);
        log.top += added;
        if (log.match !== null) log.match += added;
        log.olderThere = rows.length >= CHUNK && added > 0;
      });
    } finally {
      this.#reading = false;
      this.#update(({ log }) => {
        log.loadingOlder = false;
      });
    }
    return added;
  }

  async #run(): Promise<void> {
    const { signal } = this.#end;
    // Subscribed first, read then: what is published in between is in both.
    await this.#live.connect(CONNECT_MS);
    if (signal.aborted) return;
    const following = this.#follow(this.#live.connection);
    while (!signal.aborted) {
      try {
        await this.#readHistory();
        break;
      } catch (error) {
        if (signal.aborted) break;
        this.#update(({ log }) => {
          log.status = "failed";
          log.warning = errorMessage(error);
        });
        await Bun.sleep(2000);
      }
    }
    if (!signal.aborted) {
      this.#confirming = setInterval(() => this.#confirmInTime(), CONFIRM_MS);
      if (this.source.kind === "run") await this.#readWholeRun();
    }
    await following;
  }

  /** Takes lines as they come; after each new connection, also what was published before it. */
  async #follow(connection: number): Promise<void> {
    for await (const batch of this.#live.batches()) {
      this.#take(batch.lines);
      if (batch.connection === connection) continue;
      connection = batch.connection;
      void this.confirm();
    }
  }

  #take(lines: readonly LogLine[]): void {
    const { source } = this;
    const wanted =
      source.kind === "run" ? lines.filter((line) => line.workflow_instance_id === source.runId) : lines;
    if (wanted.length > 0) this.#update((state) => appendLines(state, wanted));
  }

  async #readHistory(): Promise<void> {
    const rows: LogLine[] = [];
    for await (const lines of this.#pages({ limit: CHUNK })) rows.push(...lines);
    this.#update(({ log }) => {
      log.buffer.reconcile(rows, 0);
      log.olderThere = rows.length >= CHUNK;
      log.status = "live";
    });
  }

  async #readWholeRun(): Promise<void> {
    const { store } = this.#options;
    try {
      while (!this.#end.signal.aborted && store.state.log.olderThere) {
        if (store.state.log.buffer.size >= WHOLE_RUN || (await this.loadOlder()) === 0) return;
      }
    } catch {
      // What is there is shown; scrolling to the top tries again.
    }
  }

  /** The lines that a search finds, page by page. */
  async *#pages(search: SearchLogs): AsyncGenerator<LogLine[]> {
    const { client } = this.#options;
    let left = search.limit;
    let after: number | undefined;
    do {
      const page = await client.searchLogs(
        {
          ...search,
          ...this.#filter(),
          ...(left === undefined ? {} : { limit: left }),
          ...(after === undefined ? {} : { after }),
        },
        { timeoutMs: TIMEOUT_MS, signal: this.#end.signal },
      );
      const lines = page.rows.map(lineOf);
      this.#update(({ log }) => {
        log.warning = page.warning;
      });
      if (left !== undefined) left -= lines.length;
      yield lines;
      after = page.next ?? undefined;
    } while (after !== undefined && (left === undefined || left > 0));
  }

  #filter(): SearchLogs {
    const { source } = this;
    switch (source.kind) {
      case "all":
        return {};
      case "workflow":
        return { workflow_id: source.workflowId };
      case "run":
        return { workflow_instance_id: source.runId };
    }
  }

  /** Changes the state unless another log has taken its place. */
  #update(change: (state: State) => void): void {
    if (!this.#end.signal.aborted) this.#options.store.update(change);
  }
}

/** Takes live lines in; the view stays where it is when old lines go. */
function appendLines({ log }: State, lines: readonly LogLine[]): void {
  const { dropped } = log.buffer;
  for (const line of lines) log.buffer.append(line);
  const gone = log.buffer.dropped - dropped;
  if (gone === 0) return;
  log.top = Math.max(0, log.top - gone);
  log.match = log.match !== null && log.match >= gone ? log.match - gone : null;
  log.olderThere = true;
}
