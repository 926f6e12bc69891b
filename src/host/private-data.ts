/** Protects the data of this process from other users of the host: logs, parameters, and undelivered content. */
import { chmodSync, lstatSync, readdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { ConsolaInstance } from "consola";

/** What cdktr creates in a data directory, besides the history database. Secret keys that are not private are refused, not fixed. */
const OWN = /^(?:state\.db.*|principal\.pid|restore\.json|listeners|agents)$/;
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
  if (dbPath !== null) {
    const history = basename(dbPath);
    for (const name of namesIn(dirname(dbPath)))
      if (name === history || name.startsWith(`${history}.`)) places.push(join(dirname(dbPath), name));
  }
  const mended = places.flatMap((place) => mend(place));
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
