/** `db query`: runs a user's statement, which can read the history and nothing else. */
import type { DuckDBConnection, DuckDBValueConverter, Json } from "@duckdb/node-api";
import type { QueryDatabase, QueryResult } from "../../contract/messages.ts";
import { InvalidInputError, UnprocessableError } from "../../errors.ts";
import type { DuckDB } from "./duckdb.ts";
import { nameError, syntaxHint } from "./query-hint.ts";

/** Maximum characters of a result's JSON: it must fit a frame with its escapes and in UTF-8. */
const MAX_CHARACTERS = 5 * 1024 * 1024;

const ALLOWED = "One SELECT, EXPLAIN, DESCRIBE, SHOW or SUMMARIZE statement is allowed.";

/**
 * Functions allowed in FROM: those that compute, and those that describe the database. Others read files (even the database's own,
 * whose lock would be lost), run text as SQL or change settings.
 */
const TABLE_FUNCTIONS: ReadonlySet<string> = new Set([
  "duckdb_columns",
  "duckdb_constraints",
  "duckdb_databases",
  "duckdb_functions",
  "duckdb_indexes",
  "duckdb_keywords",
  "duckdb_memory",
  "duckdb_optimizers",
  "duckdb_schemas",
  "duckdb_sequences",
  "duckdb_settings",
  "duckdb_tables",
  "duckdb_types",
  "duckdb_views",
  "generate_series",
  "icu_calendar_names",
  "json_each",
  "json_tree",
  "pg_timezone_names",
  "pragma_collations",
  "pragma_database_size",
  "pragma_platform",
  "pragma_show",
  "pragma_storage_info",
  "pragma_table_info",
  "pragma_version",
  "range",
  "repeat",
  "repeat_row",
  "summary",
  "test_all_types",
  "unnest",
]);

/** The result of `json_serialize_sql`. */
interface SerializedSql {
  readonly error: boolean;
  readonly error_type?: string;
  readonly error_message?: string;
  readonly position?: string;
  readonly statements?: readonly unknown[];
}

/**
 * Runs one statement. The connection is in a read-only transaction.
 * @throws InvalidInputError when the text is not exactly one read-only statement; UnprocessableError when a row is too long;
 *   errors of DuckDB
 */
export async function runQuery(
  duckdb: DuckDB,
  connection: DuckDBConnection,
  query: QueryDatabase,
): Promise<Omit<QueryResult, "warning">> {
  await checkReadsOnly(connection, query.sql);
  const result = await connection.stream(query.sql).catch((error) => {
    throw nameError(error, query.sql) ?? error;
  });
  const names = result.columnNames();
  const columns = result.columnTypes().map((type, i) => ({ name: names[i] ?? "", type: type.toString() }));
  const converter = jsonConverter(duckdb);
  const rows: unknown[][] = [];
  let characters = 0;
  for (;;) {
    const chunk = await result.fetchChunk();
    if (chunk === null || chunk.rowCount === 0) return { columns, rows, truncated: false };
    for (const row of chunk.convertRows(converter)) {
      if (rows.length === query.max_rows) return { columns, rows, truncated: true };
      characters += JSON.stringify(row).length;
      if (characters > MAX_CHARACTERS) {
        if (rows.length > 0) return { columns, rows, truncated: true };
        throw new UnprocessableError("The first row is too long for a reply.", {
          hint: "Select fewer columns, or use 'cdktr db export'.",
        });
      }
      rows.push(row);
    }
  }
}

/**
 * Checks the statement as parsed by DuckDB itself, before any name in it is resolved.
 * @throws InvalidInputError
 */
async function checkReadsOnly(connection: DuckDBConnection, sql: string): Promise<void> {
  const reader = await connection.runAndReadAll("SELECT json_serialize_sql($1::VARCHAR)", [
    withoutExplain(sql),
  ]);
  const parsed = parseSerialized(String(reader.value(0, 0)));
  if (parsed.error) {
    if (parsed.error_type === "not implemented")
      throw new InvalidInputError(`The statement may change something. ${ALLOWED}`);
    const at = parsed.position === undefined ? "" : ` (at character ${Number(parsed.position) + 1})`;
    throw new InvalidInputError(`The SQL cannot be parsed: ${parsed.error_message}${at}`, {
      hint: syntaxHint(String(parsed.error_message)),
    });
  }
  const statements = parsed.statements ?? [];
  if (statements.length !== 1) {
    throw new InvalidInputError(
      statements.length === 0
        ? `There is no statement. ${ALLOWED}`
        : `There are ${statements.length} statements. ${ALLOWED}`,
    );
  }
  checkSources(statements[0]);
}

