import { Database, SQLiteError } from "bun:sqlite";
import { chmodSync, copyFileSync, existsSync, mkdirSync, renameSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { CdktrError, errorMessage, InvalidInputError } from "../errors.ts";
import { syncToDisk } from "../host/sync-to-disk.ts";
import { command } from "./support/command.ts";
import { settings } from "./support/connect.ts";
import { dataDirArg } from "./support/key-store.ts";
import { say } from "./support/report.ts";

export default command({
  meta: { name: "restore", description: "Put a backup of the principal's state and history in place" },
  args: {
    directory: { type: "positional", required: true, description: "Directory that 'cdktr backup' wrote" },
    ...dataDirArg,
  },
  extras: {
    completes: { directory: "directory" },
    exit: { 1: "A principal is running", 4: "The directory has no backup" },
    details:
      "Run this on the principal's host, as its user, while the principal is stopped. What was in place is kept beside it, in before-restore-TIME. Runs that were triggered after the backup are gone: agents that execute them are told to stop.",
    topic: "operations",
    examples: [{ command: "cdktr restore /srv/backups/cdktr-2025-01-20", does: "go back to that backup" }],
  },
  run({ args }) {
    const { values: config } = settings(undefined, { CDKTR_APP_DATA_DIRECTORY: args["data-dir"] });
    const targets = [
      { from: join(args.directory, "state.db"), to: join(config.CDKTR_APP_DATA_DIRECTORY, "state.db") },
      { from: join(args.directory, "app.db"), to: config.CDKTR_DB_PATH },
    ];
    for (const { from } of targets) {
      if (!existsSync(from))
        throw new InvalidInputError(`${from} does not exist: ${args.directory} is no backup.`, {
          hint: "Name a directory that 'cdktr backup DIR' wrote.",
        });
    }
    mkdirSync(config.CDKTR_APP_DATA_DIRECTORY, { recursive: true, mode: 0o700 });
    requireStopped(targets[0]?.to ?? "");
    const time = new Date().toISOString().replace(/[-:]|\.\d+/g, "");
    for (const { from, to } of targets) {
      mkdirSync(dirname(to), { recursive: true, mode: 0o700 });
      // Complete under another name first: an interrupted restore leaves what was there, or what is new.
      const staged = `${to}.restoring`;
      copyFileSync(from, staged);
      chmodSync(staged, 0o600);
      syncToDisk(staged);
      const aside = join(dirname(to), `before-restore-${time}`);
      for (const end of ["", "-wal", "-shm", ".wal"]) {
        if (!existsSync(to + end)) continue;
        mkdirSync(aside, { recursive: true, mode: 0o700 });
        renameSync(to + end, join(aside, basename(to) + end));
        if (end === "") say(`Kept ${to} in ${aside}.`);
      }
      renameSync(staged, to);
      syncToDisk(dirname(to));
      say(`Restored ${to}.`);
    }
    say("Start the principal: it goes on from the moment of the backup.");
  },
});

/** @throws CdktrError when a principal has the state open */
function requireStopped(state: string): void {
  if (!existsSync(state)) return;
  let database: Database | undefined;
  try {
    database = new Database(state, { readwrite: true, create: false });
    database.run("PRAGMA busy_timeout = 0");
    database.run("BEGIN IMMEDIATE");
    database.run("UPDATE identity SET taken_id = taken_id");
    database.run("ROLLBACK");
  } catch (error) {
    // A damaged file is what a restore is for.
    if (error instanceof SQLiteError && /^SQLITE_(CORRUPT|NOTADB)/.test(error.code ?? "")) return;
    throw new CdktrError(
      `A principal is running on ${dirname(state)} (${errorMessage(error)}): nothing was restored.`,
      {
        cause: error,
        hint: "Stop it first, for example with 'systemctl stop cdktr-principal'.",
      },
    );
  } finally {
    database?.close();
  }
}
