/** Files that hold secrets: nobody but their owner may read them, and a crash leaves the old content or the new. */
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { CdktrError, UsageError } from "../errors.ts";
import { syncToDisk } from "./sync-to-disk.ts";

/** A file or directory of secrets is open to others. */
class NotPrivateError extends UsageError {}

/**
 * Refuses a file or directory to which anybody but its owner has access.
 * @throws NotPrivateError with the command that mends it
 */
export function checkPrivate(path: string): void {
  const status = statSync(path);
  if ((status.mode & 0o077) === 0) return;
  const mode = (status.mode & 0o777).toString(8).padStart(4, "0");
  throw new NotPrivateError(`${path} holds secrets, but others than its owner have access to it (${mode}).`, {
    hint: `Run: chmod ${status.isDirectory() ? "700" : "600"} ${shellWord(path)}`,
  });
}

/** A path as one writes it in a shell. */
export function shellWord(path: string): string {
  return /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}

/**
 * Makes a directory for secrets, or checks the one that is there.
 * @throws NotPrivateError
 */
export function makePrivateDirectory(path: string): void {
  const isNew = mkdirSync(path, { recursive: true, mode: 0o700 }) !== undefined;
  if (isNew) {
    const descriptor = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    try {
      own(descriptor, dirname(path));
    } finally {
      closeSync(descriptor);
    }
  }
  checkPrivate(path);
}

/** Writes a private file at once or not at all, replacing what was there. */
export function writePrivate(path: string, text: string): void {
  const temporary = write(path, text);
  try {
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw failure(path, error);
  }
  syncToDisk(dirname(path));
}

/**
 * Writes a private file that must not be there yet.
 * @returns false when it is there; it is left as it was
 */
export function createPrivate(path: string, text: string): boolean {
  const temporary = write(path, text);
  try {
    linkSync(temporary, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw failure(path, error);
  } finally {
    rmSync(temporary, { force: true });
  }
  syncToDisk(dirname(path));
  return true;
}

/** Files that are being written. */
const TEMPORARY = /^\.new-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
/** A file that takes longer to be written was left by a process that was killed, ms. */
const LEFT_AFTER_MS = 600_000;

/** Removes what processes left in a directory of secrets that were killed while they wrote. */
export function removeLeftovers(directory: string, nowMs: number): void {
  for (const name of readdirSync(directory)) {
    if (!TEMPORARY.test(name)) continue;
    const path = join(directory, name);
    const status = statSync(path, { throwIfNoEntry: false });
    if (status !== undefined && status.mtimeMs < nowMs - LEFT_AFTER_MS) rmSync(path, { force: true });
  }
}

function write(path: string, text: string): string {
  const temporary = join(dirname(path), `.new-${crypto.randomUUID()}`);
  let descriptor: number | undefined;
  try {
    descriptor = openSync(temporary, "wx", 0o600);
    fchmodSync(descriptor, 0o600);
    own(descriptor, dirname(path));
    writeFileSync(descriptor, text);
    fsyncSync(descriptor);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw failure(path, error);
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
  return temporary;
}

/**
 * What root makes in the directory of a service's user belongs to that user: else the service could not read it. By descriptor: that
 * user could put a link in the place of the path meanwhile, and have any file given to him.
 */
function own(descriptor: number, directory: string): void {
  if (process.getuid?.() !== 0) return;
  const { uid, gid } = statSync(directory);
  fchownSync(descriptor, uid, gid);
}

function failure(path: string, error: unknown): CdktrError {
  const { code, message } = error as NodeJS.ErrnoException;
  return new CdktrError(`${path} cannot be written: ${code ?? message}.`, {
    cause: error,
    hint: "Is there room on the disk, and does the directory belong to this user?",
  });
}
