/** The connection to the primary of PostgreSQL, which is made again whenever it is lost. */
import type { SQL } from "bun";
import { type Clock, systemClock } from "../../clock.ts";
import { CdktrError, errorMessage } from "../../errors.ts";
import { BackgroundService } from "../../service.ts";
import { BackOff, isDoneWithin } from "../../timer.ts";
import { isLasting, PostgresUnavailableError } from "./errors.ts";
import { openSql, PostgresSession, type QueryOptions } from "./session.ts";
import type { StoreAddress, StoreHost } from "./url.ts";

/** After how long the server gives a statement up, ms. */
const STATEMENT_MS = 30_000;
/** How long a primary that was found first waits for other hosts to say that they are a newer one, ms. */
const NEWER_MS = 250;
/** Between two rounds over the hosts, ms. */
const RETRY_MS = { first: 50, last: 1000 };

/** What a connection tells. */
interface ConnectionSignals {
  /** It is connected to this host, after it was not. */
  up: StoreHost;
  /** It is lost; why. */
  down: string;
  /** None of the hosts could be connected to; the next round follows. */
  failed: CdktrError;
}

/** Options of a {@link PostgresConnection}. */
interface ConnectionOptions {
  /** What the server shows in `pg_stat_activity`. */
  readonly application: string;
  readonly clock?: Clock;
}

interface Listener {
  readonly channel: string;
  readonly heard: (payload: string | null) => void;
}

/**
 * Keeps a session with the one primary among the hosts. Started, it tries until it is stopped: {@link connected} waits for it.
 */
export class PostgresConnection extends BackgroundService<ConnectionSignals> {
  readonly name = "connection to PostgreSQL";
  readonly address: StoreAddress;
  readonly #application: string;
  readonly #backOff = new BackOff(RETRY_MS.first, RETRY_MS.last);
  readonly #listeners = new Set<Listener>();
  #session: PostgresSession | undefined;
  #listening: SQL | undefined;
  #upSince = 0;
  /** The newest that was seen: a server that was a primary before is none that may be written to. */
  #timeline = "";
  #failure: CdktrError = new PostgresUnavailableError("PostgreSQL has not been connected to yet.");

  constructor(address: StoreAddress, { application, clock = systemClock }: ConnectionOptions) {
    super(clock);
    this.address = address;
    this.#application = application;
  }

