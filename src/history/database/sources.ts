/**
 * Where statements read from. Without an archive that is the tables. With one it is the rows of a table and those of the parts that may
 * have what is asked for: `rowid` goes on to be their order, and archived rows come first.
 *
 * Users' statements, which may ask for anything, read views of the same names over all parts, in a schema that their connections search
 * first. The views change in the transaction that changes the manifest: whoever reads sees each row exactly once.
 */
import { join } from "node:path";
import type { DuckDBConnection } from "@duckdb/node-api";
import { type Archived, type Part, readParts, type Scope, type Span } from "./archive-manifest.ts";
import { quoteName, quoteText } from "./duckdb.ts";
import type { Table } from "./migrations.ts";
import { type StatusTable, TABLES, VIEWS } from "./schema.ts";

/** The schema of the views of users' statements. */
export const HISTORY_SCHEMA = "history";

/** Tables of the archive in the order in which they are shown. */
export const ARCHIVED = [...Object.keys(TABLES), ...Object.keys(VIEWS)] as readonly Archived[];

/** Whether parts of it have the rows of a table, and not those of a view. */
export function isTable(archived: Archived): archived is keyof typeof TABLES {
  return archived in TABLES;
}

/** The view's source, and the key of its rows in the table that it is made from. */
const MADE_FROM: Readonly<Record<keyof typeof VIEWS, readonly [table: StatusTable, key: string]>> = {
  workflow_runs: ["workflow_run_status", "workflow_instance_id"],
  task_runs: ["task_run_status", "task_instance_id"],
};

/** A column of the database. */
export interface Column {
  readonly name: string;
  readonly type: string;
}

/** The columns of tables and views as they are: a newer cdktr may have added some. */
export type ColumnsOf = ReadonlyMap<string, readonly Column[]>;

/** Reads the columns of what can be archived. */
export async function readColumns(connection: DuckDBConnection): Promise<ColumnsOf> {
  const reader = await connection.runAndReadAll(
    `SELECT table_name, column_name, data_type FROM duckdb_columns()
     WHERE database_name = current_database() AND schema_name = 'main' ORDER BY table_name, column_index`,
  );
  const rows = reader.getRows().map((row) => row.map(String));
  const byTable = Map.groupBy(rows, ([table = ""]) => table);
  return new Map(
    [...byTable].map(([table, columns]) => [
      table,
      columns.map(([, name = "", type = ""]) => ({ name, type })),
    ]),
  );
}

/** A value of a column as parts have it: an enum is text there. */
export function stored({ name, type }: Column): string {
  return type.startsWith("ENUM") ? `${quoteName(name)}::VARCHAR AS ${quoteName(name)}` : quoteName(name);
}

/** The same value as the database has it. */
function restored({ name, type }: Column, part: readonly string[]): string {
  const column = quoteName(name);
  if (!part.includes(name)) return `NULL::${type} AS ${column}`;
  return type.startsWith("ENUM") ? `${column}::${type} AS ${column}` : column;
}

/** Reads the files of parts. @param options further arguments of `read_parquet` */
export function readFiles(directory: string, files: readonly string[], options = ""): string {
  const paths = files.map((file) => quoteText(join(directory, file)));
  return `read_parquet([${paths.join(", ")}], hive_partitioning = false${options})`;
}

/** What is selected from the parts, a statement for each set of columns. @param further expressions beside the columns */
function selections(
  directory: string,
  columns: readonly Column[],
  parts: readonly Part[],
  further: string,
): string[] {
  const alike = Map.groupBy(parts, (part) => part.columns.join());
  return [...alike.values()].map((group) => {
    const values = columns.map((column) => restored(column, group[0]?.columns ?? []));
    return `SELECT ${values.join(", ")}${further} FROM ${readFiles(
      directory,
      group.map(({ file }) => file),
    )} p`;
  });
}

/** A table, or a view, with its parts. @param order expression that is called `rowid`, of the table and of the parts */
function union(
  archived: Archived,
  directory: string,
  columns: ColumnsOf,
  parts: readonly Part[],
  order: boolean,
): string {
  const own = columns.get(archived) ?? [];
  const names = own.map(({ name }) => quoteName(name)).join(", ");
  if (isTable(archived)) {
    const live = `SELECT ${names}${order ? ", rowid AS rowid" : ""} FROM main.${archived}`;
    const further = order ? ", position AS rowid" : "";
    return [live, ...selections(directory, own, parts, further)].join(" UNION ALL ");
  }
  const selected = selectionsOfView(archived, directory, columns, parts);
  return [`SELECT ${names} FROM main.${archived}`, ...selected].join(" UNION ALL ");
}

/** What a view says of the runs in these parts. A run that has rows in the database again, as from a state that was restored, is newer there. */
function selectionsOfView(
  archived: keyof typeof VIEWS,
  directory: string,
  columns: ColumnsOf,
  parts: readonly Part[],
): string[] {
  const [table, key] = MADE_FROM[archived];
  return selections(directory, columns.get(archived) ?? [], parts, "").map(
    (selection) => `${selection} WHERE NOT EXISTS (SELECT 1 FROM main.${table} s WHERE s.${key} = p.${key})`,
  );
}

/** What statements ask for. */
export interface Asked extends Omit<Scope, "span"> {
  /** About these runs only. */
  readonly runs?: readonly string[] | undefined;
}

/** What statements of cdktr itself read from. The connection is in a transaction. */
export class Sources {
  readonly #connection: DuckDBConnection;
  readonly #directory: string;
  readonly #columns: ColumnsOf;
  #span: { readonly key: string; readonly span: Promise<Span> } | undefined;

