import { CdktrError } from "../../errors.ts";
import { command } from "../support/command.ts";
import { withPrincipal } from "../support/connect.ts";
import { fetchPrepared, refuseExisting } from "../support/download.ts";
import { formatBytes } from "../support/format.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { printJson } from "../support/stdout.ts";

export default command({
  meta: { name: "backup", description: "Write a consistent copy of the database" },
  args: {
    file: { type: "positional", required: true, description: "Path of the copy, on this host" },
    force: { type: "boolean", description: "Replace the file if it exists" },
    "without-archive": {
      type: "boolean",
      description: "Leave out the days of the history that are in the archive",
    },
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    completes: { file: "file" },
    details:
      "The principal keeps running. The copy is a separate DuckDB file that any DuckDB client can open, with what is in the archive as rows of its tables; it gets its name only when it is complete and verified.",
    topic: "logs-and-history",
    examples: [
      { command: "cdktr db backup history-2025-01-20.duckdb", does: "a copy of everything up to now" },
    ],
  },
  async run({ args }) {
    refuseExisting(args.file, args.force ?? false);
    const [written] = await withPrincipal(args, (connection) =>
      fetchPrepared(
        connection,
        "BACKUPDB",
        () => args.file,
        args.force ?? false,
        args["without-archive"] === true,
      ),
    );
    if (written === undefined) throw new CdktrError("The principal did not prepare a backup.");
    const { file } = written;
    if (args.json) return printJson({ file: args.file, bytes: file.bytes, sha256: file.sha256 });
    say(`Wrote ${args.file} (${formatBytes(file.bytes)}).`);
  },
});
