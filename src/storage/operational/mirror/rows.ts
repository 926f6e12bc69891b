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
  /** For rows of a cdktr that does not know all columns, by those that it does. */
  readonly partial: Map<string, Statement>;
}

/**
 * Writes rows into the tables of a database. It has none of the triggers of the state: what they do is part of the changes.
 * Tables and columns that it does not know are left out; columns that a row lacks stay as they are, as in PostgreSQL.
 */
export class RowWriter {
  readonly #database: Database;
  readonly #writes: ReadonlyMap<string, Write>;
  readonly #raise: Statement;
  readonly #begin: Statement;

  constructor(database: Database) {
    this.#database = database;
    this.#writes = new Map(
      tablesOf(database).map((table) => {
        const name = quoted(table.name);
        const sources = table.columns.map(({ source }) => source).join(", ");
        const values = table.columns.map(() => "?").join(", ");
        const same = table.key.map(({ source }) => `${source} = ?`).join(" AND ");
        const write: Write = {
          table,
          partial: new Map(),
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
    if (write === undefined) return;
    const { columns } = write.table;
    for (const row of rows) {
      const isWhole = columns.every((column) => column.name in row);
      if (isWhole) write.put.run(...valuesOf(columns, row));
      else this.#putPartial(write, row);
    }
  }

  /** Somebody leads whose cdktr does not know all columns. */
  #putPartial({ table, partial }: Write, row: MirrorRow): void {
    const { name, columns, key } = table;
    const there = columns.filter((column) => column.name in row);
    const known = there.map((column) => column.name).join();
    let put = partial.get(known);
    if (put === undefined) {
      const place = (column: MirrorColumn) => `?${there.indexOf(column) + 1}`;
      const values = columns.map((column) =>
        there.includes(column)
          ? place(column)
          : `iif(${key.map(({ source }) => `o.${source} IS NULL`).join(" AND ")}, ${column.default ?? "NULL"}, o.${column.source})`,
      );
      put = this.#database.prepare(
        `INSERT OR REPLACE INTO main.${quoted(name)} (${columns.map(({ source }) => source).join(", ")})
         SELECT ${values.join(", ")} FROM (SELECT 1)
         LEFT JOIN main.${quoted(name)} AS o ON ${key.map((column) => `o.${column.source} = ${place(column)}`).join(" AND ")}`,
      );
      partial.set(known, put);
    }
    put.run(...valuesOf(there, row));
  }

  /** Releases the connection, so that it can be closed. */
  release(): void {
    for (const { put, remove, partial } of this.#writes.values())
      for (const statement of [put, remove, ...partial.values()]) statement.finalize();
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
