/** Why a shared library cannot be loaded. */
import { readFileSync, realpathSync } from "node:fs";
import { dirname } from "node:path";
import { type CdktrError, errorMessage } from "../errors.ts";
import { NativeCacheError } from "./unpack.ts";

/**
 * What to tell when a library could not be loaded.
 * @param path of the library
 */
export function loadError(path: string, error: unknown): CdktrError {
  const directory = dirname(path);
  if (isOnNoexecMount(directory)) {
    return new NativeCacheError(
      `${directory} is on a file system that is mounted noexec: the libraries in it cannot be loaded.`,
      {
        cause: error,
        hint: "Set CDKTR_CACHE_DIRECTORY to a directory on another one (findmnt -T DIR shows the options).",
      },
    );
  }
  return new NativeCacheError(`${path} cannot be loaded: ${errorMessage(error)}`, {
    cause: error,
    hint: "'cdktr doctor' checks what the libraries need of this host.",
  });
}

/** Whether the file system of a directory forbids programs and libraries. */
function isOnNoexecMount(directory: string): boolean {
  try {
    const path = realpathSync(directory);
    const mounts = readFileSync("/proc/self/mounts", "utf8")
      .split("\n")
      .map((line) => {
        const [, at = "", , options = ""] = line.split(" ");
        const place = at.replace(/\\([0-7]{3})/g, (_, octal: string) =>
          String.fromCharCode(Number.parseInt(octal, 8)),
        );
        return { place, options: options.split(",") };
      })
      .filter(({ place }) => place === "/" || path === place || path.startsWith(`${place}/`));
    // The last one mounted over the deepest place counts.
    const deepest = Math.max(...mounts.map(({ place }) => place.length));
    return mounts.findLast(({ place }) => place.length === deepest)?.options.includes("noexec") === true;
  } catch {
    return false;
  }
}
