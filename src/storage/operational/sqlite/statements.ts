/** Runs the statements of this folder. Its files hold every statement of the store. */
import type { Database, SQLQueryBindings, Statement } from "bun:sqlite";
import { StateConflictError } from "../store.ts";

/** Statements on the current connection, inside whatever transaction is open on it. */
export class Statements {
  readonly #database: () => Database;
  readonly #before: (sql: string) => void;
  /** Cached by their text. `Database.query` keeps 20 at most, and a run needs more. */
  readonly #prepared = new Map<string, Statement>();
  /** The newest text of an INSERT into each table: rows of a table have the same columns, and nothing else makes texts of so many. */
  readonly #inserts = new Map<string, { readonly names: readonly string[]; readonly sql: string }>();
  /** Hashes of definitions that are stored for sure; empty after whatever may have removed one. */
  readonly storedHashes = new Set<string>();
  /** The last id that was given to a status row; undefined until one is needed. */
  #lastStatusId: number | undefined;

  /**
   * @param database the connection, which may be reopened
   * @param before called before each statement; if it throws, so does the statement
   */
  constructor(database: () => Database, before: (sql: string) => void = () => {}) {
    this.#database = database;
    this.#before = before;
  }

  one<T>(sql: string, ...values: SQLQueryBindings[]): T | null {
    return this.#prepare(sql).get(...values) as T | null;
  }

  all<T>(sql: string, ...values: SQLQueryBindings[]): T[] {
    return this.#prepare(sql).all(...values) as T[];
  }

  /** Returns how many rows changed, and the id of the last inserted one. */
  run(sql: string, ...values: SQLQueryBindings[]): { changes: number; lastInsertRowid: number | bigint } {
    return this.#prepare(sql).run(...values);
  }

  /** @throws StateConflictError unless it changes a row */
  change(what: string, sql: string, ...values: SQLQueryBindings[]): void {
    if (this.run(sql, ...values).changes === 0) throw conflict(what);
  }

  /** Releases the connection, so that it can be closed. */
  release(): void {
    for (const statement of this.#prepared.values()) statement.finalize();
    this.#prepared.clear();
    this.storedHashes.clear();
    this.#lastStatusId = undefined;
  }

  /**
   * The id for the next status row. It is known before the row is written, so that what refers to it is written once. A unit of work that
   * is undone leaves a gap.
   * @param last reads the last id that was assigned before
   */
  nextStatusId(last: () => number): number {
    this.#lastStatusId = (this.#lastStatusId ?? last()) + 1;
    return this.#lastStatusId;
  }

  #prepare(sql: string): Statement {
    this.#before(sql);
    const known = this.#prepared.get(sql);
    if (known !== undefined) return known;
    const statement = this.#database().prepare(sql);
    this.#prepared.set(sql, statement);
    return statement;
  }

  /** Inserts a row of values by column; `more` are the parameters of the conflict clause. */
  insert(table: string, row: object, clause = "", ...more: SQLQueryBindings[]): { changes: number } {
    const names = Object.keys(row);
    const known = this.#inserts.get(table);
    const sql = known !== undefined && isSame(known.names, names) ? known.sql : insertInto(table, names);
    if (sql !== known?.sql) this.#inserts.set(table, { names, sql });
    return this.run(
      clause === "" ? sql : `${sql} ${clause}`,
      ...(Object.values(row) as SQLQueryBindings[]),
      ...more,
    );
  }
}

function insertInto(table: string, names: readonly string[]): string {
  return `INSERT INTO ${table} (${names.join(", ")}) VALUES (${names.map(() => "?").join(", ")})`;
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((name, index) => name === b[index]);
}

/** Thrown by a change that found another state than it expected. */
export function conflict(what: string): StateConflictError {
  return new StateConflictError(`Internal error: ${what} is in another state than expected.`);
}
