/** Reads regular files at paths that users specify: never a pipe or a device, and never more than a limit. */
import { closeSync, constants, fstatSync, openSync, readSync, realpathSync, statSync } from "node:fs";
import { join } from "node:path";

/** The content of a regular file, or why it was not read. */
export type RegularFile =
  | { readonly kind: "file"; readonly bytes: Uint8Array }
  | { readonly kind: "directory" | "other" | "too large" }
  | { readonly kind: "failed"; readonly code: string; readonly message: string };

/** Reads the file at `path`, following links, if it is a regular file of at most `maxBytes`. Never throws. */
export function readRegularFile(path: string, maxBytes: number): RegularFile {
  try {
    // Checked before opening, because opening a device can have side effects.
    const problem = problemOf(statSync(path), maxBytes);
    if (problem !== undefined) return problem;
    // Non-blocking, in case a pipe has replaced the file.
    const descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const opened = fstatSync(descriptor);
      return problemOf(opened, maxBytes) ?? readUpTo(descriptor, opened.size, maxBytes);
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    const { code = "", message } = error as NodeJS.ErrnoException;
    return { kind: "failed", code, message };
  }
}

/** {@link readRegularFile} of a file below `root`, unless links on the way lead out of it. */
export function readFileInside(root: string, path: string, maxBytes: number): RegularFile {
  try {
    const [real, top] = [realpathSync(join(root, path)), realpathSync(root)];
    if (real.startsWith(top === "/" ? top : `${top}/`)) return readRegularFile(real, maxBytes);
    return { kind: "failed", code: "", message: "a link leads out of the workflow directory" };
  } catch (error) {
    const { code = "", message } = error as NodeJS.ErrnoException;
    return { kind: "failed", code, message };
  }
}

function problemOf(
  info: { isFile(): boolean; isDirectory(): boolean; size: number },
  maxBytes: number,
): RegularFile | undefined {
  if (!info.isFile()) return { kind: info.isDirectory() ? "directory" : "other" };
  return info.size > maxBytes ? { kind: "too large" } : undefined;
}

/** Reads to the end or the limit, regardless of the reported size: it is 0 in /proc, and a file may grow. */
function readUpTo(descriptor: number, size: number, maxBytes: number): RegularFile {
  let bytes = new Uint8Array(Math.min(size, maxBytes) + 1);
  let used = 0;
  for (;;) {
    const count = readSync(descriptor, bytes, used, bytes.length - used, null);
    used += count;
    if (used > maxBytes) return { kind: "too large" };
    if (count === 0) return { kind: "file", bytes: bytes.subarray(0, used) };
    if (used === bytes.length) {
      const larger = new Uint8Array(Math.min(2 * bytes.length + 4096, maxBytes + 1));
      larger.set(bytes);
      bytes = larger;
    }
  }
}
