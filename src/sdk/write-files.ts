/** Writes a set of files into a directory without overwriting files of others. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { CdktrError, errorMessage, UnprocessableError } from "../errors.ts";

/** What {@link writeFiles} did. */
export interface WrittenFiles {
  /** Paths inside the directory. */
  readonly written: readonly string[];
  /** Files that already had the same content. */
  readonly unchanged: readonly string[];
}

/**
 * Writes files that are missing; with `force`, also overwrites those with different content.
 * @param files path inside the directory to text
 * @throws UnprocessableError naming the existing files, before anything is written
 * @throws CdktrError when the directory cannot be written
 */
export function writeFiles(
  directory: string,
  files: Readonly<Record<string, string>>,
  options: { readonly force: boolean },
): WrittenFiles {
  const present = new Map(Object.keys(files).map((path) => [path, textOf(join(directory, path))]));
  const foreign = [...present].filter(([path, text]) => text !== undefined && text !== files[path]);
  if (foreign.length > 0 && !options.force) {
    throw new UnprocessableError(
      `${directory} has different files with these names: ${foreign.map(([path]) => path).join(", ")}.`,
      { hint: "Nothing was written. Choose another directory, or replace them with --force." },
    );
  }
  const written: string[] = [];
  const unchanged: string[] = [];
  for (const [path, text] of Object.entries(files)) {
    if (present.get(path) === text) {
      unchanged.push(path);
      continue;
    }
    try {
      mkdirSync(dirname(join(directory, path)), { recursive: true });
      writeFileSync(join(directory, path), text);
    } catch (error) {
      throw new CdktrError(`${join(directory, path)} cannot be written: ${errorMessage(error)}.`, {
        cause: error,
      });
    }
    written.push(path);
  }
  return { written, unchanged };
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw new CdktrError(`${path} cannot be read: ${errorMessage(error)}.`, { cause: error });
  }
}
