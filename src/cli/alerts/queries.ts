import { invalidFileText } from "../../contract/invalid-file.ts";
import type { AlertQueryStatus } from "../../contract/messages.ts";
import { plainText } from "../../terminal/foreign-text.ts";
import { isAlertPath } from "../../workflow/alert-file.ts";
import { formatDuration as asWritten } from "../../workflow/duration.ts";
import { command } from "../support/command.ts";
import { principalNow, withPrincipal } from "../support/connect.ts";
import { formatDuration } from "../support/format.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { printJson, printLine } from "../support/stdout.ts";
import { styleFor } from "../support/style.ts";
import { renderTable } from "../support/table.ts";

export default command({
  meta: { name: "queries", description: "List the alert files, and how their queries do" },
  args: { ...jsonArg, ...principalArg },
  extras: {
    details:
      "LAST: how long ago the query was evaluated; NEXT: when it is again. ROWS: what it found that counts; ALERTS: how many of these are alerts: the others have not been there for long enough, or are more than the file allows.",
    topic: "alert-queries",
    see: ["alerts check", "alerts list", "db query"],
    examples: [
      { command: "cdktr alerts queries", does: "all alert files" },
      {
        command: "cdktr alerts queries --json | jq '.[] | select(.error != null)'",
        does: "those that cannot be evaluated, for a program",
      },
    ],
  },
  async run({ args }) {
    const { queries, invalid } = await withPrincipal(args, async ({ client, info }) => ({
      queries: await client.alertQueries(),
      invalid: info.invalid_workflow_files.filter(({ path }) => isAlertPath(path)),
    }));
    if (args.json) return printJson(queries);
    const inUse = new Set(queries.map(({ file }) => file));
    // What is wrong with a file whose last valid version is in use stands below the table.
    const unused = invalid.filter(({ path }) => !inUse.has(path));
    for (const file of unused) say(`It is not in use: ${plainText(invalidFileText(file))}`);
    if (queries.length === 0 && unused.length > 0) return;
    if (queries.length === 0)
      return say(
        "No alert files. Begin with one of the manual: cdktr docs examples alerts/slow-runs > workflows/alerts/slow-runs.yml",
      );
    for (const line of table(queries, principalNow())) await printLine(line);
    for (const { file, error, problem } of queries)
      for (const text of [error, problem]) if (text !== null) await printLine(`${file}: ${text}`);
  },
});

function table(queries: readonly AlertQueryStatus[], now: number): string[] {
  const style = styleFor("stdout");
  return renderTable<AlertQueryStatus>(
    [
      { title: "FILE", value: ({ file }) => file, flexible: true, least: 16 },
      { title: "EVERY", value: ({ every_ms }) => asWritten(every_ms), align: "right" },
      {
        title: "LAST",
        value: ({ evaluated_at_ms: at, error }) =>
          error !== null ? "failed" : at === null ? "-" : `${formatDuration(Math.max(0, now - at))} ago`,
        paint: ({ error }) => (error === null ? (text) => text : style.red),
      },
      {
        title: "NEXT",
        value: ({ next_ms }) =>
          next_ms === null || next_ms <= now ? "now" : `in ${formatDuration(next_ms - now)}`,
      },
      { title: "ROWS", value: ({ rows }) => String(rows), align: "right" },
      {
        title: "ALERTS",
        value: ({ raised }) => String(raised),
        align: "right",
        paint: ({ raised, severity }) =>
          raised === 0 ? (text) => text : severity === "critical" ? style.red : style.yellow,
      },
    ],
    queries,
  );
}
