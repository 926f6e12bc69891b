import { closeSync, fsyncSync, openSync } from "node:fs";

/** Flushes a file's content, or a directory's entries, to disk (fsync). Throws file system errors. */
export function syncToDisk(path: string): void {
  const descriptor = openSync(path, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
