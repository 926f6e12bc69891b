import type { QueryResult } from "../../contract/messages.ts";
import { command, wholeNumber } from "../support/command.ts";
import { withPrincipal } from "../support/connect.ts";
import { plural } from "../support/format.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { printJson, printLine } from "../support/stdout.ts";
import { styleFor } from "../support/style.ts";
import { renderTable } from "../support/table.ts";

export default command({
  meta: { name: "query", description: "Run a read-only SQL statement" },
  args: {
    sql: { type: "positional", required: true, description: "The statement; - reads it from stdin" },
    "max-rows": {
      type: "string",
      valueHint: "N",
      default: "10000",
      description: "Maximum number of rows to print",
    },
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    details:
      "Runs on the live history without stopping the principal. Tables: logstore, workflow_run_status, task_run_status, audit_log; views: workflow_runs, task_runs.",
    topic: "logs-and-history",
    examples: [
      {
        command: 'cdktr db query "SELECT status, count(*) FROM workflow_runs GROUP BY status"',
        does: "runs by status",
      },
      { command: "cdktr db query - < report.sql", does: "a statement from a file" },
      { command: 'cdktr db query "FROM task_runs LIMIT 5" --json', does: "rows as objects, for a program" },
    ],
  },
  async run({ args }) {
    const maxRows = wholeNumber(args["max-rows"], "--max-rows", { min: 1, max: 1_000_000 });
    const sql = args.sql === "-" ? await Bun.stdin.text() : args.sql;
    const result = await withPrincipal(args, (connection) =>
      connection.patiently((options) => connection.client.queryDatabase({ sql, max_rows: maxRows }, options)),
    );
    if (result.warning !== null) say(`warning: ${result.warning}`);
    if (args.json) await printJson(asObjects(result));
    else if (result.columns.length > 0) for (const line of asTable(result)) await printLine(line);
    if (result.truncated) {
      say(`warning: only the first ${plural(result.rows.length, "row")} shown; use --max-rows N for more.`);
    }
  },
});

/** Rows as objects. A repeated column name gets a number, so that no value is lost. */
function asObjects({ columns, rows }: QueryResult): Record<string, unknown>[] {
  const names: string[] = [];
  for (const { name } of columns) {
    let unique = name;
    for (let n = 2; names.includes(unique); n++) unique = `${name}_${n}`;
    names.push(unique);
  }
  return rows.map((row) => Object.fromEntries(names.map((name, i) => [name, row[i]])));
}

const NUMERIC = /^(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|UINTEGER|FLOAT|DOUBLE|DECIMAL.*)$/;

function asTable({ columns, rows }: QueryResult): string[] {
  const style = styleFor("stdout");
  const cell = (value: unknown) =>
    value === null || value === undefined
      ? "NULL"
      : typeof value === "object"
        ? JSON.stringify(value)
        : String(value);
  return renderTable<readonly unknown[]>(
    columns.map(({ name, type }, i) => ({
      title: name,
      value: (row: readonly unknown[]) => cell(row[i]),
      align: NUMERIC.test(type) ? ("right" as const) : ("left" as const),
      paint: (row: readonly unknown[]) => (row[i] === null ? style.dim : (text: string) => text),
    })),
    rows,
    // Values matter more than lines: what is too wide is left to the terminal.
    { width: undefined },
  );
}
