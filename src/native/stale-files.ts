/** Removes stale files that other versions of cdktr unpacked into the cache. */
import { readdirSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";

/** Anything used this recently may be about to be loaded, ms. */
const REST_MS = 3_600_000;
/** Directories created by unpack.ts: named by content, and temporary ones. */
const UNPACKED =
  /^(?:libzmq|libduckdb|sdk|lake)-[0-9a-f]{16}$|^\.(?:libzmq|libduckdb|sdk|lake)-\d+-[0-9a-f-]{36}(?:\.broken)?$|\.\d+\.stale$/;

/**
 * Removes stale directories. A library in use shows in the memory map of its process. Where that cannot be seen, removal is still
 * safe: the process keeps the files that it has open even without a name, and unpacks again what it needs later.
 * @param cacheDirectory the same as for unpack.ts
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

/** The files that processes of this host have mapped, as far as this user can see. */
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
    // Rename first, so that nobody ever finds a half-removed directory under its name.
    const doomed = `${path}.${process.pid}.stale`;
    renameSync(path, doomed);
    rmSync(doomed, { recursive: true, force: true });
    return true;
  } catch {
    return false;
  }
}