  protected onStart(): void {
    this.track(this.#keep());
  }

  protected override async onStop(): Promise<void> {
    await this.#session?.close();
    await this.#listenNoMore();
  }

  /** Whether there is a session. */
  get isUp(): boolean {
    return this.#session?.isOpen === true;
  }

  /** How long it has been up, ms; 0 while it is not. */
  get upForMs(): number {
    return this.isUp ? this.clock.monotonic() - this.#upSince : 0;
  }

  /** The host of the primary, while it is connected. */
  get host(): StoreHost | undefined {
    return this.isUp ? this.#session?.host : undefined;
  }

  /** Why there is no connection. */
  get failure(): CdktrError {
    return this.#failure;
  }

  /**
   * Resolves when there is a connection.
   * @throws CdktrError why there is none after `timeoutMs`: the {@link failure} of the last round; at once, when waiting does not help
   */
  async connected(timeoutMs: number): Promise<void> {
    if (this.isUp) return;
    const { promise: refused, resolve: refuse } = Promise.withResolvers<void>();
    const end = this.signals.on("failed", (why) => {
      if (isLasting(why)) refuse();
    });
    const decided = Promise.race([this.signals.next("up"), refused]);
    try {
      await isDoneWithin(timeoutMs, decided, this.clock);
    } finally {
      end();
    }
    if (!this.isUp) throw this.#failure;
  }

  /**
   * Executes a statement: {@link PostgresSession.query}.
   * @throws PostgresUnavailableError at once when there is no connection
   */
  async query<T = Record<string, unknown>>(
    text: string,
    values: readonly unknown[] = [],
    options: QueryOptions = {},
  ): Promise<T[]> {
    const session = this.#session;
    if (session?.isOpen !== true)
      throw new PostgresUnavailableError(this.#failure.message, {
        cause: this.#failure,
        ...(this.#failure.hint !== undefined && { hint: this.#failure.hint }),
      });
    return session.query<T>(text, values, options);
  }

  /**
   * A session of the caller's own with the same server, for transactions; who opened it closes it.
   * @param statementTimeoutMs after how long the server gives a statement up, ms
   */
  async session(statementTimeoutMs = STATEMENT_MS): Promise<PostgresSession> {
    const { host } = this;
    if (host === undefined)
      throw new PostgresUnavailableError(this.#failure.message, { cause: this.#failure });
    return PostgresSession.open(this.address, host, this.#sessionOptions(statementTimeoutMs));
  }

  /**
   * Calls `heard` with each notification of a channel, and with null whenever some may have been missed: when it begins to listen, and
   * after each loss of the connection. Returns a function that ends it.
   */
  listen(channel: string, heard: (payload: string | null) => void): () => void {
    const listener: Listener = { channel, heard };
    this.#listeners.add(listener);
    const { host } = this;
    if (host !== undefined) this.#listenTo(host, listener);
    return () => this.#listeners.delete(listener);
  }

  async #keep(): Promise<void> {
    while (!this.isStopping) {
      const session = await this.#connect();
      if (session === undefined) {
        this.signals.emit("failed", this.#failure);
        // Members that lost the same server do not come back in the same instant.
        await this.pause(this.#backOff.next() * (0.5 + Math.random()));
        continue;
      }
      if (this.isStopping) return await session.close();
      this.#backOff.reset();
      this.#session = session;
      this.#upSince = this.clock.monotonic();
      for (const listener of this.#listeners) this.#listenTo(session.host, listener);
      this.signals.emit("up", session.host);
      const reason = await session.closed;
      this.#failure = new PostgresUnavailableError(reason);
      this.#session = undefined;
      await this.#listenNoMore();
      this.signals.emit("down", reason);
    }
  }

  /** One round over all hosts at once. @returns a session with the newest primary, or undefined when there is none */
  async #connect(): Promise<PostgresSession | undefined> {
    const failures: CdktrError[] = [];
    const found: PostgresSession[] = [];
    const first = Promise.withResolvers<void>();
    let isDecided = false;
    const tries = this.address.hosts.map(async (host) => {
      try {
        const session = await PostgresSession.open(this.address, host, this.#sessionOptions(STATEMENT_MS));
        if (isDecided || session.timeline < this.#timeline) {
          if (!isDecided)
            failures.push(
              new CdktrError(
                `PostgreSQL at ${host.host}:${host.port}: another one has been promoted since it was the primary.`,
              ),
            );
          await session.close();
          return;
        }
        found.push(session);
        first.resolve();
      } catch (error) {
        failures.push(
          error instanceof CdktrError ? error : new CdktrError(errorMessage(error), { cause: error }),
        );
      }
    });
    const all = Promise.all(tries);
    await Promise.race([first.promise, all]);
    if (found.length > 0) await isDoneWithin(NEWER_MS, all, this.clock);
    isDecided = true;
    const [newest, ...others] = found.sort((a, b) => (a.timeline < b.timeline ? 1 : -1));
    for (const session of others) void session.close();
    if (newest === undefined) this.#failure = together(failures);
    else this.#timeline = newest.timeline;
    return newest;
  }

  #sessionOptions(statementTimeoutMs: number) {
    return { application: this.#application, statementTimeoutMs, clock: this.clock };
  }

  #listenTo(host: StoreHost, listener: Listener): void {
    this.#listening ??= openSql(this.address, host, `${this.#application} (listening)`);
    const listening = this.#listening;
    const hear = (payload: string | null) => {
      if (this.#listeners.has(listener)) listener.heard(payload);
    };
    // Once it listens, it connects again by itself until it is closed, which it is when the session is lost.
    listening
      .listen(listener.channel, hear, () => hear(null))
      .catch(async () => {
        await this.pause(RETRY_MS.last);
        if (listening === this.#listening) this.#listenTo(host, listener);
      });
  }

  async #listenNoMore(): Promise<void> {
    const listening = this.#listening;
    this.#listening = undefined;
    await listening?.close({ timeout: 0 }).catch(() => {});
  }
}

/** What is said when no host could be used. */
function together(failures: readonly CdktrError[]): CdktrError {
  const [first, ...others] = failures;
  if (first === undefined) return new PostgresUnavailableError("PostgreSQL has no host.");
  const hint = failures.find((failure) => failure.hint !== undefined)?.hint;
  return new PostgresUnavailableError(
    others.length === 0 ? first.message : failures.map(({ message }) => message).join(" "),
    { cause: first, ...(hint !== undefined && { hint }) },
  );
}
