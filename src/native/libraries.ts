/** Locates the shared libraries that cdktr loads. */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { loadConfig } from "../config.ts";
import { EMBEDDED } from "./embedded.ts";
import { unpack } from "./unpack.ts";

/** The shared libraries bundled with cdktr. */
export type NativeLibrary = "libzmq" | "libduckdb";

const MAIN_FILES: Readonly<Record<NativeLibrary, string>> = {
  libzmq: "libzmq.so",
  libduckdb: "libduckdb.so",
};

const directories = new Map<NativeLibrary, string>();

/**
 * Path of a shared library for `dlopen`: in a source checkout the file of its npm package; in the executable a file in the
 * private cache (`CDKTR_CACHE_DIRECTORY`), unpacked and verified on the first call.
 * @throws NativeCacheError when the cache cannot be written
 */
export function nativeLibraryPath(library: NativeLibrary): string {
  if (EMBEDDED === null) return packageFile(library);
  let directory = directories.get(library);
  // If someone clears the cache, that affects the next process, not this one.
  if (directory === undefined || !existsSync(join(directory, MAIN_FILES[library]))) {
    directory = unpack(EMBEDDED[library], library, loadConfig().values.CDKTR_CACHE_DIRECTORY);
    directories.set(library, directory);
  }
  return join(directory, MAIN_FILES[library]);
}

function packageFile(library: NativeLibrary): string {
  const { arch } = process;
  const packageDirectory = (name: string) =>
    dirname(Bun.resolveSync(`${name}/package.json`, import.meta.dir));
  return library === "libzmq"
    ? join(packageDirectory("zeromq"), `build/linux/${arch}/node/glibc-127-Release/addon.node`)
    : join(packageDirectory(`@duckdb/node-bindings-linux-${arch}`), "libduckdb.so");
}
