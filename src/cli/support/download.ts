/** Fetches files that the principal prepared, chunk by chunk, and moves them into place only when they are complete. */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { link, mkdir, open, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import type { PreparedFiles } from "../../contract/messages.ts";
import { CdktrError, errorMessage, InvalidInputError } from "../../errors.ts";
import type { Connection } from "./connect.ts";

type PreparedFile = PreparedFiles["files"][number];

/** How long to wait for the principal's reply that the files are dropped, ms. */
const DROP_MS = 3000;

/** A prepared file, and where it is to be. */
interface Target {
  readonly file: PreparedFile;
  readonly path: string;
}

/**
 * Has the principal prepare files, downloads them, and tells it to drop its own.
 * @param prepare requests them
 * @param pathOf where a file is to be
 * @param force see {@link download}
 * @param withoutArchive a backup without what is in the archive
 */
export async function fetchPrepared(
  connection: Connection,
  prepare: "BACKUP" | "BACKUPDB" | "EXPORTDB",
  pathOf: (file: PreparedFile) => string,
  force: boolean | undefined,
  withoutArchive = false,
): Promise<readonly Target[]> {
  const { client, patiently } = connection;
  let transfer_id: string = crypto.randomUUID();
  try {
    const request = { transfer_id, ...(withoutArchive ? { without_archive: true } : {}) };
    const prepared = await orInterrupted(patiently((options) => client.call(prepare, request, options)));
    // An older principal chooses one itself.
    transfer_id = prepared.transfer_id;
    const targets = prepared.files.map((file) => ({ file, path: pathOf(file) }));
    await download(connection, transfer_id, targets, force);
    return targets;
  } finally {
    // Also while they are being prepared: nobody would fetch them.
    await client.call("DROPFILES", { transfer_id }, { timeoutMs: DROP_MS }).catch(() => {});
  }
}

/** What `work` resolves with. @throws CdktrError when the user ends the command before */
async function orInterrupted<T>(work: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const onSignal = () => reject(new CdktrError("Interrupted: nothing was written."));
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const signal of signals) process.once(signal, onSignal);
  work.catch(() => {});
  try {
    return await Promise.race([work, promise]);
  } finally {
    for (const signal of signals) process.off(signal, onSignal);
  }
}

/**
 * Writes prepared files: all to temporary names first, flushed to disk, verified by sha256, then put in place. If that fails,
 * no new file is left.
 * @param force Whether to replace what exists; undefined for a command that never does
 * @throws InvalidInputError when something exists already and `force` is not given, or a path cannot be written
 * @throws CdktrError when the received data differs from what was sent
 */
async function download(
  connection: Connection,
  transferId: string,
  targets: readonly Target[],
  force: boolean | undefined,
): Promise<void> {
  const files = targets.map(({ file, path }) => {
    const target = resolve(path);
    const partial = partialOf(target, process.pid);
    return { file, target, partial, isNew: !existsSync(target), done: false };
  });
  for (const { target } of files) refuseExisting(target, force);
  try {
    for (const { file, target, partial } of files)
      await writing(target, () => receive(connection, transferId, file, partial));
    for (const file of files) {
      await writing(file.target, () => putInPlace(file.partial, file.target, force));
      file.done = true;
    }
  } catch (error) {
    for (const { target, isNew, done } of files) if (isNew && done) await removeQuietly(target);
    throw error;
  } finally {
    for (const { partial } of files) await removeQuietly(partial);
  }
}

/** The temporary name of a file that a process downloads. */
export function partialOf(target: string, pid: number): string {
  return join(dirname(target), `.${basename(target)}.${pid}.partial`);
}

/**
 * @param force Whether to replace what exists; undefined for a command that never does
 * @throws InvalidInputError when something exists at `path` and `force` is not given
 */
export function refuseExisting(path: string, force: boolean | undefined): void {
  if (force || !existsSync(path)) return;
  throw new InvalidInputError(`${path} already exists.`, {
    hint:
      force === undefined
        ? "Give another name, or move it away."
        : "Give another name, or --force to replace it.",
  });
}

