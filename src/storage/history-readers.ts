/** Connections that read, apart from the one that writes: a long query does not hold up the rows that come in. */
import type { DuckDBConnection, DuckDBInstance } from "@duckdb/node-api";
import { UnprocessableError } from "../errors.ts";
import { HistoryUnavailableError } from "./history-error.ts";

/** Queries that run at once; further ones wait their turn. */
const MAX_READERS = 4;
/** Pause between interrupts of what does not stop, ms. */
const INTERRUPT_INTERVAL_MS = 20;

/** The connections that read. */
export class HistoryReaders {
  readonly #instance: DuckDBInstance;
  readonly #idle: DuckDBConnection[] = [];
  readonly #busy = new Set<DuckDBConnection>();
  readonly #waiting: (() => void)[] = [];
  /** Slots taken: busy connections and those being made. */
  #taken = 0;
  #closed = false;
  #drained: (() => void) | undefined;

  constructor(instance: DuckDBInstance) {
    this.#instance = instance;
  }

  /**
   * Lends a connection to `work`, inside a read-only transaction, which sees one state of the database.
   * @param timeoutMs after so long what runs is interrupted
   * @throws UnprocessableError when the time is up; HistoryUnavailableError when the database is being closed; what `work` throws
   */
  async read<T>(timeoutMs: number, work: (connection: DuckDBConnection) => Promise<T>): Promise<T> {
    return this.lend(timeoutMs, async (connection) => {
      await connection.run("BEGIN TRANSACTION READ ONLY");
      try {
        return await work(connection);
      } finally {
        await connection.run("ROLLBACK").catch(() => {});
      }
    });
  }

  /** Like {@link read}, without a transaction. */
  async lend<T>(timeoutMs: number, work: (connection: DuckDBConnection) => Promise<T>): Promise<T> {
    const deadline = performance.now() + timeoutMs;
    const connection = await this.#acquire();
    let expired = false;
    let interrupting: NodeJS.Timeout | undefined;
    const timer = setTimeout(
      () => {
        expired = true;
        interrupting = interruptUntilStopped([connection]);
      },
      Math.max(0, deadline - performance.now()),
    );
    try {
      const result = await work(connection);
      this.#release(connection, !expired);
      return result;
    } catch (error) {
      this.#release(connection, false);
      if (expired) {
        throw new UnprocessableError(`The query was stopped: it ran for more than ${timeoutMs / 1000} s.`, {
          cause: error,
          hint: "Narrow it, or open a copy made with 'cdktr db backup' in another DuckDB client.",
        });
      }
      if (this.#closed) throw closing(error);
      throw error;
    } finally {
      clearTimeout(timer);
      clearInterval(interrupting);
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
      clearInterval(interrupting);
    }
    for (const connection of this.#idle.splice(0)) connection.disconnectSync();
  }

  async #acquire(): Promise<DuckDBConnection> {
    while (!this.#closed && this.#taken >= MAX_READERS) {
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
function interruptUntilStopped(connections: Iterable<DuckDBConnection>): NodeJS.Timeout {
  const interrupt = () => {
    for (const connection of connections) connection.interrupt();
  };
  interrupt();
  return setInterval(interrupt, INTERRUPT_INTERVAL_MS);
}

function closing(cause?: unknown): HistoryUnavailableError {
  return new HistoryUnavailableError("The history database is being closed.", { cause });
}
