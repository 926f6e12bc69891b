/**
 * Writes a project at once or not at all, whenever the process dies.
 *
 * Everything is written into a hidden directory first, and flushed to the disk.
 * - A project whose directory is new: the hidden directory stands where that directory is to be, and one rename makes it appear, whole.
 * - A project in a directory that is there: the hidden directory stands in it. A file `commit` in it, made by a rename, is the point of no
 *   return: before, nothing has happened; after, files are moved to their places one by one, and who finds the directory left behind
 *   (the next `cdktr init` there) moves the rest.
 *
 * What a dead process left is found by its name, which has the process in it.
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
  /** The directory that stands for the project until it is committed. */
  readonly root: string;
  readonly #target: string;
  /** The hidden directory. */
  readonly #top: string;
  /** Undefined when the project's directory is there already. */
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
   * Begins to write a project at `target` (absolute). What an earlier, interrupted process left there is completed or removed first.
   * @param step for tests: is called before each step, with its name
   * @throws UnprocessableError when another process writes there
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

  /** Writes a file of the project; `owner` is whom it is given to. */
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
        // By the descriptor: whoever owns the directory could put something else in the path's place.
        if (owner !== undefined) fchownSync(descriptor, owner.uid, owner.gid);
        fsyncSync(descriptor);
      } finally {
        closeSync(descriptor);
      }
    } catch (error) {
      throw failure(place, error);
    }
  }

  /** Makes a directory of the project that only its owner may look into. */
  makePrivateDirectory(path: string): void {
    const place = join(this.root, path);
    try {
      mkdirSync(place, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw failure(place, error);
    }
  }

  /**
   * Puts everything in its place.
   * @throws UnprocessableError when the directory has appeared meanwhile
   */
  commit(): void {
    try {
      this.#commit();
    } catch (error) {
      if (existsSync(join(this.#top, COMMIT))) {
        throw new CdktrError(`Not all files are in their places yet: ${errorMessage(error)}`, {
          cause: error,
          hint: `When that is mended, run 'cdktr init' for ${this.#target} again: it moves the rest first.`,
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
        throw new UnprocessableError(`${this.#appears} has appeared meanwhile: nothing was written.`, {
          hint: "Run it again.",
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

  /** Removes what was written; after a commit there is nothing left to remove. */
  discard(): void {
    if (existsSync(join(this.#top, COMMIT))) return;
    rmSync(this.#top, { recursive: true, force: true });
  }
}

/**
 * Completes or removes what an interrupted process left for a project at `target`.
 * @returns whether something was completed
 * @throws UnprocessableError when that process still runs
 */
export function recover(target: string): boolean {
  const directory = nearestDirectory(target);
  let completed = false;
  for (const name of readdirSync(directory)) {
    if (!name.startsWith(PREFIX)) continue;
    const [pid = "", start = ""] = name.slice(PREFIX.length).split("-");
    if (Number(pid) !== process.pid && start !== "" && startOf(Number(pid)) === start) {
      // It makes another directory beside this one.
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
 * Moves what is still in the tree to its places; may be begun anew any number of times. What somebody put there after `committedMs` is
 * left as it is.
 */
function moveTree(
  top: string,
  target: string,
  step: (name: string) => void,
  committedMs = Number.POSITIVE_INFINITY,
): void {
  const tree = join(top, TREE);
  if (existsSync(tree)) {
    // Flushed to the disk together, afterwards: between the first and the last rename there is next to no time.
    const changed = moveInside(tree, target, step, committedMs);
    for (const directory of changed) syncToDisk(directory);
  }
  step("remove the hidden directory");
  // The marker goes last: without it, what is left would be taken for not committed, and it is empty by now anyway.
  rmSync(tree, { recursive: true, force: true });
  rmSync(top, { recursive: true, force: true });
}

/**
 * Moves what is in a directory into another one: directories that are missing there as they are, with all that is in them.
 * @returns the directories in which something was put
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
    // The place is a link to another file system.
    const beside = join(dirname(to), `${PREFIX}${basename(to)}`);
    cpSync(from, beside, { recursive: true, preserveTimestamps: true });
    renameSync(beside, to);
    rmSync(from, { recursive: true });
  }
}

/** A directory and all below it, each before those inside it. */
function directoriesIn(root: string): string[] {
  const inside = readdirSync(root, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return [root, ...inside.flatMap((entry) => directoriesIn(join(root, entry.name)))];
}

function nearestDirectory(path: string): string {
  for (let at = path; ; at = dirname(at)) {
    const status = statOf(at);
    if (status?.isDirectory()) return at;
    if (status !== undefined || at === dirname(at)) {
      throw new UnprocessableError(`${at} is no directory.`, { hint: "Choose another one." });
    }
  }
}

function statOf(path: string) {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    // Something on the way is a file: it is found further up.
    if ((error as NodeJS.ErrnoException).code === "ENOTDIR") return undefined;
    throw failure(path, error);
  }
}

/** When a process was started, in clock ticks since boot: with it a process id means one process only. */
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
    hint: "Nothing was written. Is there room on the disk, and may this user write there?",
  });
}