function parseSerialized(json: string): SerializedSql {
  try {
    return JSON.parse(json) as SerializedSql;
  } catch (error) {
    // DuckDB writes an infinite number as it writes any other, which is not JSON.
    throw new InvalidInputError("The query cannot be run: a number in it is too large for a DOUBLE.", {
      cause: error,
      hint: "The largest is about 1.8e308; 'infinity'::DOUBLE is infinity.",
    });
  }
}

/** DuckDB's parser does not serialize EXPLAIN, but it does serialize the explained statement. */
function withoutExplain(sql: string): string {
  const blank = "(?:\\s|--[^\\n]*(?:\\n|$)|/\\*[\\s\\S]*?\\*/)*";
  const options = "\\(\\s*(?:format|analyze)\\b[\\w\\s,']*\\)";
  const explain = new RegExp(`^${blank}explain\\b${blank}(?:analyze\\b|${options})?`, "i");
  return sql.replace(explain, "");
}

/** Walks the parsed statement and rejects tables and functions that do not belong to this database. */
function checkSources(statement: unknown): void {
  const open: unknown[] = [statement];
  while (open.length > 0) {
    const node = open.pop();
    if (typeof node !== "object" || node === null) continue;
    if (!Array.isArray(node)) checkSource(node as Record<string, unknown>);
    for (const child of Object.values(node)) open.push(child);
  }
}

function checkSource(node: Record<string, unknown>): void {
  if (node.type === "TABLE_FUNCTION") {
    const name = String(
      (node.function as Record<string, unknown> | undefined)?.function_name ?? "",
    ).toLowerCase();
    if (!TABLE_FUNCTIONS.has(name)) {
      throw new InvalidInputError(`The function ${name}() may not be used in FROM.`, {
        hint: "A query reads the tables and views of the history; SHOW TABLES lists them. For files, use a copy made with 'cdktr db backup' in another DuckDB client.",
      });
    }
  }
  if (node.type === "BASE_TABLE" || node.type === "SHOW_REF") {
    // What lists the tables of a lake is attached too: with it all that its owner has in that PostgreSQL database.
    const outside = [node.catalog_name, node.schema_name].find((part) =>
      /^__ducklake/i.test(String(part ?? "")),
    );
    if (outside !== undefined) {
      throw new InvalidInputError(`${String(outside)} is not part of the history.`, {
        hint: "A query reads the tables and views of the history; SHOW TABLES lists them.",
      });
    }
    const name = String(node.table_name ?? "");
    // DuckDB takes a table name that looks like a file name for a file.
    if (/[./\\*?:]/.test(name)) {
      throw new InvalidInputError(`"${name}" is not a table of the history.`, {
        hint: "A query reads the tables and views of the history, not files; SHOW TABLES lists them.",
      });
    }
  }
}

let converter: DuckDBValueConverter<Json> | undefined;

/** Values as JSON: whole numbers as numbers while JSON's are exact, then as text; other types as DuckDB prints them. */
function jsonConverter(duckdb: DuckDB): DuckDBValueConverter<Json> {
  if (converter !== undefined) return converter;
  const { DuckDBTypeId: Type, JsonDuckDBValueConverter: base } = duckdb;
  const wholeNumbers = new Set([Type.BIGINT, Type.UBIGINT, Type.HUGEINT, Type.UHUGEINT, Type.BIGNUM]);
  converter = (value, type, nested) => {
    if (value === null) return null;
    if (wholeNumbers.has(type.typeId)) {
      const number = Number(value);
      return Number.isSafeInteger(number) ? number : String(value);
    }
    if (type.typeId === Type.INTERVAL) return String(value);
    return base(value, type, nested);
  };
  return converter;
}
