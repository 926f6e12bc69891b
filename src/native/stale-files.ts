/** Files that other versions of cdktr unpacked into the cache, and nobody uses any more. */
import { readdirSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";

/** What was used so lately may be about to be loaded, ms. */
const REST_MS = 3_600_000;
/** Directories that unpack.ts makes: by content, and while it works. */
const UNPACKED =
  /^(?:libzmq|libduckdb|sdk)-[0-9a-f]{16}$|^\.(?:libzmq|libduckdb|sdk)-\d+-[0-9a-f-]{36}(?:\.broken)?$|\.\d+\.stale$/;

/**
 * Removes them. A process has the libraries that it loaded in its memory map; where that cannot be seen, it keeps the files that
 * it has open even when their names are gone, and unpacks anew what it needs later.
 * @param cacheDirectory that of unpack.ts
 * @returns the directories that were removed
 */
export function removeStaleFiles(cacheDirectory: string, now: number = Date.now()): string[] {
  const resting = directoriesOf(cacheDirectory).filter((path) => {
    const stat = statSync(path, { throwIfNoEntry: false });
    return stat !== undefined && now - stat.mtimeMs > REST_MS;
  });
  if (resting.length === 0) return [];
  const maps = memoryMaps();
  return resting.filter((path) => !maps.some((map) => map.includes(`${path}/`)) && remove(path));
}

function directoriesOf(cacheDirectory: string): string[] {
  return namesIn(cacheDirectory)
    .filter((name) => UNPACKED.test(name))
    .map((name) => join(cacheDirectory, name));
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** What the processes of this host have mapped, as far as this user may see it. */
function memoryMaps(): string[] {
  return namesIn("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/maps`, "utf8");
      } catch {
        return "";
      }
    });
}

function remove(path: string): boolean {
  try {
    // Whole or not at all: nobody finds half of it under its name.
    const doomed = `${path}.${process.pid}.stale`;
    renameSync(path, doomed);
    rmSync(doomed, { recursive: true, force: true });
    return true;
  } catch {
    return false;
  }
}
