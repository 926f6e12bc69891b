import { basename, join } from "node:path";
import { command } from "../support/command.ts";
import { withPrincipal } from "../support/connect.ts";
import { fetchPrepared, makeDirectory } from "../support/download.ts";
import { formatBytes, plural } from "../support/format.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { printJson } from "../support/stdout.ts";

export default command({
  meta: { name: "export", description: "Write the tables as Parquet files" },
  args: {
    dir: { type: "positional", required: true, description: "Directory for the files, on this host" },
    force: { type: "boolean", description: "Replace existing files" },
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    completes: { dir: "directory" },
    details: "One file per table, readable by DuckDB, pandas, Polars or Spark. The principal keeps running.",
    topic: "logs-and-history",
    examples: [{ command: "cdktr db export history/", does: "all tables into a directory" }],
  },
  async run({ args }) {
    const force = args.force ?? false;
    await makeDirectory(args.dir);
    const pathOf = ({ name }: { name: string }) => join(args.dir, basename(name));
    const files = await withPrincipal(args, (connection) =>
      fetchPrepared(connection, "EXPORTDB", pathOf, force),
    );
    if (args.json) {
      return printJson(
        files.map(({ file, path }) => ({
          file: path,
          bytes: file.bytes,
          rows: file.rows,
          sha256: file.sha256,
        })),
      );
    }
    for (const { file, path } of files) {
      const rows = file.rows === null ? "" : `${plural(file.rows, "row")}, `;
      say(`Wrote ${path} (${rows}${formatBytes(file.bytes)}).`);
    }
  },
});
