/** What the rows of the result of an alert file's query are: alerts with a key, a summary and the values of the row. */
import { errorMessage, InvalidInputError } from "../errors.ts";
import type { AlertQuery } from "./alert-file.ts";
import { compileForRow, type Row } from "./expressions.ts";

/** The result of a query. */
export interface QueryRows {
  /** `type` is that of DuckDB. */
  readonly columns: readonly { readonly name: string; readonly type: string }[];
  readonly rows: readonly (readonly unknown[])[];
  /** Whether there are more rows than were read. */
  readonly truncated: boolean;
}

/** A row that counts. */
export interface AlertRow {
  /** One line, unique among the rows. */
  readonly key: string;
  /** One line. */
  readonly summary: string;
  readonly row: Row;
}

/** The rows that count. */
export interface AlertRows {
  /** Each key once. */
  readonly rows: readonly AlertRow[];
  /** Their keys. */
  readonly keys: ReadonlySet<string>;
  /** Whether there may be further keys: a key that is not among {@link keys} says nothing then. */
  readonly isPartial: boolean;
}

const LONGEST_KEY = 200;
const LONGEST_SUMMARY = 300;
/** A value of a row that is longer is cut, in characters: it travels in messages. */
const LONGEST_VALUE = 2000;

/**
 * The rows of a result that count.
 * @throws InvalidInputError when the result has no such column, or an expression cannot be evaluated for a row
 */
export function alertRows(alert: AlertQuery, result: QueryRows): AlertRows {
  const names = result.columns.map(({ name }) => name);
  const keyAt = alert.key === undefined ? 0 : names.indexOf(alert.key);
  if (keyAt < 0 || names.length === 0)
    throw new InvalidInputError(
      `The result has no column "${alert.key}", which is the key of ${alert.path}.`,
      { hint: `Its columns are ${names.join(", ")}.` },
    );
  const when = alert.when === undefined ? undefined : compileForRow(alert.when);
  const summary = alert.summary === undefined ? undefined : compileForRow(alert.summary);
  const doubles = new Set(
    result.columns.flatMap(({ name, type }) => (/^(DOUBLE|FLOAT|DECIMAL)/.test(type) ? [name] : [])),
  );
  const found = new Map<string, AlertRow>();
  for (const [index, values] of result.rows.entries()) {
    const row: Row = Object.fromEntries(names.map((name, n) => [name, values[n] ?? null]));
    const evaluated = <T>(name: string, of: () => T): T => {
      try {
        return of();
      } catch (error) {
        throw new InvalidInputError(`"${name}" of ${alert.path}, row ${index + 1}: ${errorMessage(error)}`, {
          cause: error,
        });
      }
    };
    const counts = when === undefined || evaluated("when", () => truth(when.evaluate({ row, doubles })));
    const key = keyOf(values[keyAt]);
    if (!counts || found.has(key)) continue;
    const text =
      summary === undefined
        ? `${nameOf(alert)}: ${key}`
        : evaluated("summary", () => summary.text({ row, doubles }));
    found.set(key, { key, summary: oneLine(text, LONGEST_SUMMARY), row: shortened(row) });
  }
  return {
    rows: [...found.values()],
    keys: new Set(found.keys()),
    isPartial: result.truncated,
  };
}

/** The name of an alert file in messages. */
export function nameOf({ name, path }: Pick<AlertQuery, "name" | "path">): string {
  return name ?? path;
}

function truth(value: unknown): boolean {
  if (typeof value === "boolean") return value;
  throw new Error(`is ${JSON.stringify(value)}, which is neither true nor false`);
}

/** A value as a key: a long one ends with a hash of the whole. */
function keyOf(value: unknown): string {
  const text = typeof value === "string" ? value : JSON.stringify(value ?? null);
  const line = oneLine(text, Number.POSITIVE_INFINITY);
  if (line.length <= LONGEST_KEY && line === text && line !== "") return line;
  const hash = new Bun.CryptoHasher("sha256").update(text).digest("hex").slice(0, 12);
  return `${line.slice(0, LONGEST_KEY).toWellFormed()}#${hash}`;
}

/** A text without control characters, which would break lines of terminals and headers of mails. */
function oneLine(text: string, most: number): string {
  const line = text
    .toWellFormed()
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ")
    .trim();
  return line.length <= most ? line : `${line.slice(0, most - 1).toWellFormed()}…`;
}

function shortened(row: Row): Row {
  const short = (value: unknown): unknown => {
    if (typeof value === "string")
      return value.length <= LONGEST_VALUE ? value : `${value.slice(0, LONGEST_VALUE).toWellFormed()}…`;
    if (typeof value !== "object" || value === null) return value;
    const json = JSON.stringify(value);
    return json.length <= LONGEST_VALUE ? value : `${json.slice(0, LONGEST_VALUE).toWellFormed()}…`;
  };
  return Object.fromEntries(Object.entries(row).map(([name, value]) => [name, short(value)]));
}
