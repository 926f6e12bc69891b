import { Database, SQLiteError } from "bun:sqlite";
import { chmodSync, copyFileSync, existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { CdktrError, errorMessage, InvalidInputError } from "../errors.ts";
import { syncToDisk } from "../host/sync-to-disk.ts";
import { IN_MEMORY } from "../storage/duckdb.ts";
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
    const data = config.CDKTR_APP_DATA_DIRECTORY;
    const state = join(data, "state.db");
    const targets = [{ from: join(args.directory, "state.db"), to: state }];
    if (config.CDKTR_DB_PATH === IN_MEMORY)
      say("The history is not restored: CDKTR_DB_PATH keeps it in memory.");
    else targets.push({ from: join(args.directory, "app.db"), to: config.CDKTR_DB_PATH });
    for (const { from } of targets) {
      if (!existsSync(from))
        throw new InvalidInputError(`${from} does not exist: ${args.directory} is no backup.`, {
          hint: "Name a directory that 'cdktr backup DIR' wrote.",
        });
    }
    mkdirSync(data, { recursive: true, mode: 0o700 });
    requireStopped(state);
    const time = new Date().toISOString().replace(/[-:]|\.\d+/g, "");
    // All complete under other names first: an error, or an interruption up to there, leaves everything as it was.
    for (const { from, to } of targets) {
      mkdirSync(dirname(to), { recursive: true, mode: 0o700 });
      const staged = stagedFor(to);
      copyFileSync(from, staged);
      chmodSync(staged, 0o600);
      if (to === state) markAsRestored(staged);
      syncToDisk(staged);
    }
    for (const { to } of targets) {
      const aside = join(dirname(to), `before-restore-${time}`);
      for (const end of ["", "-wal", "-shm", ".wal"]) {
        if (!existsSync(to + end)) continue;
        mkdirSync(aside, { recursive: true, mode: 0o700 });
        renameSync(to + end, join(aside, basename(to) + end));
        if (end === "") say(`Kept ${to} in ${aside}.`);
      }
      renameSync(stagedFor(to), to);
      syncToDisk(dirname(to));
      say(`Restored ${to}.`);
    }
    // A killed principal leaves it, to tell whether its write-ahead log is missing.
    rmSync(join(data, "principal.pid"), { force: true });
    say("Start the principal: it goes on from the moment of the backup.");
  },
});

function stagedFor(path: string): string {
  return `${path}.restoring`;
}

/**
 * Renames the sequence of follow-ups: listeners have positions from after the backup, and would take new numbers for handled ones.
 * @throws CdktrError when it is not the state of a principal
 */
function markAsRestored(state: string): void {
  const database = new Database(state, { readwrite: true, create: false });
  try {
    database.run("PRAGMA journal_mode = DELETE");
    const hasFeed = database.query("SELECT 1 FROM sqlite_schema WHERE name = 'follow_up_feed'").get();
    if (hasFeed === null) return;
    database.run(
      "UPDATE follow_up_feed SET id = substr(id || '.', 1, instr(id || '.', '.')) || lower(hex(randomblob(8)))",
    );
  } catch (error) {
    throw new CdktrError(`${state} is damaged (${errorMessage(error)}): nothing was restored.`, {
      cause: error,
    });
  } finally {
    database.close();
  }
}

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
