import { join } from "node:path";
import { command } from "./support/command.ts";
import { withPrincipal } from "./support/connect.ts";
import { download, makeDirectory, refuseExisting } from "./support/download.ts";
import { formatBytes } from "./support/format.ts";
import { jsonArg, principalArg } from "./support/globals.ts";
import { say } from "./support/report.ts";
import { printJson } from "./support/stdout.ts";

export default command({
  meta: { name: "backup", description: "Back up the principal's state and history while it runs" },
  args: {
    directory: { type: "positional", required: true, description: "Directory for the backup, on this host" },
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    completes: { directory: "directory" },
    details:
      "Writes state.db (runs, queue, schedules' positions, idempotency keys) and app.db (the history) as of one moment into the directory. Keys, settings and workflow files are not part of it.",
    topic: "operations",
    examples: [{ command: "cdktr backup /srv/backups/cdktr-2025-01-20", does: "everything up to now" }],
  },
  async run({ args }) {
    for (const name of ["state.db", "app.db"]) refuseExisting(join(args.directory, name), false);
    await makeDirectory(args.directory);
    const files = await withPrincipal(args, async (connection) => {
      const prepared = await connection.patiently((options) => connection.client.call("BACKUP", {}, options));
      try {
        for (const file of prepared.files)
          await download(connection, prepared.transfer_id, file, join(args.directory, file.name), false);
        return prepared.files;
      } finally {
        await connection.client.call("DROPFILES", { transfer_id: prepared.transfer_id }).catch(() => {});
      }
    });
    if (args.json) return printJson(files.map(({ name, bytes, sha256 }) => ({ file: name, bytes, sha256 })));
    for (const { name, bytes } of files) say(`Wrote ${join(args.directory, name)} (${formatBytes(bytes)}).`);
    say("To put it in place: stop the principal, then 'cdktr restore DIR'.");
  },
});