  constructor(connection: DuckDBConnection, directory: string, columns: ColumnsOf) {
    this.#connection = connection;
    this.#directory = directory;
    this.#columns = columns;
  }

  /** The parts that may have what is asked for. */
  async parts(archived: Archived, { runs, ...scope }: Asked = {}): Promise<Part[]> {
    const span = runs === undefined ? undefined : await this.spanOf(runs);
    const parts = await readParts(this.#connection, archived, { ...scope, span });
    return parts.filter(({ isMissing }) => !isMissing);
  }

  /** Where the archive has what is about these runs. Runs that are in the database are not looked for. */
  spanOf(runs: readonly string[]): Promise<Span> {
    const key = runs.join();
    if (this.#span?.key !== key) this.#span = { key, span: this.#findSpan(runs) };
    return this.#span.span;
  }

  async #findSpan(runs: readonly string[]): Promise<Span> {
    const ids = `(SELECT unnest(from_json($1::VARCHAR, '["VARCHAR"]')))`;
    const live = await this.#connection.runAndReadAll(
      `SELECT workflow_instance_id, coalesce(min(created_at_ms), min(timestamp_ms))::DOUBLE, max(timestamp_ms)::DOUBLE
       FROM main.workflow_run_status WHERE workflow_instance_id IN ${ids} GROUP BY 1`,
      [JSON.stringify(runs)],
    );
    const spans: { readonly day: string | null; readonly from: number; readonly to: number }[] = live
      .getRows()
      .map(([, from, to]) => ({ day: null, from: Number(from), to: Number(to) }));
    const known = new Set(live.getRows().map(([id]) => String(id)));
    const others = runs.filter((id) => !known.has(id));
    const parts = others.length === 0 ? [] : await this.parts("workflow_runs");
    if (parts.length > 0) {
      const days = new Map(parts.map(({ file, day }) => [join(this.#directory, file), day]));
      const reader = await this.#connection.runAndReadAll(
        `SELECT filename, created_at_ms::DOUBLE, coalesce(finished_at_ms, created_at_ms)::DOUBLE
         FROM ${readFiles(this.#directory, [...parts.map(({ file }) => file)], ", filename = true")} WHERE workflow_instance_id IN ${ids}`,
        [JSON.stringify(others)],
      );
      for (const [file, from, to] of reader.getRows())
        spans.push({ day: days.get(String(file)) ?? null, from: Number(from), to: Number(to) });
    }
    return {
      days: [...new Set(spans.map(({ day }) => day).filter((day) => day !== null))],
      fromMs: spans.reduce((first, { from }) => Math.min(first, from), Number.POSITIVE_INFINITY),
      toMs: spans.reduce((last, { to }) => Math.max(last, to), Number.NEGATIVE_INFINITY),
    };
  }

  /** A source for FROM: of what is in these parts alone. Of a view there is one at least. */
  archived(archived: keyof typeof VIEWS, parts: readonly Part[]): string {
    return `(${selectionsOfView(archived, this.#directory, this.#columns, parts).join(" UNION ALL ")})`;
  }

  /** A source for FROM: of what is in the database, and in these parts. */
  over(archived: Archived, parts: readonly Part[]): string {
    if (parts.length === 0) return archived;
    return `(${union(archived, this.#directory, this.#columns, parts, isTable(archived))})`;
  }

  /** A source for FROM. */
  async of(archived: Archived, scope: Asked = {}): Promise<string> {
    return this.over(archived, await this.parts(archived, scope));
  }

  /** What is selected from parts of `logstore`, with the time by which lines are ordered. */
  lines(parts: readonly Part[]): string[] {
    return selections(
      this.#directory,
      this.#columns.get("logstore") ?? [],
      parts,
      ", position AS rowid, time_ms",
    );
  }

  /** A statement that selects the rows of a part of a table, in order. */
  rowsOf(archived: Table, part: Part): string {
    const [selected = ""] = selections(this.#directory, this.#columns.get(archived) ?? [], [part], "");
    return `${selected} ORDER BY position`;
  }

  /** The columns of a table or a view, for SELECT. @param of alias of the source */
  columns(archived: Archived, of: string): string {
    return (this.#columns.get(archived) ?? []).map(({ name }) => `${of}.${quoteName(name)}`).join(", ");
  }
}

/** The sources of a database without an archive: its tables and views. */
export const TABLES_ALONE: Pick<
  Sources,
  "of" | "over" | "archived" | "parts" | "lines" | "columns" | "rowsOf"
> = {
  of: async (archived) => archived,
  over: (archived) => archived,
  archived: (archived) => archived,
  parts: async () => [],
  lines: () => [],
  rowsOf: (archived) => `SELECT * FROM ${archived} LIMIT 0`,
  columns: (_, of) => `${of}.*`,
};

/** What statements read from. */
export type AnySources = typeof TABLES_ALONE;

/** Defines the views of users' statements anew. The connection is in a transaction. */
export async function defineViews(
  connection: DuckDBConnection,
  directory: string,
  columns: ColumnsOf,
  which: readonly Archived[] = ARCHIVED,
): Promise<void> {
  await connection.run(`CREATE SCHEMA IF NOT EXISTS ${HISTORY_SCHEMA}`);
  for (const archived of which) {
    if (!columns.has(archived)) continue;
    const parts = (await readParts(connection, archived)).filter(({ isMissing }) => !isMissing);
    const definition = union(archived, directory, columns, parts, false);
    await connection.run(`CREATE OR REPLACE VIEW ${HISTORY_SCHEMA}.${archived} AS ${definition}`);
  }
  await connection.run("UPDATE archive_state SET directory = $1", [directory]);
}
