import { closeSync, openSync, readSync } from "node:fs";

/** The interpreter named in the first line of a script; undefined for anything else. Call it for regular files only. */
export function interpreterOf(file: string): string | undefined {
  try {
    const fd = openSync(file, "r");
    try {
      const start = Buffer.alloc(256);
      const length = readSync(fd, start);
      return /^#! *([^ \t\n]+)/.exec(start.toString("latin1", 0, length))?.[1];
    } finally {
      closeSync(fd);
    }
  } catch {
    return undefined;
  }
}
