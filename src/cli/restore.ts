import { Database, SQLiteError } from "bun:sqlite";
import {
  accessSync,
  chmodSync,
  constants,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import type { Config } from "../config.ts";
import { ARCHIVE_IN_BACKUP, archiveDirectory } from "../contract/archive-files.ts";
import { IN_MEMORY } from "../contract/history.ts";
import { CdktrError, errorMessage, InvalidInputError } from "../errors.ts";
import { syncToDisk } from "../host/sync-to-disk.ts";
import { asideFor, exchange, finishRestore, isRestoring, stagedFor } from "../storage/restore-journal.ts";
import { audited } from "./support/audited.ts";
import { UNFINISHED_BACKUP } from "./support/backup-marker.ts";
import { command } from "./support/command.ts";
import { settings } from "./support/connect.ts";
import { asWriteError } from "./support/download.ts";
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
    exit: { 1: "A principal is running", 4: "The directory has no backup, or it cannot be put in place" },
    details:
      "Run this on the principal's host, as its user, while the principal is stopped. What was in place is kept beside it, in before-restore-TIME. Runs that were triggered after the backup are gone: agents that execute them are told to stop.",
    topic: "operations",
    examples: [{ command: "cdktr restore /srv/backups/cdktr-2025-01-20", does: "go back to that backup" }],
  },
  run({ args }) {
    const { values } = settings(undefined, { CDKTR_APP_DATA_DIRECTORY: args["data-dir"] });
    const deed = { action: "state.restore", subject: resolve(args.directory) };
    audited(resolve(values.CDKTR_APP_DATA_DIRECTORY), deed, () => restore(args.directory, values));
  },
});

function restore(directory: string, config: Config): void {
  const data = resolve(config.CDKTR_APP_DATA_DIRECTORY);
  const state = join(data, "state.db");
  const targets = [{ from: join(directory, "state.db"), to: state }];
  if (config.CDKTR_DB_PATH === IN_MEMORY)
    say("The history is not restored: CDKTR_DB_PATH keeps it in memory.");
  else targets.push({ from: join(directory, "app.db"), to: resolve(config.CDKTR_DB_PATH) });
  const archive = join(directory, ARCHIVE_IN_BACKUP);
  const archiveTo = archiveDirectory(resolve(config.CDKTR_DB_PATH));
  for (const { from } of targets) requireReadable(from, directory);
  writing(data, () => mkdirSync(data, { recursive: true, mode: 0o700 }));
  requireStopped(state);
  if (targets.length > 1 && archiveTo !== null && existsSync(archive))
    targets.push({ from: archive, to: archiveTo });
  const time = new Date().toISOString().replace(/[-:]|\.\d+/g, "");
  const aside = `before-restore-${time}`;
  const files = targets.map(({ to }) => to);
  let replaced: string[];
  finishRestore(data, say);
  try {
    // All complete under other names first: an error, or an interruption up to there, leaves everything as it was.
    for (const { from, to } of targets) writing(to, () => stage(from, to, to === state));
    // That may have taken long.
    requireStopped(state);
    replaced = exchange(data, files, aside, asWriteError);
  } finally {
    if (!isRestoring(data)) for (const file of files) removeStaged(file);
  }
  for (const file of files) {
    if (replaced.includes(file)) say(`Kept ${file} in ${dirname(asideFor(file, aside))}.`);
    say(`Restored ${file}.`);
  }
  say("Start the principal: it goes on from the moment of the backup.");
}

/** Copies a file of the backup to beside the place where it belongs. */
function stage(from: string, to: string, isState: boolean): void {
  mkdirSync(dirname(to), { recursive: true, mode: 0o700 });
  const staged = stagedFor(to);
  if (statSync(from).isDirectory()) {
    stageDirectory(from, staged);
    return;
  }
  copyFileSync(from, staged);
  chmodSync(staged, 0o600);
  if (isState) markAsRestored(staged, from);
  syncToDisk(staged);
}

/** The files of the archive, each flushed to disk. */
function stageDirectory(from: string, to: string): void {
  mkdirSync(to, { recursive: true, mode: 0o700 });
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) stageDirectory(source, target);
    else if (entry.isFile()) {
      copyFileSync(source, target);
      chmodSync(target, 0o600);
      syncToDisk(target);
    }
  }
  syncToDisk(to);
}

/** Removes what {@link stage} left. */
function removeStaged(to: string): void {
  for (const end of ["", "-journal", "-wal", "-shm"]) {
    try {
      rmSync(stagedFor(to) + end, { force: true, recursive: true });
    } catch {
      // A failure here must not hide why the restore failed.
    }
  }
}

/** @throws InvalidInputError that tells why `path` cannot be written, when that is the reason of an error */
function writing(path: string, work: () => void): void {
  try {
    work();
  } catch (error) {
    throw asWriteError(error, path);
  }
}

/** @throws InvalidInputError when the backup lacks the file, or this user may not read it */
function requireReadable(file: string, directory: string): void {
  try {
    accessSync(file, constants.R_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") {
      const isUnfinished = existsSync(join(directory, UNFINISHED_BACKUP));
      const why = isUnfinished
        ? `the backup in ${directory} was killed before it was complete`
        : `${directory} is no backup`;
      throw new InvalidInputError(`${file} does not exist: ${why}.`, {
        hint: "Name a directory that 'cdktr backup DIR' wrote.",
      });
    }
    throw new InvalidInputError(`${file} cannot be read (${errorMessage(error)}): nothing was restored.`, {
      cause: error,
      hint: "Let this user read the backup.",
    });
  }
}

/** SQLite's codes for a file that is not, or no longer, a principal's state. */
const DAMAGED = /^SQLITE_(CORRUPT|NOTADB|ERROR)/;

/**
 * Renames the sequence of follow-ups: listeners have positions from after the backup, and would take new numbers for handled ones.
 * @throws CdktrError when it is not the state of a principal
 */
function markAsRestored(state: string, backup: string): void {
  const database = new Database(state, { readwrite: true, create: false });
  try {
    database.run("PRAGMA journal_mode = DELETE");
    const hasFeed = database.query("SELECT 1 FROM sqlite_schema WHERE name = 'follow_up_feed'").get();
    if (hasFeed === null) return;
    database.run(
      "UPDATE follow_up_feed SET id = substr(id || '.', 1, instr(id || '.', '.')) || lower(hex(randomblob(8)))",
    );
  } catch (error) {
    if (!(error instanceof SQLiteError && DAMAGED.test(error.code ?? ""))) throw error;
    throw new CdktrError(`${backup} is damaged (${errorMessage(error)}): nothing was restored.`, {
      cause: error,
    });
  } finally {
    database.close();
  }
}

/**
 * @throws CdktrError when a principal has the state open
 * @throws InvalidInputError when the state cannot be written
 */
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
    const code = error instanceof SQLiteError ? (error.code ?? "") : "";
    // A damaged file is what a restore is for.
    if (DAMAGED.test(code)) return;
    if (!code.startsWith("SQLITE_BUSY")) throw asWriteError(error, state);
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
