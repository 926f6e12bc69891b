import { basename, join } from "node:path";
import { command } from "../support/command.ts";
import { withPrincipal } from "../support/connect.ts";
import { download, makeDirectory } from "../support/download.ts";
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
    const files = await withPrincipal(args, async (connection) => {
      const prepared = await connection.patiently((options) =>
        connection.client.call("EXPORTDB", {}, options),
      );
      try {
        const targets = prepared.files.map((file) => ({ file, path: join(args.dir, basename(file.name)) }));
        await download(connection, prepared.transfer_id, targets, force);
        return targets;
      } finally {
        await connection.client.call("DROPFILES", { transfer_id: prepared.transfer_id }).catch(() => {});
      }
    });
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
