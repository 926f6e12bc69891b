/** The tables of the operational state as PostgreSQL has them: derived from the schema of SQLite, so that nothing is declared twice. */
import type { Database } from "bun:sqlite";

/** A column of a table, in both databases. */
export interface MirrorColumn {
  /** In PostgreSQL. */
  readonly name: string;
  /** In SQLite, quoted: the same, or the row id of a table without a key. */
  readonly source: string;
  /** The type in PostgreSQL. */
  readonly type: "BIGINT" | "TEXT" | "DOUBLE PRECISION" | "BYTEA";
  /** An SQL literal; null for none. Rows of a cdktr that does not know the column have it. */
  readonly default: string | null;
}

/** A table, in both databases. */
export interface MirrorTable {
  readonly name: string;
  readonly columns: readonly MirrorColumn[];
  /** The columns that identify a row, in order. */
  readonly key: readonly MirrorColumn[];
}

/** The name that the row ids of a table without a key have in PostgreSQL. */
const ROW_ID = "_rowid";

/** Where PostgreSQL has the last ids of tables that never use one again. */
export const SEQUENCES: MirrorTable = (() => {
  const name: MirrorColumn = { name: "name", source: '"name"', type: "TEXT", default: null };
  const seq: MirrorColumn = { name: "seq", source: '"seq"', type: "BIGINT", default: null };
  return { name: "cluster_sequences", columns: [name, seq], key: [name] };
})();

const TYPES: Readonly<Record<string, MirrorColumn["type"]>> = {
  INTEGER: "BIGINT",
  TEXT: "TEXT",
  REAL: "DOUBLE PRECISION",
  BLOB: "BYTEA",
};

interface ColumnInfo {
  readonly name: string;
  readonly type: string;
  readonly dflt_value: string | null;
  /** Its place in the key, from 1; 0 if it is not part of it. */
  readonly pk: number;
  /** Not 0 for one that is computed. */
  readonly hidden: number;
}

/** The tables of a database, in the order of their names. */
export function tablesOf(database: Database): MirrorTable[] {
  const names = database
    .query<{ name: string }, []>(
      "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
    )
    .all();
  return names.map(({ name }) => tableOf(database, name));
}

function tableOf(database: Database, table: string): MirrorTable {
  const stored = database
    .query<ColumnInfo, [string]>(
      "SELECT name, type, dflt_value, pk, hidden FROM pragma_table_xinfo(?, 'main')",
    )
    .all(table)
    .filter(({ hidden }) => hidden === 0);
  const columns = stored.map(({ name, type, dflt_value }): MirrorColumn => {
    const own = TYPES[type];
    if (own === undefined) throw new Error(`the column ${table}.${name} has the type ${type}`);
    return { name, source: quoted(name), type: own, default: dflt_value };
  });
  const key = stored
    .filter(({ pk }) => pk > 0)
    .sort((a, b) => a.pk - b.pk)
    .flatMap(({ name }) => columns.filter((column) => column.name === name));
  if (key.length > 0) return { name: table, columns, key };
  const rowId: MirrorColumn = { name: ROW_ID, source: "rowid", type: "BIGINT", default: null };
  return { name: table, columns: [rowId, ...columns], key: [rowId] };
}

/** The name of something, for SQL. */
export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
