/**
 * Unpacks embedded files into a directory named by their content, which appears by one rename. Any number of processes may
 * start at once, and a half-written directory never appears under its final name.
 */
import {
  chmodSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { CdktrError, errorMessage } from "../errors.ts";
import type { EmbeddedFile } from "./embedded.ts";

/** What the files of a group take, where it is much more or less than those of DuckDB. */
const MEGABYTES: Readonly<Record<string, number>> = { lake: 100 };

/** The cache directory cannot hold the native libraries. */
export class NativeCacheError extends CdktrError {}

/**
 * Unpacks `files` below `cacheDirectory`, unless they are already there and intact.
 * @param group first part of the directory's name
 * @returns the directory that holds them
 * @throws NativeCacheError when the directory cannot be written or belongs to another user
 */
export function unpack(files: readonly EmbeddedFile[], group: string, cacheDirectory: string): string {
  const identity = new Bun.CryptoHasher("sha256")
    .update(files.map((file) => file.sha256).join())
    .digest("hex");
  const directory = join(cacheDirectory, `${group}-${identity.slice(0, 16)}`);
  if (isWhole(directory, files)) {
    markUsed(directory);
    return directory;
  }
  try {
    mkdirSync(cacheDirectory, { recursive: true, mode: 0o700 });
    const staging = join(cacheDirectory, `.${group}-${process.pid}-${crypto.randomUUID()}`);
    try {
      mkdirSync(staging, { mode: 0o700 });
      let opened: { readonly path: string; readonly contents: Uint8Array } | undefined;
      for (const file of files) {
        if (opened?.path !== file.path)
          opened = { path: file.path, contents: Bun.zstdDecompressSync(readFileSync(file.path)) };
        const path = join(staging, file.name);
        writeFileSync(path, opened.contents.subarray(...(file.range ?? [])), { mode: 0o500, flush: true });
        chmodSync(path, 0o500);
      }
      putInPlace(staging, directory, files);
    } finally {
      remove(staging);
    }
  } catch (error) {
    throw new NativeCacheError(
      `The native libraries cannot be unpacked into ${cacheDirectory}: ${ownerProblem(cacheDirectory) ?? errorMessage(error)}.`,
      {
        cause: error,
        hint: `cdktr needs about ${MEGABYTES[group] ?? 75} MB in a directory that belongs to you. Set CDKTR_CACHE_DIRECTORY to one that you can write.`,
      },
    );
  }
  if (!isWhole(directory, files)) {
    throw new NativeCacheError(
      `The native libraries in ${directory} are corrupt: they differ from what was written.`,
      {
        hint: "Check the disk, or set CDKTR_CACHE_DIRECTORY to a directory on another one.",
      },
    );
  }
  return directory;
}

/** Removes what is left of an attempt. A failure here must not hide why it failed. */
function remove(staging: string): void {
  try {
    rmSync(staging, { recursive: true, force: true });
  } catch {
    // It is cleared later, as a stale file.
  }
}

/** Says whose the directory is, if it is not this user's. */
function ownerProblem(cacheDirectory: string): string | undefined {
  try {
    const owner = statSync(cacheDirectory).uid;
    return owner === process.getuid?.() ? undefined : `it belongs to another user (uid ${owner})`;
  } catch {
    return undefined;
  }
}

/** Sets the directory's time to now, its last use, for stale-files.ts. */
function markUsed(directory: string): void {
  try {
    const now = new Date();
    utimesSync(directory, now, now);
  } catch {
    // A cache that cannot be written cannot be cleared either.
  }
}

/** Renames `staging` to `directory`; an existing directory from another process is kept if it is intact and replaced otherwise. */
function putInPlace(staging: string, directory: string, files: readonly EmbeddedFile[]): void {
  for (;;) {
    try {
      renameSync(staging, directory);
      return;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "ENOTEMPTY" && code !== "EEXIST") throw error;
      if (isWhole(directory, files)) return;
      const broken = `${staging}.broken`;
      renameSync(directory, broken);
      rmSync(broken, { recursive: true, force: true });
    }
  }
}

/** Whether the directory belongs to this user, is private, and holds every file with the right hash. */
function isWhole(directory: string, files: readonly EmbeddedFile[]): boolean {
  try {
    const stat = statSync(directory);
    if (stat.uid !== process.getuid?.() || (stat.mode & 0o077) !== 0) return false;
    return files.every((file) => sha256(readFileSync(join(directory, file.name))) === file.sha256);
  } catch {
    return false;
  }
}

function sha256(bytes: Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
}
