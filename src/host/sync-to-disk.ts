import { closeSync, fsyncSync, openSync } from "node:fs";

/** Brings what a file holds, or the names in a directory, to the disk (fsync). Throws what the file system throws. */
export function syncToDisk(path: string): void {
  const descriptor = openSync(path, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
