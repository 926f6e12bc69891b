/** Hides secrets on the command line: `ps` shows the arguments of a process as they are in its memory. */

import { type Pointer, toArrayBuffer } from "bun:ffi";
import { readFileSync } from "node:fs";

/** Positions of `arg_start` and `arg_end` among the fields of /proc/self/stat after the program name. */
const ARG_START = 45;

/**
 * Overwrites an argument of this process in the memory that `ps` and /proc show.
 * @returns a copy of it
 */
export function hideArgument(secret: string): string {
  const copy = Buffer.from(secret).toString();
  try {
    const status = readFileSync("/proc/self/stat", "utf8");
    const fields = status.slice(status.lastIndexOf(")") + 2).split(" ");
    const start = Number(fields[ARG_START]);
    const end = Number(fields[ARG_START + 1]);
    if (!(start > 0 && end > start)) return copy;
    const memory = Buffer.from(toArrayBuffer(start as Pointer, 0, end - start));
    const wanted = Buffer.from(copy);
    for (let at = memory.indexOf(wanted); at !== -1; at = memory.indexOf(wanted, at + 1))
      memory.fill("x", at, at + wanted.length);
  } catch {
    // Without /proc nobody could see it there.
  }
  return copy;
}