/**
 * Creates a directory and its parents.
 * @returns the topmost directory that was missing, if any was
 * @throws InvalidInputError when that is not possible
 */
export function makeDirectory(path: string): Promise<string | undefined> {
  return writing(path, () => mkdir(path, { recursive: true }));
}

async function writing<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw asWriteError(error, path);
  }
}

/** A failure here must not hide why something else failed. */
async function removeQuietly(path: string): Promise<void> {
  await rm(path, { force: true }).catch(() => {});
}

async function receive(
  { client, patiently }: Connection,
  transferId: string,
  file: PreparedFile,
  partial: string,
): Promise<void> {
  const hash = createHash("sha256");
  const handle = await open(partial, "wx", 0o600);
  try {
    let bytes = 0;
    for (let offset: number | null = 0; offset !== null; ) {
      const from: number = offset;
      const piece = await patiently((options) =>
        client.call("READFILE", { transfer_id: transferId, name: file.name, offset: from }, options),
      );
      const data = Buffer.from(piece.data, "base64");
      await handle.writeFile(data);
      hash.update(data);
      bytes += data.length;
      offset = piece.next;
    }
    if (bytes !== file.bytes || hash.digest("hex") !== file.sha256) {
      throw new CdktrError(
        `${file.name} arrived damaged (${bytes} of ${file.bytes} bytes); nothing was kept.`,
        {
          hint: "Try again.",
        },
      );
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function putInPlace(partial: string, target: string, force: boolean | undefined): Promise<void> {
  if (force) {
    if (existsSync(target) && (await stat(target)).isDirectory()) {
      throw new InvalidInputError(`${target} is a directory.`, { hint: "Give the name of a file." });
    }
    await rename(partial, target);
    return;
  }
  // Unlike a rename, a link never replaces a file that was created in the meantime.
  try {
    await link(partial, target);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "EEXIST") refuseExisting(target, force);
    // Fallback for file systems without hard links.
    if (code !== "EPERM" && code !== "ENOTSUP" && code !== "EOPNOTSUPP") throw error;
    refuseExisting(target, force);
    await rename(partial, target);
  }
}

/** An error of writing `path` as one that tells what is wrong outside cdktr; others as they are. */
export function asWriteError(error: unknown, path: string): unknown {
  if (error instanceof CdktrError) return error;
  const { code, path: place } = error as NodeJS.ErrnoException;
  if (code === undefined) return error;
  const [reason, hint] = WRITE_ERRORS[code] ?? [errorMessage(error), undefined];
  // The temporary file is a detail; its directory is not.
  const missing = code === "ENOENT" && place !== undefined ? `: ${dirname(place)}` : "";
  return new InvalidInputError(`${path} cannot be written: ${reason}${missing}.`, { cause: error, hint });
}

/** What the system's error codes mean, and what to do. */
const WRITE_ERRORS: Readonly<Record<string, readonly [reason: string, hint: string]>> = {
  ENOENT: ["the directory does not exist", "Create it, or give another path."],
  ENOTDIR: ["a part of the path is a file, not a directory", "Give another path."],
  EEXIST: ["a file is in the place of the directory", "Give another path."],
  EISDIR: ["it is a directory", "Give the name of a file."],
  EACCES: ["permission denied", "Give a path that this user may write."],
  EPERM: ["permission denied", "Give a path that this user may write."],
  EROFS: ["the file system is read-only", "Give a path on another one."],
  ENOSPC: ["the disk is full", "Free some space, or give a path on another disk."],
  EDQUOT: ["the disk quota is exceeded", "Free some space, or give a path on another disk."],
  ENAMETOOLONG: ["the name is too long", "Give a shorter one."],
  SQLITE_FULL: ["the disk is full", "Free some space, or give a path on another disk."],
  SQLITE_READONLY: ["permission denied", "Give a path that this user may write."],
  SQLITE_CANTOPEN: ["permission denied", "Give a path that this user may write."],
  EMFILE: ["too many files are open", "Raise the limit (ulimit -n)."],
};
