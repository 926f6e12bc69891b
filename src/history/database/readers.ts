/** Read connections, separate from the one that writes: a long query does not hold up incoming rows. */

import type { DuckDBConnection } from "@duckdb/node-api";
import { HistoryUnavailableError } from "../../contract/history.ts";
import { UnprocessableError } from "../../errors.ts";
import { residentMemory } from "../../host/resident-memory.ts";
import { Timer } from "../../timer.ts";

/** Maximum number of queries waiting for a connection; more are rejected. */
const MAX_WAITING = 500;
/** Interval between interrupts of a query that does not stop, ms. */
const INTERRUPT_INTERVAL_MS = 20;

/** What connections are made to: a DuckDB instance, or what makes them otherwise. */
export interface Connects {
  connect(): Promise<DuckDBConnection>;
}

/** A pool of read connections. */
export class HistoryReaders {
  readonly #database: Connects;
  readonly #most: number;
  readonly #idle: DuckDBConnection[] = [];
  readonly #busy = new Set<DuckDBConnection>();
  readonly #waitMs: number;
  readonly #waiting: (() => void)[] = [];
  /** Slots in use: busy connections and those being opened. */
  #taken = 0;
  readonly #stops = new Set<(why: string) => void>();
  /** The works that run now. */
  readonly #running = new Set<Promise<unknown>>();
  #closed = false;
  #drained: (() => void) | undefined;

  /**
   * @param most maximum number of concurrent queries; further ones wait their turn
   * @param waitMs how long they wait
   */
  constructor(database: Connects, most: number, waitMs: number) {
    this.#database = database;
    this.#most = most;
    this.#waitMs = waitMs;
  }

  /**
   * Lends a connection to `work`, in a read-only transaction, which sees a single state of the database.
   * @param timeoutMs the query is interrupted after this time; waiting counts
   * @param maxGrowthBytes the query is interrupted when the process grows by more than this
   * @param signal the query is interrupted when it aborts
   * @throws UnprocessableError on timeout, too much memory, or when its turn does not come; HistoryUnavailableError when the database is
   *   being closed; errors of `work`
   */
  async read<T>(
    timeoutMs: number,
    work: (connection: DuckDBConnection) => Promise<T>,
    maxGrowthBytes?: number,
    signal?: AbortSignal,
  ): Promise<T> {
    const reading = async (connection: DuckDBConnection) => {
      await connection.run("BEGIN TRANSACTION READ ONLY");
      try {
        return await work(connection);
      } finally {
        await connection.run("ROLLBACK").catch(() => {});
      }
    };
    return this.lend(timeoutMs, reading, maxGrowthBytes, signal);
  }

