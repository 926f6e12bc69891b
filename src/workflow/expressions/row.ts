/** Expressions of alert files: what they read is a row of the result of a query. */
import type { Source } from "./compile.ts";
import { type Compiled, compileTemplate } from "./compiled.ts";
import { ROW_SCOPE } from "./scope.ts";
import { fromJson, type Value } from "./values.ts";

/** A row of a result: JSON values by the names of their columns. */
export type Row = Readonly<Record<string, unknown>>;

/** A row, and which of its columns hold numbers with decimals: 2 is 2.0 there, as in the other rows. */
interface TypedRow {
  readonly row: Row;
  readonly doubles: ReadonlySet<string>;
}

/** A compiled text of an alert file, evaluated for each row. */
export type RowTemplate = Pick<Compiled<TypedRow>, "evaluate" | "text">;

/** Compiles a text of an alert file; what is wrong with it is thrown when it is evaluated. */
export function compileForRow(text: string): RowTemplate {
  return compileTemplate<TypedRow>(text.trim(), ROW_SCOPE, sourceOf);
}

function sourceOf({ row, doubles }: TypedRow): Source {
  return {
    read(_, charge) {
      const value = (name: string, json: unknown): Value => {
        const isDouble = doubles.has(name) && json !== null && Number.isFinite(Number(json));
        return isDouble ? Number(json) : fromJson(json, charge);
      };
      return { value: new Map(Object.entries(row).map(([name, json]) => [name, value(name, json)])) };
    },
  };
}
