/**
 * Writes a project atomically, whenever the process dies.
 *
 * Everything is first written into a hidden staging directory and flushed to disk.
 * - New project directory: the staging directory is its sibling, and one rename makes the complete project appear.
 * - Existing project directory: the staging directory is inside it. A file `commit` in it, created by a rename, is the point of no
 *   return: before it, nothing has happened; after it, the files are moved to their places one by one, and the next `cdktr init` that
 *   finds the staging directory moves the rest.
 *
 * The name of the staging directory contains the process that owns it, so leftovers of a dead process can be recognized.
 */
import {
  closeSync,
  cpSync,
  existsSync,
  fchownSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { CdktrError, errorMessage, UnprocessableError } from "../errors.ts";
import { syncToDisk } from "../host/sync-to-disk.ts";

const PREFIX = ".cdktr-init-";
const COMMIT = "commit";
const TREE = "tree";

/** A project that is being written. */
export class Staging {
  /** The directory that stands for the project until the commit. */
  readonly root: string;
  readonly #target: string;
  /** The staging directory. */
  readonly #top: string;
  /** Undefined when the project's directory exists already. */
  readonly #appears: string | undefined;
  readonly #step: (name: string) => void;

  private constructor(target: string, step: (name: string) => void) {
    this.#target = target;
    this.#step = step;
    const present = nearestDirectory(target);
    this.#top = join(present, `${PREFIX}${process.pid}-${startOf(process.pid)}`);
    if (present === target) {
      this.#appears = undefined;
      this.root = join(this.#top, TREE);
    } else {
      const [first = "", ...rest] = relative(present, target).split("/");
      this.#appears = join(present, first);
      this.root = join(this.#top, ...rest);
    }
  }

  /**
   * Begins to write a project at `target` (absolute). Leftovers of an interrupted process are completed or removed first.
   * @param step for tests: called with the name of each step before it
   * @throws UnprocessableError when another process is writing there
   * @throws CdktrError when the directory cannot be written
   */
  static open(target: string, step: (name: string) => void = () => {}): Staging {
    recover(target);
    const staging = new Staging(target, step);
    try {
      rmSync(staging.#top, { recursive: true, force: true });
      step("make the hidden directory");
      mkdirSync(staging.root, { recursive: true, mode: 0o755 });
    } catch (error) {
      throw failure(staging.#top, error);
    }
    return staging;
  }

  /** Writes a file of the project; `owner` is its new owner. */
  write(
    path: string,
    text: string,
    mode: number,
    owner?: { readonly uid: number; readonly gid: number },
  ): void {
    const place = join(this.root, path);
    this.#step(`write ${path}`);
    try {
      mkdirSync(dirname(place), { recursive: true, mode: 0o755 });
      const descriptor = openSync(place, "wx", mode);
      try {
        writeFileSync(descriptor, text);
        // By descriptor: the owner of the directory could replace the path with something else.
        if (owner !== undefined) fchownSync(descriptor, owner.uid, owner.gid);
        fsyncSync(descriptor);
      } finally {
        closeSync(descriptor);
      }
    } catch (error) {
      throw failure(place, error);
    }
  }

  /** Creates a directory of the project that only its owner can access. */
  makePrivateDirectory(path: string): void {
    const place = join(this.root, path);
    try {
      mkdirSync(place, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw failure(place, error);
    }
  }

  /**
   * Moves everything into place.
   * @throws UnprocessableError when the directory was created by someone else in the meantime
   */
  commit(): void {
    try {
      this.#commit();
    } catch (error) {
      if (existsSync(join(this.#top, COMMIT))) {
        throw new CdktrError(`Not all files have been moved into place: ${errorMessage(error)}`, {
          cause: error,
          hint: `When that is fixed, run 'cdktr init' for ${this.#target} again: it moves the rest first.`,
        });
      }
      throw error instanceof CdktrError ? error : failure(this.#target, error);
    }
  }

  #commit(): void {
    for (const directory of directoriesIn(this.root)) syncToDisk(directory);
    if (this.#appears !== undefined) {
      this.#step("rename");
      if (existsSync(this.#appears)) {
        throw new UnprocessableError(`${this.#appears} was created in the meantime: nothing was written.`, {
          hint: "Run the command again.",
        });
      }
      renameSync(this.#top, this.#appears);
      syncToDisk(dirname(this.#appears));
      return;
    }
    this.#step("commit");
    const marker = join(this.#top, `${COMMIT}.new`);
    writeFileSync(marker, `${this.#target}\n`, { flush: true });
    renameSync(marker, join(this.#top, COMMIT));
    syncToDisk(this.#top);
    moveTree(this.#top, this.#target, this.#step);
  }

  /** Removes what was written; after a commit this is a no-op. */
  discard(): void {
    if (existsSync(join(this.#top, COMMIT))) return;
    rmSync(this.#top, { recursive: true, force: true });
  }
}

/**
 * Completes or removes what an interrupted process left for a project at `target`.
 * @returns whether something was completed
 * @throws UnprocessableError when that process is still running
 */
export function recover(target: string): boolean {
  const directory = nearestDirectory(target);
  let completed = false;
  for (const name of readdirSync(directory)) {
    if (!name.startsWith(PREFIX)) continue;
    const [pid = "", start = ""] = name.slice(PREFIX.length).split("-");
    if (Number(pid) !== process.pid && start !== "" && startOf(Number(pid)) === start) {
      // It belongs to another project in the same directory.
      if (!existsSync(join(directory, name, TREE))) continue;
      throw new UnprocessableError(`Another 'cdktr init' (process ${pid}) is writing to ${directory}.`, {
        hint: "Wait until it is done.",
      });
    }
    const top = join(directory, name);
    const marker = statSync(join(top, COMMIT), { throwIfNoEntry: false });
    if (marker !== undefined) {
      moveTree(top, directory, () => {}, marker.mtimeMs);
      completed = true;
    } else rmSync(top, { recursive: true, force: true });
  }
  return completed;
}

/**
 * Moves what is left in the tree to its place; idempotent, so it can be restarted at any time. Files that someone created there after
 * `committedMs` are left alone.
 */
function moveTree(
  top: string,
  target: string,
  step: (name: string) => void,
  committedMs = Number.POSITIVE_INFINITY,
): void {
  const tree = join(top, TREE);
  if (existsSync(tree)) {
    // Flush to disk together at the end: this keeps the time between the first and the last rename minimal.
    const changed = moveInside(tree, target, step, committedMs);
    for (const directory of changed) syncToDisk(directory);
  }
  step("remove the hidden directory");
  // Remove the marker last: without it, the rest would count as uncommitted. It is empty by now anyway.
  rmSync(tree, { recursive: true, force: true });
  rmSync(top, { recursive: true, force: true });
}

/**
 * Moves the content of a directory into another one; subdirectories that are missing there are moved as a whole.
 * @returns the directories that have changed
 */
function moveInside(from: string, to: string, step: (name: string) => void, committedMs: number): string[] {
  const deeper: string[] = [];
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const place = join(to, entry.name);
    const present = statSync(place, { throwIfNoEntry: false });
    if (entry.isDirectory() && present !== undefined) {
      deeper.push(...moveInside(join(from, entry.name), place, step, committedMs));
      continue;
    }
    if (present !== undefined && present.mtimeMs > committedMs) continue;
    step(`move ${entry.name}`);
    move(join(from, entry.name), place);
  }
  return [to, ...deeper];
}

function move(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EXDEV") throw error;
    // The destination is a link to another file system.
    const beside = join(dirname(to), `${PREFIX}${basename(to)}`);
    cpSync(from, beside, { recursive: true, preserveTimestamps: true });
    renameSync(beside, to);
    rmSync(from, { recursive: true });
  }
}

/** A directory and all its subdirectories, parents first. */
function directoriesIn(root: string): string[] {
  const inside = readdirSync(root, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return [root, ...inside.flatMap((entry) => directoriesIn(join(root, entry.name)))];
}

function nearestDirectory(path: string): string {
  for (let at = path; ; at = dirname(at)) {
    const status = statOf(at);
    if (status?.isDirectory()) return at;
    if (status !== undefined || at === dirname(at)) {
      throw new UnprocessableError(`${at} is not a directory.`, { hint: "Choose another one." });
    }
  }
}

function statOf(path: string) {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    // A file is in the way of the path; the search continues further up.
    if ((error as NodeJS.ErrnoException).code === "ENOTDIR") return undefined;
    throw failure(path, error);
  }
}

/** Start time of a process, in clock ticks since boot: together with the pid it identifies a process uniquely. */
function startOf(pid: number): string {
  try {
    const status = readFileSync(`/proc/${pid}/stat`, "utf8");
    return status.slice(status.lastIndexOf(")") + 2).split(" ")[19] ?? "";
  } catch {
    return "";
  }
}

function failure(path: string, error: unknown): CdktrError {
  const { code, message } = error as NodeJS.ErrnoException;
  return new CdktrError(`${path} cannot be written: ${code ?? message}.`, {
    cause: error,
    hint: "Nothing was written. Is there free space on the disk, and may this user write there?",
  });
}
