/** Rows on their way from JSON, as change sets and PostgreSQL have them, into SQLite. */
import type { Database, SQLQueryBindings, Statement } from "bun:sqlite";
import { type ChangeSet, partOf } from "./change-set.ts";
import { type MirrorColumn, type MirrorTable, quoted, SEQUENCES, tablesOf } from "./tables.ts";

/** A row, or its key. */
export type MirrorRow = Readonly<Record<string, string | number | null>>;

interface Write {
  readonly put: Statement;
  readonly remove: Statement;
  readonly table: MirrorTable;
}

/**
 * Writes rows into the tables of a database. It has none of the triggers of the state: what they do is part of the changes.
 * Tables and columns that it does not know are left out.
 */
export class RowWriter {
  readonly #writes: ReadonlyMap<string, Write>;
  readonly #raise: Statement;
  readonly #begin: Statement;

  constructor(database: Database) {
    this.#writes = new Map(
      tablesOf(database).map((table) => {
        const name = quoted(table.name);
        const sources = table.columns.map(({ source }) => source).join(", ");
        const values = table.columns.map(() => "?").join(", ");
        const same = table.key.map(({ source }) => `${source} = ?`).join(" AND ");
        const write: Write = {
          table,
          // Rows that must be unique may change their order: what is replaced here is written again.
          put: database.prepare(`INSERT OR REPLACE INTO main.${name} (${sources}) VALUES (${values})`),
          remove: database.prepare(`DELETE FROM main.${name} WHERE ${same}`),
        };
        return [table.name, write];
      }),
    );
    this.#raise = database.prepare("UPDATE main.sqlite_sequence SET seq = ? WHERE name = ?");
    this.#begin = database.prepare("INSERT INTO main.sqlite_sequence (seq, name) VALUES (?, ?)");
  }

  /** Applies what a commit has changed, in the open transaction. @param changes the text of a {@link ChangeSet} */
  apply(changes: ChangeSet["text"]): void {
    const parts = Object.entries(JSON.parse(changes) as Record<string, MirrorRow[]>).map(([name, rows]) => ({
      ...partOf(name),
      rows,
    }));
    // What is gone first: its place may be taken by what is there.
    for (const { table, isThere, rows } of parts) if (!isThere) this.#remove(table, rows);
    for (const { table, isThere, rows } of parts) if (isThere) this.put(table, rows);
    // Again: the rows themselves have raised them.
    this.put(SEQUENCES.name, parts.find(({ table }) => table === SEQUENCES.name)?.rows ?? []);
  }

  /** Inserts rows, or replaces those of the same key. */
  put(name: string, rows: readonly MirrorRow[]): void {
    if (name === SEQUENCES.name) this.#sequences(rows);
    const write = this.#writes.get(name);
    for (const row of rows) write?.put.run(...valuesOf(write.table.columns, row));
  }

  /** Releases the connection, so that it can be closed. */
  release(): void {
    for (const { put, remove } of this.#writes.values()) {
      put.finalize();
      remove.finalize();
    }
    this.#raise.finalize();
    this.#begin.finalize();
  }

  #remove(name: string, keys: readonly MirrorRow[]): void {
    const write = this.#writes.get(name);
    for (const key of keys) write?.remove.run(...valuesOf(write.table.key, key));
  }

  #sequences(rows: readonly MirrorRow[]): void {
    for (const { seq = null, name = null } of rows) {
      if (this.#raise.run(seq, name).changes === 0) this.#begin.run(seq, name);
    }
  }
}

function valuesOf(columns: readonly MirrorColumn[], row: MirrorRow): SQLQueryBindings[] {
  return columns.map(({ name, type }) => {
    const value = row[name] ?? null;
    return type === "BYTEA" && typeof value === "string" ? Buffer.from(value.slice(2), "hex") : value;
  });
}
