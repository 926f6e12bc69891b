import { searchPages } from "../../protocol/log-search.ts";
import { command } from "../support/command.ts";
import { principalNow, withPrincipal } from "../support/connect.ts";
import { askPatiently } from "../support/live-log.ts";
import { logArgs, readLogFilter, withRun } from "../support/log-filter.ts";
import { LogText } from "../support/log-text.ts";
import { say } from "../support/report.ts";
import { jsonLine, printLine } from "../support/stdout.ts";
import { tellUnknownNames } from "../support/unknown-names.ts";

export default command({
  meta: { name: "query", description: "Search the log lines of all runs" },
  args: logArgs,
  extras: {
    completes: { workflow: "workflow", run: "run" },
    details:
      "Prints lines oldest first, whether or not they are in the database yet. With --json each line is an object on a line of its own.",
    topic: "logs-and-history",
    examples: [
      { command: "cdktr logs query --workflow etl.daily --last 1h", does: "the last hour of a workflow" },
      { command: "cdktr logs query --run 0198c2a4 --level ERROR", does: "what one run wrote to stderr" },
      { command: "cdktr logs query --grep 'timeout|refused' --last 2d --verbose", does: "search everywhere" },
      {
        command: "cdktr logs query --since 2025-01-20T02:00:00Z --until 2025-01-20T03:00:00Z --json",
        does: "an hour, for a program",
      },
      { command: "cdktr logs query -n 100", does: "the newest 100 lines" },
    ],
  },
  async run({ args }) {
    // Mistakes are told before anything else; the time of the principal is known later.
    const { limit } = readLogFilter(args, Date.now());
    if (limit === 0) return;
    const text = new LogText(args.verbose ?? false);
    await withPrincipal(args, async (connection) => {
      const { search } = readLogFilter(args, principalNow());
      const complete = await withRun(connection, search, args.run);
      let found = false;
      for await (const { lines } of searchPages(askPatiently(connection), complete, limit)) {
        found ||= lines.length > 0;
        text.expect(lines);
        for (const line of lines) await printLine(args.json ? jsonLine(line) : text.format(line));
      }
      if (found || args.json) return;
      say("No log lines match.");
      await tellUnknownNames(connection.client, complete);
    });
  },
});
