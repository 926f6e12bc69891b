/** Protects the data of this process from other users of the host: logs, parameters, and undelivered content. */
import { chmodSync, lstatSync, readdirSync } from "node:fs";
import { chmod, lstat, readdir } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import type { ConsolaInstance } from "consola";

/** What cdktr creates in a data directory, besides the history database. Secret keys that are not private are refused, not fixed. */
const OWN = /^(?:state\.db.*|principal\.pid|restore\.json|listeners|agents|blobs|blob-parts)$/;
const OTHERS = 0o077;
const MOST_NAMES = 3;

let inherited: number | undefined;

/**
 * Makes everything that this process creates from now on readable by the owner only. Fixes existing files and directories of cdktr that
 * others can access, and logs that.
 */
export function keepDataPrivate(directory: string, dbPath: string | null, log: ConsolaInstance): void {
  inherited ??= process.umask(OTHERS);
  const own = namesIn(directory).filter((name) => OWN.test(name));
  const places = own.map((name) => join(directory, name));
  if (dbPath !== null && resolve(dirname(dbPath)) === resolve(directory))
    places.push(...filesOf(dbPath, namesIn(directory)));
  else if (dbPath !== null) void keepHistoryPrivate(dbPath, log);
  tell(
    places.flatMap((place) => mend(place)),
    log,
  );
}

/** On a disk that may not respond, so that nobody waits for it. */
async function keepHistoryPrivate(dbPath: string, log: ConsolaInstance): Promise<void> {
  const mended: string[] = [];
  for (const path of filesOf(dbPath, await readdir(dirname(dbPath)).catch(() => []))) {
    try {
      const info = await lstat(path);
      if (!info.isFile() || (info.mode & OTHERS) === 0) continue;
      await chmod(path, info.mode & 0o700);
      mended.push(path);
    } catch {
      // As in mend.
    }
  }
  tell(mended, log);
}

/** The files of the history database among those of its directory. */
function filesOf(dbPath: string, names: readonly string[]): string[] {
  const history = basename(dbPath);
  const own = names.filter((name) => name === history || name.startsWith(`${history}.`));
  return own.map((name) => join(dirname(dbPath), name));
}

function tell(mended: readonly string[], log: ConsolaInstance): void {
  if (mended.length === 0) return;
  const more = mended.length - MOST_NAMES;
  log.warn(
    `Other users of this host had access to ${mended.slice(0, MOST_NAMES).join(", ")}${more > 0 ? ` and ${more} more files` : ""}. Now only the owner does.`,
  );
}

/** Starts a child process with the umask that this process was started with. */
export function withInheritedUmask<Child>(start: () => Child): Child {
  if (inherited === undefined) return start();
  process.umask(inherited);
  try {
    return start();
  } finally {
    process.umask(OTHERS);
  }
}

/** Removes the access of others to a file, or to a directory with its content. Returns the paths that were changed. */
function mend(path: string): string[] {
  try {
    const info = lstatSync(path);
    if (!info.isFile() && !info.isDirectory()) return [];
    const below = info.isDirectory() ? namesIn(path).flatMap((name) => mend(join(path, name))) : [];
    if ((info.mode & OTHERS) === 0) return below;
    chmodSync(path, info.mode & 0o700);
    return [path, ...below];
  } catch {
    // It is gone or belongs to another user; the latter fails when it is opened.
    return [];
  }
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
