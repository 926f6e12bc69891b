/**
 * Copies of a database file that are made before its schema is migrated, beside it: `FILE.before-VERSION-TIME`, VERSION being
 * the cdktr that migrates. A copy appears under that name when it is complete and on the disk, and is never written to again.
 */
import { existsSync, readdirSync, renameSync, rmSync, statfsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { VERSION } from "../build-facts.ts";
import { CdktrError } from "../errors.ts";
import { syncToDisk } from "../host/sync-to-disk.ts";

/** So many of the newest copies of a file stay. */
export const KEPT_BACKUPS = 3;
/** What must be free beyond the copy itself, bytes: the migration needs room too. */
const RESERVE_BYTES = 16 * 1024 * 1024;

/** There is no room for the copy, so nothing is migrated. */
class NoRoomForBackupError extends CdktrError {}

/** Where the copy of `file` is written before it gets its name; what processes that were interrupted left there is removed. */
export function stagingPath(file: string): string {
  const start = `${basename(file)}.backup-unfinished-`;
  for (const name of readdirSync(dirname(file))) {
    if (!name.startsWith(start)) continue;
    // Sqlite puts a journal beside it.
    const pid = name.slice(start.length).replace(/\D.*/, "");
    if (pid !== String(process.pid) && existsSync(`/proc/${pid}`)) continue;
    rmSync(join(dirname(file), name), { force: true });
  }
  return `${file}.backup-unfinished-${process.pid}`;
}

/**
 * Makes sure that a copy of `bytes` fits beside `file`.
 * @throws NoRoomForBackupError
 */
export function requireRoom(file: string, bytes: number): void {
  const { bavail, bsize } = statfsSync(dirname(file));
  const free = bavail * bsize;
  if (free >= bytes + RESERVE_BYTES) return;
  throw new NoRoomForBackupError(
    `${file} must be copied before its schema is migrated for cdktr ${VERSION}, and there is no room: ` +
      `${megabytes(bytes + RESERVE_BYTES)} are needed in ${dirname(file)}, ${megabytes(free)} are free.`,
    {
      hint: "Nothing was changed. Free space there, or use the former version of cdktr until there is some.",
    },
  );
}

/**
 * Gives the finished copy its name.
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

/** The copies of `file`, oldest first. */
export function backupsOf(file: string): string[] {
  const start = `${basename(file)}.before-`;
  const timeOf = (name: string) => /-(\d{8}T\d{6}Z(?:-\d+)?)$/.exec(name)?.[1];
  return readdirSync(dirname(file))
    .filter((name) => name.startsWith(start) && timeOf(name) !== undefined)
    .sort((a, b) => ((timeOf(a) ?? "") < (timeOf(b) ?? "") ? -1 : 1))
    .map((name) => join(dirname(file), name));
}

/** Removes all but the newest copies of `file`. */
export function pruneBackups(file: string): void {
  for (const path of backupsOf(file).slice(0, -KEPT_BACKUPS)) rmSync(path, { force: true });
}

function megabytes(bytes: number): string {
  return `${Math.ceil(bytes / 1e6)} MB`;
}
