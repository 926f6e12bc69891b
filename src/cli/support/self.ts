/** How this program starts itself again. */

/** The command that runs this program: the compiled executable, or Bun with the entry's source. */
export function selfCommand(): string[] {
  if (isCompiled()) return [process.execPath];
  return [process.execPath, Bun.main];
}

/** Whether this is the compiled executable, whose sources live in a file system inside it. */
export function isCompiled(): boolean {
  return Bun.isStandaloneExecutable;
}
