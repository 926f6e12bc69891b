/** The backup of a closed history database before its schema is migrated. */
import { rmSync, statSync, utimesSync } from "node:fs";
import { open } from "node:fs/promises";
import { HistoryUnavailableError } from "../../contract/history.ts";
import { backupsOf, keepBackup, requireRoom, stagingPath } from "../../migrations/database-backups.ts";

/** Bytes copied at once: in between, the event loop gets a turn and a stop takes effect. */
const PIECE_BYTES = 4 * 1024 * 1024;

/**
 * Copies the file, unless the same content was copied before.
 * @param say called when the copy begins
 * @returns the backup
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
      `The history database ${path} cannot be backed up before its migration: some changes are still in ${path}.wal.`,
    );
  }
  // A copy has the mtime of its source. If the migration was interrupted before, even repeatedly, one copy is enough.
  const isSame = (copy: string) => {
    const { size, mtimeMs } = statSync(copy);
    return size === source.size && Math.abs(mtimeMs - source.mtimeMs) < 1;
  };
  const present = backupsOf(path).find(isSame);
  if (present !== undefined) return present;
  requireRoom(path, source.size);
  say?.(
    `${path} (${Math.ceil(source.size / 1e6)} MB) is being backed up before its schema is migrated; everything else continues in the meantime.`,
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