  /** Like {@link read}, without a transaction. */
  async lend<T>(
    timeoutMs: number,
    work: (connection: DuckDBConnection) => Promise<T>,
    maxGrowthBytes?: number,
    signal?: AbortSignal,
  ): Promise<T> {
    const deadline = performance.now() + timeoutMs;
    const connection = await this.#acquire(Math.min(timeoutMs, this.#waitMs), signal);
    let stopped: string | undefined;
    let interrupting: Timer | undefined;
    const stop = (why: string) => {
      stopped ??= why;
      interrupting ??= interruptUntilStopped([connection]);
    };
    const abort = () => stop("it was given up");
    this.#stops.add(stop);
    signal?.addEventListener("abort", abort, { once: true });
    if (signal?.aborted) abort();
    const limit = new Timer(() => stop(`it ran for more than ${timeoutMs / 1000} s`));
    limit.in(Math.max(0, deadline - performance.now()));
    const watching =
      maxGrowthBytes === undefined
        ? undefined
        : onGrowth(maxGrowthBytes, () => stop(`it took more than ${maxGrowthBytes / MIB} MiB of memory`));
    const running = Promise.resolve().then(() => work(connection));
    this.#running.add(running);
    try {
      const result = await running;
      this.#release(connection, stopped === undefined);
      return result;
    } catch (error) {
      this.#release(connection, false);
      if (stopped !== undefined) {
        throw new UnprocessableError(`The query was stopped: ${stopped}.`, {
          cause: error,
          hint: "Narrow it, or open a copy made with 'cdktr db backup' in another DuckDB client.",
        });
      }
      if (this.#closed) throw closing(error);
      throw error;
    } finally {
      this.#running.delete(running);
      signal?.removeEventListener("abort", abort);
      this.#stops.delete(stop);
      limit.cancel();
      watching?.cancel();
      interrupting?.cancel();
    }
  }

  /** Resolves when all that run now have ended. */
  async ended(): Promise<void> {
    await Promise.allSettled(this.#running);
  }

  /** Ends running queries: their callers are told why. */
  stopAll(why: string): void {
    for (const stop of [...this.#stops]) stop(why);
  }

  /** Interrupts running queries, waits until they have ended and closes every connection. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const wake of this.#waiting.splice(0)) wake();
    if (this.#taken > 0) {
      const interrupting = interruptUntilStopped(this.#busy);
      await new Promise<void>((resolve) => {
        this.#drained = resolve;
      });
      interrupting.cancel();
    }
    for (const connection of this.#idle.splice(0)) connection.disconnectSync();
  }

  async #acquire(waitMs: number, signal?: AbortSignal): Promise<DuckDBConnection> {
    if (this.#waiting.length >= MAX_WAITING)
      throw new UnprocessableError("Too many queries of the history wait; try again later.");
    const deadline = performance.now() + waitMs;
    while (!this.#closed && this.#taken >= this.#most) await this.#turn(deadline, waitMs, signal);
    signal?.throwIfAborted();
    if (this.#closed) throw closing();
    this.#taken++;
    try {
      const connection = this.#idle.pop() ?? (await this.#database.connect());
      this.#busy.add(connection);
      // Closing began while the connection was being opened: it would not be interrupted.
      if (this.#closed) {
        this.#busy.delete(connection);
        connection.disconnectSync();
        throw closing();
      }
      return connection;
    } catch (error) {
      this.#vacate();
      throw error;
    }
  }

  /** Resolves when a slot may be free. */
  #turn(deadline: number, waitMs: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const wake = () => {
        late.cancel();
        signal?.removeEventListener("abort", giveUp);
        resolve();
      };
      const giveUp = () => {
        late.cancel();
        this.#waiting.splice(this.#waiting.indexOf(wake), 1);
        reject(signal?.reason);
      };
      signal?.addEventListener("abort", giveUp, { once: true });
      const late = new Timer(() => {
        this.#waiting.splice(this.#waiting.indexOf(wake), 1);
        signal?.removeEventListener("abort", giveUp);
        reject(
          new UnprocessableError(
            `The history is busy: ${this.#most === 1 ? "another request" : `${this.#most} other requests`} took longer than ${waitMs / 1000} s.`,
            { hint: "Try again later." },
          ),
        );
      });
      this.#waiting.push(wake);
      late.in(Math.max(0, deadline - performance.now()));
    });
  }

  #release(connection: DuckDBConnection, reusable: boolean): void {
    this.#busy.delete(connection);
    if (reusable && !this.#closed) this.#idle.push(connection);
    else connection.disconnectSync();
    this.#vacate();
  }

  #vacate(): void {
    this.#taken--;
    this.#waiting.shift()?.();
    if (this.#taken === 0) this.#drained?.();
  }
}

/** Interrupts repeatedly: an interrupt between two statements of a connection has no effect. */
function interruptUntilStopped(connections: Iterable<DuckDBConnection>): Timer {
  const interrupt = () => {
    for (const connection of connections) connection.interrupt();
  };
  interrupt();
  return periodically(INTERRUPT_INTERVAL_MS, interrupt);
}

const MIB = 1024 * 1024;
/** How often to check the memory during a query that may use a lot, ms. */
const GROWTH_INTERVAL_MS = 20;

/**
 * Checks whether this process has grown by this much since now. DuckDB's own limit covers its buffers, but not the texts and lists
 * that an expression creates.
 */
function onGrowth(bytes: number, grown: () => void): Timer {
  const before = residentMemory();
  return periodically(GROWTH_INTERVAL_MS, () => {
    const now = residentMemory();
    if (before !== undefined && now !== undefined && now - before > bytes) grown();
  });
}

function periodically(ms: number, ring: () => void): Timer {
  const timer = new Timer(ring);
  timer.every(ms);
  return timer;
}

function closing(cause?: unknown): HistoryUnavailableError {
  return new HistoryUnavailableError("The history database is being closed.", { cause });
}
