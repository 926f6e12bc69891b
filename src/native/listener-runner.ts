/** Locates the program that runs a user's listener: a file that Bun can run. */
import { join } from "node:path";
import { loadConfig } from "../config.ts";
import { EMBEDDED } from "./embedded.ts";
import { unpack } from "./unpack.ts";

/**
 * Its path: in a source checkout the source; in the executable a bundle in the private cache, unpacked and verified.
 * @throws NativeCacheError when the cache cannot be written
 */
export function listenerRunnerPath(): string {
  if (EMBEDDED === null) return join(import.meta.dir, "../sdk/typescript/runner.ts");
  return join(unpack(EMBEDDED.sdk, "sdk", loadConfig().values.CDKTR_CACHE_DIRECTORY), "runner.js");
}
