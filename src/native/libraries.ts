import { dirname, join } from "node:path";

/** The shared libraries that cdktr carries. */
export type NativeLibrary = "libzmq" | "libduckdb";

/**
 * Path of a shared library that can be given to `dlopen`.
 * In a source checkout this is the file of the npm package.
 */
export function nativeLibraryPath(library: NativeLibrary): string {
  const arch = process.arch;
  if (library === "libzmq") {
    const root = dirname(Bun.resolveSync("zeromq/package.json", import.meta.dir));
    return join(root, `build/linux/${arch}/node/glibc-127-Release/addon.node`);
  }
  const root = dirname(Bun.resolveSync(`@duckdb/node-bindings-linux-${arch}/package.json`, import.meta.dir));
  return join(root, "libduckdb.so");
}
