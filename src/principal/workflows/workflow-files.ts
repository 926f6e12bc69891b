/** Lists the files in the workflow directory. */
import type { BigIntStats } from "node:fs";
import { readdir, realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import { isWorkflowPath } from "../../workflow/workflow-id.ts";

/** What is under the directory. */
export interface Listing {
  /** Relative path of each workflow file, and a fingerprint that changes when the file does. Sorted by path. */
  readonly files: ReadonlyMap<string, string>;
  /** Directories that could not be read, with the reason. Their content is unknown. */
  readonly unreadable: ReadonlyMap<string, string>;
}

/**
 * Lists the workflow files under `root`, following links and ignoring hidden names.
 * @throws the error of reading `root` itself
 */
export async function listWorkflowFiles(root: string): Promise<Listing> {
  const files = new Map<string, string>();
  const unreadable = new Map<string, string>();
  const seen = new Set<string>([await realpath(root)]);
  const visit = async (directory: string): Promise<void> => {
    const names = (await readdir(join(root, directory))).sort();
    for (const name of names) {
      if (name.startsWith(".")) continue;
      const path = directory === "" ? name : `${directory}/${name}`;
      let info: BigIntStats;
      try {
        info = await stat(join(root, path), { bigint: true });
      } catch (error) {
        // Deleted since it was listed, or a dangling link: only the latter is reported, when it is read.
        if (isWorkflowPath(path) && !isMissing(error)) files.set(path, String(error));
        continue;
      }
      if (!info.isDirectory()) {
        if (isWorkflowPath(path)) files.set(path, `${info.ino} ${info.size} ${info.mtimeNs} ${info.ctimeNs}`);
        continue;
      }
      const real = await realpath(join(root, path)).catch(() => null);
      if (real === null || seen.has(real)) continue;
      seen.add(real);
      try {
        await visit(path);
      } catch (error) {
        unreadable.set(path, error instanceof Error ? error.message : String(error));
      }
    }
  };
  await visit("");
  return { files: new Map([...files].sort(([a], [b]) => (a < b ? -1 : 1))), unreadable };
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}
