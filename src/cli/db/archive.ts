import { daysOf } from "../../config.ts";
import type { ArchiveItem } from "../../contract/messages.ts";
import { UsageError } from "../../errors.ts";
import { command } from "../support/command.ts";
import { principalNow, withPrincipal } from "../support/connect.ts";
import { formatBytes, plural } from "../support/format.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { printJson, printLine } from "../support/stdout.ts";
import { parseInstant, parseSpan } from "../support/time.ts";

export default command({
  meta: {
    name: "archive",
    description: "Move old days into Parquet files, and delete what is kept no longer",
  },
  args: {
    "dry-run": { type: "boolean", description: "Show what would be moved and deleted, and change nothing" },
    before: {
      type: "string",
      valueHint: "DAY",
      description: "Move the days before this one (UTC), such as 2025-01-20 or 90d, and delete nothing",
    },
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    details:
      "The principal does this every night: days that are older than CDKTR_HISTORY_KEEP move into Parquet files beside the database, days that are older than CDKTR_ARCHIVE_KEEP are deleted from there, and so are runs that their workflow does not keep (retention). Every query goes on seeing what was moved. Interrupting the command is safe: each day moves in one step.",
    topic: "retention",
    examples: [
      { command: "cdktr db archive --dry-run", does: "what the coming night would do" },
      { command: "cdktr db archive", does: "do it now" },
      { command: "cdktr db archive --before 2025-01-01", does: "move everything up to the end of 2024" },
    ],
  },
  async run({ args }) {
    const isTrial = args["dry-run"] === true;
    const items: ArchiveItem[] = [];
    let until: string | null = null;
    await withPrincipal(args, async ({ client, patiently }) => {
      const before_ms = args.before === undefined ? undefined : dayOption(args.before, principalNow());
      for (let after: string | undefined, first = true; first || after !== undefined; first = false) {
        const from = after;
        const {
          items: done,
          next,
          before,
        } = await patiently((options) =>
          client.call("ARCHIVEDB", { dry_run: isTrial, before_ms, after: from }, options),
        );
        until = before;
        if (!args.json) for (const item of done) await printLine(describe(item, isTrial));
        items.push(...done);
        after = next ?? undefined;
      }
    });
    if (args.json) return printJson({ dry_run: isTrial, before: until, items });
    say(summary(items, isTrial, until));
  },
});

/** A day, or how many days, weeks or years ago it was. @throws UsageError */
function dayOption(text: string, nowMs: number): number {
  if (/^\d{4}-\d{2}-\d{2}$/.test(text)) {
    const day = parseInstant(`${text}T00:00:00Z`, nowMs);
    if (day !== undefined) return day;
  }
  const days = /^\d{1,6}[dwy]$/.test(text) ? daysOf(text) : null;
  if (days !== null) return nowMs - days * 86_400_000;
  const span = parseSpan(text);
  if (span !== undefined) return nowMs - span;
  throw new UsageError(`--before ${text}: expected a day.`, {
    hint: "For example 2025-01-20, or 90d, 12w or 2y for the day that was so long ago.",
  });
}

function describe({ action, subject, runs, tables }: ArchiveItem, isTrial: boolean): string {
  const verb = { move: ["moved", "would move"], delete: ["deleted", "would be deleted"] }[action][
    isTrial ? 1 : 0
  ];
  const rows = tables
    .filter(({ table }) => table !== "workflow_runs" && table !== "task_runs")
    .map(({ table, rows }) => `${table} ${rows}`)
    .join(", ");
  const bytes = tables.reduce((sum, { bytes }) => sum + bytes, 0);
  const what = runs === null ? subject : `${subject}: ${plural(runs, "run")}`;
  return `${what}  ${verb}  ${rows}${bytes > 0 ? `  (${formatBytes(bytes)})` : ""}`;
}

function summary(items: readonly ArchiveItem[], isTrial: boolean, before: string | null): string {
  if (items.length === 0)
    return before === null ? "There is nothing to do." : `There is nothing to move before ${before}.`;
  const moved = items.filter(({ action }) => action === "move");
  const bytes = moved.flatMap(({ tables }) => tables).reduce((sum, { bytes }) => sum + bytes, 0);
  const deleted = items.length - moved.length;
  const parts = [
    moved.length === 0
      ? []
      : `${plural(moved.length, "day")} ${isTrial ? "would move" : "moved"} into the archive (${formatBytes(bytes)})`,
    deleted === 0 ? [] : `${deleted} ${isTrial ? "would be" : ""} deleted`.replace("  ", " "),
  ].flat();
  return `${parts.join("; ")}.${isTrial ? " Nothing was changed." : ""}`;
}
