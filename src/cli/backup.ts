import { mkdirSync, rmdirSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { ARCHIVE_IN_BACKUP, pathInBackup } from "../contract/archive-files.ts";
import { markUnfinished, removeUnfinished } from "./support/backup-marker.ts";
import { command } from "./support/command.ts";
import { withPrincipal } from "./support/connect.ts";
import { fetchPrepared, makeDirectory, refuseExisting } from "./support/download.ts";
import { formatBytes, plural } from "./support/format.ts";
import { jsonArg, principalArg } from "./support/globals.ts";
import { say } from "./support/report.ts";
import { printJson } from "./support/stdout.ts";

/** The files of a backup. */
const FILES = ["state.db", "app.db"];

export default command({
  meta: { name: "backup", description: "Back up the principal's state and history while it runs" },
  args: {
    directory: { type: "positional", required: true, description: "Directory for the backup, on this host" },
    "without-archive": {
      type: "boolean",
      description: "Leave out the days of the history that are in the archive",
    },
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    completes: { directory: "directory" },
    details:
      "Writes state.db (runs, queue, schedules' positions, idempotency keys) and app.db (the history) as of one moment into the directory, with the files of the archive in app.db.archive. Keys, settings and workflow files are not part of it. Secrets for tasks are, but sealed: copy the file with their key, secrets.key in the data directory, to another place. Files that travel with runs (cdktr docs files) are not part of it either: copy the directory blobs, or the bucket, after the backup.",
    topic: "operations",
    examples: [{ command: "cdktr backup /srv/backups/cdktr-2025-01-20", does: "everything up to now" }],
  },
  async run({ args }) {
    removeUnfinished(args.directory, FILES, ARCHIVE_IN_BACKUP);
    for (const name of [...FILES, ARCHIVE_IN_BACKUP]) refuseExisting(join(args.directory, name), undefined);
    const made = await makeDirectory(args.directory);
    const pathOf = ({ name }: { name: string }) => {
      const archived = pathInBackup(name);
      if (archived === undefined) return join(args.directory, basename(name));
      const path = join(args.directory, archived);
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      return path;
    };
    const { written, hasSecrets, files } = await withPrincipal(args, async (connection) => {
      using _ = markUnfinished(args.directory);
      const withoutArchive = args["without-archive"] === true;
      const written = await fetchPrepared(connection, "BACKUP", pathOf, undefined, withoutArchive);
      // An older principal has none.
      const secrets = await connection.client.listSecrets().catch(() => []);
      return { written, hasSecrets: secrets.length > 0, files: connection.info.files };
    }).catch((error) => {
      removeEmpty(args.directory, made);
      throw error;
    });
    if (args.json)
      return printJson(written.map(({ file: { name, bytes, sha256 } }) => ({ file: name, bytes, sha256 })));
    const archived = written.filter(({ file }) => pathInBackup(file.name) !== undefined);
    for (const { file, path } of written)
      if (pathInBackup(file.name) === undefined) say(`Wrote ${path} (${formatBytes(file.bytes)}).`);
    if (archived.length > 0) {
      const bytes = archived.reduce((sum, { file }) => sum + file.bytes, 0);
      say(
        `Wrote ${join(args.directory, ARCHIVE_IN_BACKUP)} (${plural(archived.length, "file")}, ${formatBytes(bytes)}).`,
      );
    } else if (args["without-archive"])
      say(
        `The archive is not in it. Copy its directory, which is beside the database, to ${join(args.directory, ARCHIVE_IN_BACKUP)}: 'cdktr restore' needs it there.`,
      );
    if (hasSecrets)
      say(
        "The secrets for tasks are in it, sealed. Their key is not: keep a copy of secrets.key (in the principal's data directory, or CDKTR_SECRETS_KEY_FILE) in another place.",
      );
    if (files !== undefined && files.archives > 0)
      say(
        `The files of runs (${formatBytes(files.bytes)}) are not in it: copy ${files.place}, too, after the backup. A run whose files are missing says so.`,
      );
    say("To put it in place: stop the principal, then 'cdktr restore DIR'.");
  },
});

/** Removes a directory and its parents up to `top`, the topmost that this command made, as far as they are empty. */
function removeEmpty(directory: string, top: string | undefined): void {
  if (top === undefined) return;
  try {
    for (let path = resolve(directory); path.length >= resolve(top).length; path = dirname(path))
      rmdirSync(path);
  } catch {
    // Something is in it, or it is gone; why the backup failed matters more.
  }
}
