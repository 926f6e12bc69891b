/** The plan: what setting up a project would change on disk. */
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { CdktrError, errorMessage, InvalidInputError } from "../errors.ts";
import type { Answers } from "./answers.ts";
import { projectFiles } from "./project-files.ts";

/** A file of the plan. */
export interface PlannedFile {
  readonly path: string;
  readonly what: string;
  readonly mode: number;
  readonly text: string;
  /** The current content; undefined when there is no such file. */
  readonly current: string | undefined;
  readonly state: "new" | "same" | "differs";
  /** What is there stays, and more is added. */
  readonly isExtended?: boolean;
}

/** What to do with a file that differs. */
export type Decision = "keep" | "overwrite";

/**
 * Compares the files of a project with what is on disk.
 * @throws InvalidInputError when something other than a file is in the way
 * @throws CdktrError when a file cannot be read
 */
export function planFiles(answers: Answers): PlannedFile[] {
  return projectFiles(answers).map((file) => {
    const { path, what, mode } = file;
    const current = textOf(join(answers.directory, path));
    const text = file.text(current);
    const state = current === undefined ? "new" : current === text ? "same" : "differs";
    return { path, what, mode, text, current, state, ...(file.isExtended ? { isExtended: true } : {}) };
  });
}

/** The files to write: new ones, and those that differ and are to be overwritten. */
export function filesToWrite(
  files: readonly PlannedFile[],
  decisions: ReadonlyMap<string, Decision>,
): PlannedFile[] {
  return files.filter(
    ({ path, state }) => state === "new" || (state === "differs" && decisions.get(path) === "overwrite"),
  );
}

function textOf(path: string): string | undefined {
  try {
    const status = statSync(path, { throwIfNoEntry: false });
    if (status === undefined) return undefined;
    if (!status.isFile()) {
      throw new InvalidInputError(`${path} is in the way: it is not a file.`, {
        hint: "Move it away, or choose another directory.",
      });
    }
    // A file that is extended must not lose a byte of its content.
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(readFileSync(path));
  } catch (error) {
    if (error instanceof CdktrError) throw error;
    if (error instanceof TypeError) {
      throw new InvalidInputError(`${path} is in the way: it is not UTF-8 text.`, {
        hint: "Save it as UTF-8, move it away, or choose another directory.",
      });
    }
    if ((error as NodeJS.ErrnoException).code === "ENOTDIR") {
      throw new InvalidInputError(`A directory on the way to ${path} is a file.`, {
        hint: "Move it away, or choose another directory.",
      });
    }
    throw new CdktrError(`${path} cannot be read: ${errorMessage(error)}.`, { cause: error });
  }
}
