/** A workflow file that a command is given by its path. */
import { basename, dirname, isAbsolute, join, relative, resolve } from "node:path";

/** Where a file is. */
export interface FilePlace {
  /** The root for ids: a workflow's id is its path relative to this. */
  readonly root: string;
  readonly relativePath: string;
  /** The path as the user would write it. */
  readonly shown: string;
}

/** The place of a file in the workflow directory, or else in its own directory. */
export function placeOfFile(path: string, workflowDirectory: string): FilePlace {
  const absolute = resolve(path);
  return placeBelow(dirname(absolute), basename(absolute), path, workflowDirectory);
}

/** The place of a file in the workflow directory, or else below `root`. */
export function placeBelow(
  root: string,
  relativePath: string,
  shown: string,
  workflowDirectory: string,
): FilePlace {
  const inside = relative(workflowDirectory, join(root, relativePath));
  const isInside = inside !== "" && !inside.startsWith("..") && !isAbsolute(inside);
  return isInside ? { root: workflowDirectory, relativePath: inside, shown } : { root, relativePath, shown };
}
