/** How this program starts itself as a child process. */
import { statSync } from "node:fs";

/** On Linux this refers to the file of the running program, whatever has happened to its path. */
const THIS_FILE = "/proc/self/exe";

/** First argument of a process that becomes a task, see task-starter.ts of the agent. */
export const START_TASK = "__start-task";
/** First argument of a process that becomes a file helper, see file-helper/helper.ts. */
export const FILE_HELPER = "__file-helper";
/** First argument of a file helper that also parses workflow files. */
export const WORKFLOW_READER = "__workflow-reader";
/** First argument of the process of the history, see history/process.ts. */
export const HISTORY = "__history";

/** First argument of a process that cleans up after one that was killed, see agent/local/private-place.ts. */
export const END_LOCAL_RUN = "__end-local-run";

/** The command that starts this program: the compiled executable, or Bun with the entry's source. */
export function selfCommand(): string[] {
  if (isCompiled()) return [process.execPath];
  return [process.execPath, Bun.main];
}

/**
 * A path that starts exactly the file that is running, even if it has been replaced by another version or removed. Child
 * processes therefore have the version of this process until it is restarted.
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

/**
 * The command that starts a child process of this program.
 * @param argument the first one, by which the executable knows what to become
 * @param file the entry of that child when cdktr runs from its sources
 */
export function childCommand(argument: string, file: string): string[] {
  if (isCompiled()) return [ownExecutable(), argument];
  return [process.execPath, "--no-env-file", file];
}

/** Whether this is the compiled executable, whose sources are in a virtual file system inside it. */
function isCompiled(): boolean {
  return Bun.isStandaloneExecutable;
}

/** Whether a program cannot be started for some time, as when its file is for another kind of machine and an emulator runs this one. */
export function isLastingFailure(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return ["ENOEXEC", "EACCES", "ENOENT", "EPERM"].includes(code);
}
