/** The size of a lake: that of the files which its tables have now. */
import type { DuckDBConnection } from "@duckdb/node-api";
import { quoteText } from "../database/duckdb.ts";
import type { Connects } from "../database/readers.ts";

/** How old the size may be that is told, ms. */
const AGE_MS = 300_000;

/** Knows the size without anybody waiting for it: whoever asks is told the last one, and a new one is looked up when that is old. */
export class LakeSize {
  readonly #database: Connects;
  readonly #name: string;
  #bytes = 0;
  #measuredAt = Number.NEGATIVE_INFINITY;
  #measuring: Promise<void> | undefined;

  /** @param name of the lake in its instance */
  constructor(database: Connects, name: string) {
    this.#database = database;
    this.#name = name;
  }

  /** Bytes; 0 until it is known. */
  get bytes(): number {
    this.lookUp();
    return this.#bytes;
  }

  /** Looks it up, if what is known is old. */
  lookUp(): void {
    if (this.#measuring !== undefined || performance.now() - this.#measuredAt < AGE_MS) return;
    this.#measuredAt = performance.now();
    this.#measuring = this.#measure().finally(() => {
      this.#measuring = undefined;
    });
  }

  /** Resolves when nothing is being looked up. */
  async settled(): Promise<void> {
    await this.#measuring;
  }

  async #measure(): Promise<void> {
    let connection: DuckDBConnection | undefined;
    try {
      connection = await this.#database.connect();
      const reader = await connection.runAndReadAll(
        `SELECT coalesce(sum(file_size_bytes + delete_file_size_bytes), 0)::DOUBLE FROM ducklake_table_info(${quoteText(this.#name)})`,
      );
      this.#bytes = Number(reader.value(0, 0));
    } catch {
      // The catalog cannot be reached: the last size is told.
    } finally {
      connection?.disconnectSync();
    }
  }
}
