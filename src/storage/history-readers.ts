/** Connections that read, apart from the one that writes: a long query does not hold up the rows that come in. */

import type { DuckDBConnection, DuckDBInstance } from "@duckdb/node-api";
import { UnprocessableError } from "../errors.ts";
import { residentMemory } from "../host/resident-memory.ts";
import { Timer } from "../timer.ts";
import { HistoryUnavailableError } from "./history-error.ts";

/** Queries that wait for a connection; more are sent away. */
const MAX_WAITING = 500;
/** Pause between interrupts of what does not stop, ms. */
const INTERRUPT_INTERVAL_MS = 20;

/** The connections that read. */
export class HistoryReaders {
  readonly #instance: DuckDBInstance;
  readonly #most: number;
  readonly #idle: DuckDBConnection[] = [];
  readonly #busy = new Set<DuckDBConnection>();
  readonly #waiting: (() => void)[] = [];
  /** Slots taken: busy connections and those being made. */
  #taken = 0;
  #closed = false;
  #drained: (() => void) | undefined;

  /** @param most queries that run at once; further ones wait their turn */
  constructor(instance: DuckDBInstance, most: number) {
    this.#instance = instance;
    this.#most = most;
  }

  /**
   * Lends a connection to `work`, inside a read-only transaction, which sees one state of the database.
   * @param timeoutMs after so long what runs is interrupted
   * @param maxGrowthBytes memory by which the process may grow meanwhile, before it is interrupted too
   * @throws UnprocessableError when the time is up, or memory, or too many wait; HistoryUnavailableError when the database is
   *   being closed; what `work` throws
   */
  async read<T>(
    timeoutMs: number,
    work: (connection: DuckDBConnection) => Promise<T>,
    maxGrowthBytes?: number,
  ): Promise<T> {
    const reading = async (connection: DuckDBConnection) => {
      await connection.run("BEGIN TRANSACTION READ ONLY");
      try {
        return await work(connection);
      } finally {
        await connection.run("ROLLBACK").catch(() => {});
      }
    };
    return this.lend(timeoutMs, reading, maxGrowthBytes);
  }

  /** Like {@link read}, without a transaction. */
  async lend<T>(
    timeoutMs: number,
    work: (connection: DuckDBConnection) => Promise<T>,
    maxGrowthBytes?: number,
  ): Promise<T> {
    const deadline = performance.now() + timeoutMs;
    const connection = await this.#acquire();
    let stopped: string | undefined;
    let interrupting: Timer | undefined;
    const stop = (why: string) => {
      stopped ??= why;
      interrupting ??= interruptUntilStopped([connection]);
    };
    const limit = new Timer(() => stop(`it ran for more than ${timeoutMs / 1000} s`));
    limit.in(Math.max(0, deadline - performance.now()));
    const watching =
      maxGrowthBytes === undefined
        ? undefined
        : onGrowth(maxGrowthBytes, () => stop(`it took more than ${maxGrowthBytes / MIB} MiB of memory`));
    try {
      const result = await work(connection);
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
      limit.cancel();
      watching?.cancel();
      interrupting?.cancel();
    }
  }

  /** Interrupts what runs, waits until it has ended and closes every connection. */
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

  async #acquire(): Promise<DuckDBConnection> {
    if (this.#waiting.length >= MAX_WAITING)
      throw new UnprocessableError("Too many queries of the history wait; try again later.");
    while (!this.#closed && this.#taken >= this.#most) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    if (this.#closed) throw closing();
    this.#taken++;
    try {
      const connection = this.#idle.pop() ?? (await this.#instance.connect());
      this.#busy.add(connection);
      // Closing has begun while the connection was made: it would not be interrupted.
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

/** Interrupts again and again: one that comes between two statements of a connection has no effect. */
function interruptUntilStopped(connections: Iterable<DuckDBConnection>): Timer {
  const interrupt = () => {
    for (const connection of connections) connection.interrupt();
  };
  interrupt();
  return periodically(INTERRUPT_INTERVAL_MS, interrupt);
}

const MIB = 1024 * 1024;
/** How often memory is looked at while a query runs that may take much, ms. */
const GROWTH_INTERVAL_MS = 20;

/**
 * Looks whether this process has grown by so much since now. DuckDB's own limit counts what it keeps in its buffers, not the
 * texts and lists that an expression makes.
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
