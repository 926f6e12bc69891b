/**
 * A backup consists of several files, which get their names one after the other. While they do, a file says so: a backup that was killed in
 * between is not taken for one, and the next to the same directory removes what it left.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { asWriteError, partialOf } from "./download.ts";
import { say } from "./report.ts";

/** Name of the file in the directory of the backup. */
export const UNFINISHED_BACKUP = "backup.unfinished";

/** Marks a backup as unfinished until the returned object is disposed of. @throws InvalidInputError when the directory cannot be written */
export function markUnfinished(directory: string): Disposable {
  const marker = join(directory, UNFINISHED_BACKUP);
  try {
    writeFileSync(marker, `${process.pid}\n`, { mode: 0o600, flush: true });
  } catch (error) {
    throw asWriteError(error, marker);
  }
  return { [Symbol.dispose]: () => rmSync(marker, { force: true }) };
}

/**
 * Removes what a killed backup left.
 * @param names the names of the files of a backup
 * @param further the name of a directory that may be part of it
 */
export function removeUnfinished(directory: string, names: readonly string[], further: string): void {
  const marker = join(directory, UNFINISHED_BACKUP);
  if (!existsSync(marker)) return;
  const pid = Number(readFileSync(marker, "utf8"));
  // Another one may be at work.
  if (existsSync(`/proc/${pid}`)) return;
  const places = names.map((name) => join(directory, name));
  // Each file gets its name when it is complete, those of the archive first: if all have theirs, so is the backup.
  if (!places.every((place) => existsSync(place))) {
    for (const place of places) {
      rmSync(place, { force: true });
      rmSync(partialOf(place, pid), { force: true });
    }
    rmSync(join(directory, further), { force: true, recursive: true });
    say(`A backup to ${directory} was killed before it was complete: what it left is removed.`);
  }
  rmSync(marker, { force: true });
}
