/** Status rows on their way from the operational state into the history database. */
import type { Database } from "bun:sqlite";
import type { RunStatusRow, TaskStatusRow } from "./history-rows.ts";

/** A row that the history does not have yet. Ids grow, and are never used twice, not even by a data directory made anew. */
export type PendingStatus =
  | { readonly id: number; readonly table: "workflow_run_status"; readonly row: RunStatusRow }
  | { readonly id: number; readonly table: "task_run_status"; readonly row: TaskStatusRow };

/** What the historian sees of the operational state. */
export interface StatusOutbox {
  /** The oldest rows that are on disk and not deleted, in order. */
  pending(limit: number): PendingStatus[];
  /** Forgets rows up to `id`: they are in the history. */
  deleteUpTo(id: number): void;
}

/** Outbox rows as they are stored. */
interface StoredRow {
  id: number;
  target: PendingStatus["table"];
  row: string;
}

/**
 * The outbox in the sqlite file of the operational state. It shares the connection with a transaction that may be open,
 * so it shows only what was committed before.
 */
export class SqliteStatusOutbox implements StatusOutbox {
  readonly #database: () => Database;
  readonly #delete: (upTo: number) => Promise<void>;
  #committed = 0;
  #deleted = 0;
  #deleting = false;

  /**
   * @param database the connection, which may be opened anew
   * @param remove deletes rows in a transaction
   */
  constructor(database: () => Database, remove: (upTo: number) => Promise<void>) {
    this.#database = database;
    this.#delete = remove;
  }

  /** Called after each commit that may have added rows. */
  committed(): void {
    const row = this.#database()
      .query<{ id: number | null }, []>("SELECT max(id) AS id FROM status_outbox")
      .get();
    this.#committed = row?.id ?? this.#committed;
  }

  pending(limit: number): PendingStatus[] {
    const rows = this.#database()
      .query<StoredRow, [number, number, number]>(
        "SELECT id, target, row FROM status_outbox WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
      )
      .all(this.#deleted, this.#committed, limit);
    return rows.map((stored) => ({ id: stored.id, table: stored.target, row: JSON.parse(stored.row) }));
  }

  deleteUpTo(id: number): void {
    if (id <= this.#deleted) return;
    this.#deleted = id;
    if (!this.#deleting) void this.#remove();
  }

  /** Rows that cannot be deleted now are deleted with the next ones, or after the next start. */
  async #remove(): Promise<void> {
    this.#deleting = true;
    try {
      for (let upTo = -1; upTo !== this.#deleted; ) {
        upTo = this.#deleted;
        await this.#delete(upTo);
      }
    } catch {
      // The disk fails. The history has the rows and knows it: nothing is doubled when they stay a while.
    } finally {
      this.#deleting = false;
    }
  }
}
