/**
 * Finds out which rows a transaction changes, whichever statements do it: triggers of this connection alone note their keys in a temporary
 * table, which a rollback empties like any other.
 */
import type { Database, Statement } from "bun:sqlite";
import { type ChangeSet, composed } from "./change-set.ts";
import { type MirrorColumn, type MirrorTable, quoted, SEQUENCES, tablesOf } from "./tables.ts";

/** The columns of the temporary table for parts of a key. */
const PARTS = ["k1", "k2", "k3", "k4"] as const;

interface Read {
  readonly upserts: Statement<{ count: number; rows: string }, []>;
  readonly deletes: Statement<{ rows: string }, []>;
}

interface Sequence {
  readonly name: string;
  readonly seq: number;
}

/** The changes of the transaction that is open on a connection. */
export class Capture {
  readonly #touched: Statement<{ t: number; count: number }, []>;
  readonly #clear: Statement<unknown, []>;
  readonly #sequences: Statement<Sequence, []>;
  readonly #tables: readonly MirrorTable[];
  readonly #reads = new Map<number, Read>();
  readonly #database: Database;
  /** The sequences as the last commit left them, and as the present one does. */
  #known: ReadonlyMap<string, number>;
  #next: ReadonlyMap<string, number> | undefined;

  /** Begins to note the changes of a connection. */
  constructor(database: Database) {
    this.#database = database;
    this.#tables = tablesOf(database);
    // Without, rows that INSERT OR REPLACE removes would not be noted.
    database.run("PRAGMA recursive_triggers = ON");
    database.run(
      "CREATE TEMP TABLE changed (t INTEGER, k1, k2 DEFAULT 0, k3 DEFAULT 0, k4 DEFAULT 0, PRIMARY KEY (t, k1, k2, k3, k4)) WITHOUT ROWID",
    );
    this.#tables.forEach((table, t) => {
      for (const sql of triggersOf(table, t)) database.run(sql);
    });
    this.#touched = database.prepare("SELECT t, count(*) AS count FROM temp.changed GROUP BY t");
    this.#clear = database.prepare("DELETE FROM temp.changed");
    this.#sequences = database.prepare("SELECT name, seq FROM main.sqlite_sequence");
    this.#known = this.#readSequences();
  }

  /** What the open transaction has changed; null for nothing. Then {@link clear} follows, before its end. */
  take(): ChangeSet | null {
    const parts = new Map<string, string>();
    for (const { t, count } of this.#touched.all()) {
      const name = this.#tables[t]?.name ?? "";
      const { upserts, deletes } = this.#read(t);
      const present = upserts.get();
      if (present !== null && present.count > 0) parts.set(`${name}+`, present.rows);
      if (present?.count !== count) parts.set(`${name}-`, deletes.get()?.rows ?? "[]");
    }
    this.#next = this.#readSequences();
    const raised = [...this.#next].filter(([name, seq]) => this.#known.get(name) !== seq);
    if (raised.length > 0)
      parts.set(`${SEQUENCES.name}+`, JSON.stringify(raised.map(([name, seq]) => ({ name, seq }))));
    return parts.size === 0 ? null : composed(parts);
  }

  /** Forgets the changes, in their transaction. */
  clear(): void {
    this.#clear.run();
  }

  /** The transaction was committed. */
  committed(): void {
    this.#known = this.#next ?? this.#known;
  }

  /** Releases the connection, so that it can be closed. */
  release(): void {
    for (const { upserts, deletes } of this.#reads.values()) {
      upserts.finalize();
      deletes.finalize();
    }
    for (const statement of [this.#touched, this.#clear, this.#sequences]) statement.finalize();
  }

  #readSequences(): ReadonlyMap<string, number> {
    return new Map(this.#sequences.all().map(({ name, seq }) => [name, seq]));
  }

  #read(t: number): Read {
    const known = this.#reads.get(t);
    if (known !== undefined) return known;
    const table = this.#tables[t];
    if (table === undefined) throw new Error("an unknown table was changed");
    const { name, key, columns } = table;
    const match = key.map((column, i) => `r.${column.source} = c.${PARTS[i]}`).join(" AND ");
    const gone = key.map((column, i) => `${literal(column.name)}, c.${PARTS[i]}`).join(", ");
    const read: Read = {
      upserts: this.#database.prepare(
        `SELECT count(*) AS count, json_group_array(json_object(${members(columns, "r")})) AS rows FROM temp.changed AS c
         CROSS JOIN main.${quoted(name)} AS r ON ${match} WHERE c.t = ${t}`,
      ),
      deletes: this.#database.prepare(
        `SELECT json_group_array(json_object(${gone})) AS rows FROM temp.changed AS c
         WHERE c.t = ${t} AND NOT EXISTS (SELECT 1 FROM main.${quoted(name)} AS r WHERE ${match})`,
      ),
    };
    this.#reads.set(t, read);
    return read;
  }
}

/** The arguments of json_object for a row. @param of the alias of its table */
export function members(columns: readonly MirrorColumn[], of: string): string {
  return columns
    .map(({ name, source, type }) => {
      const value = `${of}.${source}`;
      const isBytes = type === "BYTEA";
      return `${literal(name)}, ${isBytes ? `iif(${value} IS NULL, NULL, '\\x' || lower(hex(${value})))` : value}`;
    })
    .join(", ");
}

/** Not INSERT OR IGNORE: the conflict clause of the statement that fires a trigger would replace that. */
function triggersOf({ name, key }: MirrorTable, t: number): string[] {
  if (key.length > PARTS.length) throw new Error(`the key of ${name} has more than ${PARTS.length} columns`);
  const note = (row: "NEW" | "OLD", condition = "") => {
    // Without their affinities, so that the key of the temporary table can be used.
    const values = key.map(({ source }) => `+${row}.${source}`);
    const into = values.map((_, i) => PARTS[i]).join(", ");
    const same = PARTS.map((part, i) => `${part} = ${values[i] ?? "0"}`).join(" AND ");
    return `INSERT INTO changed (t, ${into}) SELECT ${t}, ${values.join(", ")}
      WHERE NOT EXISTS (SELECT 1 FROM changed WHERE t = ${t} AND ${same})${condition};`;
  };
  const moved = key.map(({ source }) => `OLD.${source} IS NOT NEW.${source}`).join(" OR ");
  const on = `ON main.${quoted(name)} BEGIN`;
  return [
    `CREATE TEMP TRIGGER ${quoted(`${name}_inserted`)} AFTER INSERT ${on} ${note("NEW")} END`,
    `CREATE TEMP TRIGGER ${quoted(`${name}_deleted`)} AFTER DELETE ${on} ${note("OLD")} END`,
    `CREATE TEMP TRIGGER ${quoted(`${name}_updated`)} AFTER UPDATE ${on} ${note("NEW")} ${note("OLD", ` AND (${moved})`)} END`,
  ];
}

function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}
