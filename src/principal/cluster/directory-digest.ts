/** A digest of the workflow files of a member, by which members see whether they have the same. */
import { createHash } from "node:crypto";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";

/** Files that define workflows, settings and alerts. */
const RELEVANT = /\.(ya?ml|ics)$/;
/** Files that are read at a time. */
const AT_ONCE = 16;

interface Known {
  readonly stamp: string;
  readonly hash: string;
}

/** Reads only files that have changed since the last time. */
export class DirectoryDigest {
  readonly #root: string;
  #known = new Map<string, Known>();

  constructor(root: string) {
    this.#root = root;
  }

  /** The digest of all files now; null when the directory cannot be read. */
  async take(): Promise<string | null> {
    try {
      const found = await readdir(this.#root, { recursive: true });
      const paths = found.filter((path) => RELEVANT.test(path)).sort();
      const known = new Map<string, Known>();
      for (let start = 0; start < paths.length; start += AT_ONCE)
        await Promise.all(
          paths.slice(start, start + AT_ONCE).map(async (path) => {
            const file = await this.#hashOf(path);
            if (file !== undefined) known.set(path, file);
          }),
        );
      this.#known = known;
      const all = createHash("sha256");
      for (const path of paths) all.update(`${path}\0${known.get(path)?.hash ?? ""}\0`);
      return all.digest("hex").slice(0, 16);
    } catch {
      return null;
    }
  }

  async #hashOf(path: string): Promise<Known | undefined> {
    try {
      const file = join(this.#root, path);
      const { mtimeMs, size, ino, ctimeMs } = await stat(file);
      const stamp = `${mtimeMs} ${ctimeMs} ${size} ${ino}`;
      const before = this.#known.get(path);
      if (before?.stamp === stamp) return before;
      return {
        stamp,
        hash: createHash("sha256")
          .update(await readFile(file))
          .digest("hex"),
      };
    } catch {
      // It has gone, or is a directory with such a name.
      return undefined;
    }
  }
}
