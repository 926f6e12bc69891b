/** The compiled executable: built again only when a source is newer. */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { BINARY, BUN, ROOT } from "./paths.ts";
import { type Finished, run } from "./run.ts";

const SOURCES = ["src", "scripts/build.ts", "scripts/build", "package.json", "package-lock.json"];

/** Whether `dist/cdktr` is there and no source is newer. */
export function binaryIsFresh(): boolean {
  const built = statSync(BINARY, { throwIfNoEntry: false });
  if (built === undefined) return false;
  return SOURCES.every((source) => newest(join(ROOT, source)) <= built.mtimeMs);
}

/** Builds `dist/cdktr`. */
export function buildBinary(output: "inherit" | "capture"): Promise<Finished> {
  return run([BUN, "scripts/build.ts"], { cwd: ROOT, output });
}

/** The newest time of change of a file, or of the files below a directory; 0 when there is none. */
function newest(path: string): number {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return 0;
  if (!stat.isDirectory()) return stat.mtimeMs;
  let latest = 0;
  for (const entry of readdirSync(path)) {
    if (entry !== "__pycache__") latest = Math.max(latest, newest(join(path, entry)));
  }
  return latest;
}
