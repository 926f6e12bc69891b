/** How this program starts itself again. */
import { statSync } from "node:fs";

/** Linux keeps the file of a running program under this name, whatever has become of its path. */
const THIS_FILE = "/proc/self/exe";

/** The command that runs this program: the compiled executable, or Bun with the entry's source. */
export function selfCommand(): string[] {
  if (isCompiled()) return [process.execPath];
  return [process.execPath, Bun.main];
}

/**
 * The path under which the very file that runs here can be started: another version may have taken its place, or it was removed.
 * What this process starts is of its own version, until it is started anew itself.
 */
export function ownExecutable(): string {
  const { execPath } = process;
  try {
    const own = statSync(THIS_FILE);
    const named = statSync(execPath, { throwIfNoEntry: false });
    return named?.ino === own.ino && named.dev === own.dev ? execPath : THIS_FILE;
  } catch {
    return execPath;
  }
}

/** Whether this is the compiled executable, whose sources live in a file system inside it. */
export function isCompiled(): boolean {
  return Bun.isStandaloneExecutable;
}
