/** The files of the archive: where they are, what they are called, and how they get there. */
import { constants } from "node:fs";
import {
  copyFile,
  link,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  rmdir,
  stat,
  writeFile,
} from "node:fs/promises";
import { dirname, join } from "node:path";
import { archiveDirectory, carriedName } from "../../contract/archive-files.ts";

/** ms of a day. */
export const DAY_MS = 86_400_000;

/** A day of UTC as the names of directories have it. @param day days since 1970 */
export function dayName(day: number): string {
  return new Date(day * DAY_MS).toISOString().slice(0, 10);
}

/** The file of a part, relative to the archive. @param hash of its rows */
export function partFile(table: string, day: string, hash: string): string {
  return join(table, `day=${day}`, `part-${hash}.parquet`);
}

/** The names of parts, and those that they have until they are complete. */
const PART = /^[a-z_]+\/day=\d{4}-\d{2}-\d{2}\/part-[0-9a-f]{16}\.parquet(\.[0-9a-f]+\.tmp)?$/;

/** Whether a file of an archive, relative to it, has the name of a part. */
export function isPart(file: string): boolean {
  return PART.test(file) && !file.endsWith(".tmp");
}

/** Says which database the archive belongs to. */
const OWNER = "DATABASE";

/** The id of the database that an archive belongs to; null when there is no archive. */
export async function ownerOf(directory: string): Promise<string | null> {
  try {
    return (await readFile(join(directory, OWNER), "utf8")).trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}

/** Makes the directory of the archive of this database. */
export async function makeArchive(directory: string, id: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const staged = join(directory, `${OWNER}.tmp`);
  await writeFile(staged, `${id}\n`, { mode: 0o600 });
  await sync(staged);
  await rename(staged, join(directory, OWNER));
  await sync(directory);
  await sync(dirname(directory));
}

/** Gives a complete file its name. It is durable after {@link syncDirectories}. */
export async function publish(directory: string, staged: string, file: string): Promise<void> {
  await sync(staged);
  await rename(staged, join(directory, file));
}

/** Flushes the entries of the directories in which files were published. */
export async function syncDirectories(directory: string, files: readonly string[]): Promise<void> {
  const places = new Set<string>();
  for (const file of files)
    for (let at = dirname(join(directory, file)); at.length >= directory.length; at = dirname(at))
      places.add(at);
  for (const place of places) await sync(place);
}

/**
 * Puts the parts of a backup into a directory, under names without directories: as links where that is possible, because parts never
 * change.
 */
export async function carryParts(
  dbPath: string,
  parts: readonly { readonly file: string; readonly isMissing: boolean }[],
  target: string,
): Promise<void> {
  const directory = archiveDirectory(dbPath);
  if (directory === null) return;
  for (const { file, isMissing } of parts) {
    if (isMissing) continue;
    const [from, to] = [join(directory, file), join(target, carriedName(file))];
    await link(from, to).catch(() => copyFile(from, to, constants.COPYFILE_FICLONE));
  }
  const owner = await ownerOf(directory);
  if (owner !== null) await writeFile(join(target, carriedName(OWNER)), `${owner}\n`, { mode: 0o600 });
}

/** Removes parts; those that are gone are no error. */
export async function removeParts(directory: string, files: readonly string[]): Promise<void> {
  for (const file of files) {
    const path = join(directory, file);
    await rm(path, { force: true });
    await rmdir(dirname(path)).catch(() => {});
  }
}

/** Removes the directories of an archive as far as they are empty. */
export async function removeEmpty(directory: string): Promise<void> {
  for (const table of await readdir(directory).catch(() => []))
    await rmdir(join(directory, table)).catch(() => {});
  await rmdir(directory).catch(() => {});
}

/** The parts in an archive, complete or not. What is not called like one is none of the archive's business. */
export async function partsIn(directory: string): Promise<string[]> {
  const found: string[] = [];
  const within = (path: string) => readdir(path).catch(() => []);
  for (const table of await within(directory))
    for (const day of await within(join(directory, table)))
      for (const name of await within(join(directory, table, day))) {
        const file = join(table, day, name);
        if (PART.test(file)) found.push(file);
      }
  return found;
}

/** Size of a part, bytes; null if it is not there. */
export async function sizeOf(directory: string, file: string): Promise<number | null> {
  try {
    return (await stat(join(directory, file))).size;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return null;
    throw error;
  }
}

/** The event loop does not wait for it: on a busy disk, a large file takes seconds. */
async function sync(path: string): Promise<void> {
  const file = await open(path, "r");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}
