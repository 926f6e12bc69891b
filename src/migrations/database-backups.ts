/**
 * Backups of a database file before its schema is migrated, next to it: `FILE.before-VERSION-TIME`, where VERSION is the cdktr that
 * migrates. A backup gets that name when it is complete and on disk, and is never written to again.
 */
import { existsSync, readdirSync, renameSync, rmSync, statfsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { VERSION } from "../build-facts.ts";
import { CdktrError } from "../errors.ts";
import { syncToDisk } from "../host/sync-to-disk.ts";

/** Number of backups to keep per file. */
export const KEPT_BACKUPS = 3;
/** Free space required beyond the backup itself, bytes: the migration needs space too. */
const RESERVE_BYTES = 16 * 1024 * 1024;

/** There is not enough space for the backup, so nothing is migrated. */
class NoRoomForBackupError extends CdktrError {}

/** Where the backup of `file` is written before it gets its name; leftovers of interrupted processes are removed. */
export function stagingPath(file: string): string {
  const start = `${basename(file)}.backup-unfinished-`;
  for (const name of readdirSync(dirname(file))) {
    if (!name.startsWith(start)) continue;
    // SQLite creates a journal next to it.
    const pid = name.slice(start.length).replace(/\D.*/, "");
    if (pid !== String(process.pid) && existsSync(`/proc/${pid}`)) continue;
    rmSync(join(dirname(file), name), { force: true });
  }
  return `${file}.backup-unfinished-${process.pid}`;
}

/**
 * Checks that a backup of `bytes` fits next to `file`.
 * @throws NoRoomForBackupError
 */
export function requireRoom(file: string, bytes: number): void {
  const { bavail, bsize } = statfsSync(dirname(file));
  const free = bavail * bsize;
  if (free >= bytes + RESERVE_BYTES) return;
  throw new NoRoomForBackupError(
    `${file} must be backed up before its schema is migrated for cdktr ${VERSION}, but there is not enough space: ` +
      `${megabytes(bytes + RESERVE_BYTES)} are needed in ${dirname(file)}, ${megabytes(free)} are free.`,
    {
      hint: "Nothing was changed. Free some space there, or keep using the previous version of cdktr.",
    },
  );
}

/**
 * Gives the finished backup its name.
 * @returns its path
 */
export function keepBackup(staged: string, file: string, now: Date = new Date()): string {
  syncToDisk(staged);
  const time = now.toISOString().replace(/[-:]|\.\d+/g, "");
  const wanted = `${file}.before-${VERSION}-${time}`;
  let path = wanted;
  for (let number = 2; existsSync(path); number++) path = `${wanted}-${number}`;
  renameSync(staged, path);
  syncToDisk(dirname(file));
  return path;
}

/** The backups of `file`, oldest first. */
export function backupsOf(file: string): string[] {
  const start = `${basename(file)}.before-`;
  const timeOf = (name: string) => /-(\d{8}T\d{6}Z(?:-\d+)?)$/.exec(name)?.[1];
  return readdirSync(dirname(file))
    .filter((name) => name.startsWith(start) && timeOf(name) !== undefined)
    .sort((a, b) => ((timeOf(a) ?? "") < (timeOf(b) ?? "") ? -1 : 1))
    .map((name) => join(dirname(file), name));
}

/** Removes all but the newest backups of `file`. */
export function pruneBackups(file: string): void {
  for (const path of backupsOf(file).slice(0, -KEPT_BACKUPS)) rmSync(path, { force: true });
}

function megabytes(bytes: number): string {
  return `${Math.ceil(bytes / 1e6)} MB`;
}
