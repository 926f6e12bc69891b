/** The copy of a closed history database that is made before its schema is migrated. */
import { rmSync, statSync, utimesSync } from "node:fs";
import { open } from "node:fs/promises";
import { backupsOf, keepBackup, requireRoom, stagingPath } from "../migrations/database-backups.ts";
import { HistoryUnavailableError } from "./history-error.ts";

/** Copied at once: the event loop turns in between, and a stop is heard. */
const PIECE_BYTES = 4 * 1024 * 1024;

/**
 * Copies the file beside itself, unless the same was copied before.
 * @param say told when it begins
 * @returns the copy
 * @throws NoRoomForBackupError, HistoryUnavailableError, the reason of `signal`
 */
export async function copyDatabase(
  path: string,
  say?: (what: string) => void,
  signal?: AbortSignal,
): Promise<string> {
  const source = statSync(path);
  const staged = stagingPath(path);
  if (statSync(`${path}.wal`, { throwIfNoEntry: false }) !== undefined) {
    throw new HistoryUnavailableError(
      `The history database ${path} cannot be copied before its migration: changes of it are still in ${path}.wal.`,
    );
  }
  // A copy bears the time of what it was made of. The migration may have been interrupted, again and again: one is enough.
  const isSame = (copy: string) => {
    const { size, mtimeMs } = statSync(copy);
    return size === source.size && Math.abs(mtimeMs - source.mtimeMs) < 1;
  };
  const present = backupsOf(path).find(isSame);
  if (present !== undefined) return present;
  requireRoom(path, source.size);
  say?.(
    `${path} (${Math.ceil(source.size / 1e6)} MB) is copied before its schema is migrated; everything else goes on meanwhile.`,
  );
  try {
    await copyFile(path, staged, signal);
    utimesSync(staged, source.atime, source.mtime);
    return keepBackup(staged, path);
  } catch (error) {
    rmSync(staged, { force: true });
    throw error;
  }
}

async function copyFile(from: string, to: string, signal: AbortSignal | undefined): Promise<void> {
  const source = await open(from, "r");
  try {
    const target = await open(to, "wx", 0o600);
    try {
      const piece = Buffer.alloc(PIECE_BYTES);
      for (;;) {
        signal?.throwIfAborted();
        const { bytesRead } = await source.read(piece, 0, piece.length);
        if (bytesRead === 0) break;
        for (let done = 0; done < bytesRead; ) {
          done += (await target.write(piece, done, bytesRead - done)).bytesWritten;
        }
      }
      await target.sync();
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}
