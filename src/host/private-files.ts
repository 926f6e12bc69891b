/** Files that hold secrets: only their owner can read them, and they are written atomically. */
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

/** A secret file or directory is accessible to others. */
class NotPrivateError extends UsageError {}

/**
 * Refuses a file or directory that anyone but its owner can access.
 * @throws NotPrivateError with the command that fixes it
 */
export function checkPrivate(path: string): void {
  const status = statSync(path);
  if ((status.mode & 0o077) === 0) return;
  const mode = (status.mode & 0o777).toString(8).padStart(4, "0");
  throw new NotPrivateError(`${path} holds secrets, but others than its owner have access to it (${mode}).`, {
    hint: `Run: chmod ${status.isDirectory() ? "700" : "600"} ${shellWord(path)}`,
  });
}

/** Quotes a path for a shell. */
export function shellWord(path: string): string {
  return /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}

/**
 * Creates a directory for secrets, or checks an existing one.
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

/** Writes a private file atomically, replacing an existing one. */
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
 * Writes a private file that must not exist yet.
 * @returns false if it exists; it is left unchanged
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

/** Temporary files. */
const TEMPORARY = /^\.new-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
/** Age above which a temporary file was left by a process that was killed, ms. */
const LEFT_AFTER_MS = 600_000;

/** Removes temporary files that were left in a directory of secrets by killed processes. */
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
 * Gives a file that root creates in the directory of a service's user to that user, who could not read it otherwise. Works by
 * descriptor: with a path, that user could swap in a link and be given any file.
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
    hint: "Is there free space on the disk, and does the directory belong to this user?",
  });
}
