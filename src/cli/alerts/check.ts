import { basename, dirname, resolve } from "node:path";
import { InvalidInputError, NotFoundError } from "../../errors.ts";
import { type AlertQuery, isAlertText, MAX_ALERT_ROWS } from "../../workflow/alert-file.ts";
import { type AlertRow, alertRows } from "../../workflow/alert-rows.ts";
import { renderDiagnostic } from "../../workflow/diagnostic.ts";
import { formatDuration } from "../../workflow/duration.ts";
import { loadAlertFile } from "../../workflow/load.ts";
import { command } from "../support/command.ts";
import { withPrincipal } from "../support/connect.ts";
import { plural } from "../support/format.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { printJson, printLine } from "../support/stdout.ts";
import { styleFor } from "../support/style.ts";
import { renderTable } from "../support/table.ts";

export default command({
  meta: { name: "check", description: "Check an alert file, and run its query once" },
  args: {
    file: { type: "positional", required: true, description: "The alert file; it need not be in use" },
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    exit: { 4: "The file is missing or invalid, or its query cannot be run" },
    completes: { file: "file" },
    details:
      "Shows the rows that would be alerts now. Nothing is raised and nobody is told. 'cdktr workflow validate' checks the file without a principal, but not whether its query runs.",
    topic: "alert-queries",
    see: ["alerts queries", "db query", "workflow validate"],
    examples: [
      { command: "cdktr alerts check workflows/alerts/slow-runs.yml", does: "before it is in use" },
      {
        command: "cdktr alerts check workflows/alerts/slow-runs.yml --json",
        does: "the rows with all their columns, for a program",
      },
    ],
  },
  async run({ args }) {
    const alert = await load(args.file);
    if (alert === undefined) return 4;
    const query = { sql: alert.query, max_rows: MAX_ALERT_ROWS, timeout_ms: alert.timeout_ms };
    const result = await withPrincipal(args, (connection) =>
      connection.patiently((options) => connection.client.queryDatabase(query, options)),
    );
    const { rows, isPartial } = alertRows(alert, result);
    if (result.warning !== null) say(`warning: ${result.warning}`);
    const raised = rows.slice(0, alert.limit);
    if (args.json) await printJson(raised);
    else for (const line of table(raised)) await printLine(line);
    say(summaryOf(alert, result.rows.length, rows.length, isPartial));
    return 0;
  },
});

/** The file, if it is valid; what is wrong with it is printed. */
async function load(path: string): Promise<AlertQuery | undefined> {
  const absolute = resolve(path);
  const result = loadAlertFile(dirname(absolute), basename(absolute), `alerts/${basename(absolute)}`, path);
  if (result === undefined) {
    const text = await Bun.file(absolute)
      .text()
      .catch(() => null);
    if (text === null) throw new NotFoundError(`There is no file ${path}.`);
    throw new InvalidInputError(`${path} is no alert file: it has no query.`, {
      hint: isAlertText(text) ? undefined : "An alert file has the key query: at its top.",
    });
  }
  const color = styleFor("stdout").enabled;
  for (const each of result.ok ? result.warnings : result.diagnostics)
    await printLine(renderDiagnostic(each, { color }));
  return result.ok ? result.alert : undefined;
}

function table(rows: readonly AlertRow[]): string[] {
  if (rows.length === 0) return [];
  return renderTable<AlertRow>(
    [
      { title: "KEY", value: ({ key }) => key, flexible: true, least: 16 },
      { title: "ALERT", value: ({ summary }) => summary, flexible: true, least: 24 },
    ],
    rows,
  );
}

function summaryOf(alert: AlertQuery, found: number, counts: number, isPartial: boolean): string {
  const read = `${plural(found, "row")}${isPartial ? " were read, and there are more" : ""}`;
  const after = alert.for_ms === 0 ? "" : ` once they have been there for ${formatDuration(alert.for_ms)}`;
  const limited = counts > alert.limit ? `, of which the first ${alert.limit} are alerts` : "";
  if (counts === 0) return `${read}: none would be an alert.`;
  return `${read}; ${counts === found ? "all" : String(counts)} would be alerts${after}${limited}.`;
}
