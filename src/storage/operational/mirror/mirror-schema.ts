/** Creates the tables of the operational state in PostgreSQL, and adds what they lack. Nothing is removed: a newer cdktr may use it. */
import type { Query } from "./query.ts";
import { type MirrorColumn, type MirrorTable, quoted } from "./tables.ts";

/** Brings the tables up to date, in the open transaction. */
export async function extendSchema(query: Query, tables: readonly MirrorTable[]): Promise<void> {
  const found = await query<{ table_name: string; column_name: string }>(
    "SELECT table_name::text, column_name::text FROM information_schema.columns WHERE table_schema = current_schema()",
  );
  const known = new Map<string, Set<string>>();
  for (const { table_name, column_name } of found) {
    const columns = known.get(table_name) ?? new Set();
    known.set(table_name, columns.add(column_name));
  }
  for (const table of tables) {
    const present = known.get(table.name);
    if (present === undefined) await query(creation(table));
    else await addColumns(query, table, present);
  }
}

async function addColumns(query: Query, table: MirrorTable, present: ReadonlySet<string>): Promise<void> {
  for (const column of table.columns) {
    if (!present.has(column.name))
      await query(`ALTER TABLE ${quoted(table.name)} ADD COLUMN ${declaration(column)}`);
  }
}

function creation({ name, columns, key }: MirrorTable): string {
  const identified = key.map((column) => quoted(column.name)).join(", ");
  return `CREATE TABLE ${quoted(name)} (${columns.map(declaration).join(", ")}, PRIMARY KEY (${identified}))`;
}

function declaration(column: MirrorColumn): string {
  return `${quoted(column.name)} ${column.type}${column.default === null ? "" : ` DEFAULT ${column.default}`}`;
}
