/** Explains errors of statements that users write: which names there are, and where they are described. */
import { errorMessage, InvalidInputError } from "../../errors.ts";
import { nearest } from "../../terminal/did-you-mean.ts";
import { TABLES, VIEWS } from "./schema.ts";

const MANUAL = "'cdktr docs logs-and-history'";
const NAMES = [...Object.keys(VIEWS), ...Object.keys(TABLES)];
const KNOWN = `There are the views ${listed(VIEWS)} and the tables ${listed(TABLES)}: see ${MANUAL}.`;
/** The words with which statements and their clauses begin. */
const KEYWORDS =
  "SELECT FROM WHERE GROUP ORDER HAVING LIMIT OFFSET JOIN UNION WITH DISTINCT DESCRIBE SHOW SUMMARIZE EXPLAIN QUALIFY".split(
    " ",
  );

/** The error to show for an error of DuckDB about names in a statement; undefined if it is about something else. */
export function nameError(error: unknown, sql: string): InvalidInputError | undefined {
  const text = errorMessage(error).trim();
  if (!/^(Catalog|Binder) Error: /.test(text)) return undefined;
  const table = /^Catalog Error: Table with name (\S+) does not exist/.exec(text)?.[1];
  const hint = table === undefined ? hintForColumns(text, sql) : hintForTable(table);
  // DuckDB suggests any table, including those that describe the database.
  const told = table === undefined ? text : text.replace(/\nDid you mean "[^\n]*"\?\n/, "\n");
  return new InvalidInputError(`The query cannot be run: ${told}`, {
    cause: error,
    ...(hint === undefined ? {} : { hint }),
  });
}

/** What to do about a statement that cannot be parsed. @param message DuckDB's reason */
export function syntaxHint(message: string): string {
  const word = /at or near "(\w+)"/.exec(message)?.[1];
  const isKeyword = word !== undefined && KEYWORDS.includes(word.toUpperCase());
  const meant = word === undefined || isKeyword ? undefined : nearest(word, KEYWORDS);
  const see = `Statements are those of DuckDB; ${MANUAL} has examples.`;
  return meant === undefined ? see : `Did you mean ${meant}? ${see}`;
}

function hintForTable(name: string): string {
  const stem = name.toLowerCase().replace(/s$/, "");
  const meant =
    nearest(name, NAMES) ?? (stem.length < 3 ? undefined : NAMES.find((known) => known.includes(stem)));
  return meant === undefined ? KNOWN : `Did you mean ${meant}? ${KNOWN}`;
}

function hintForColumns(text: string, sql: string): string | undefined {
  if (!/column|table/i.test(text) || /^Catalog Error/.test(text)) return undefined;
  const table = NAMES.find((name) => new RegExp(`\\b${name}\\b`, "i").test(sql)) ?? "TABLE";
  return `cdktr db query "DESCRIBE ${table}" lists the columns; ${MANUAL} describes them.`;
}

function listed(tables: object): string {
  const names = Object.keys(tables);
  return `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}
