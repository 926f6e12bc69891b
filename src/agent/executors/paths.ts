import { statSync } from "node:fs";
import { resolve } from "node:path";
import { CannotStartError, type ExecutionContext } from "./executor.ts";

/** Expands `~/` at the beginning of a path to the home directory. */
export function expandHome(path: string, environment: Readonly<Record<string, string>>): string {
  const home = environment.HOME;
  return path.startsWith("~/") && home ? home + path.slice(1) : path;
}

/** The directory in which a task runs. Whether it exists is checked when the task starts. */
export function workingDirectory(configured: string | null, context: ExecutionContext): string {
  if (configured === null) return context.directory;
  return resolve(context.directory, expandHome(configured, context.environment));
}

/**
 * Checks a working directory.
 * @throws CannotStartError when a process cannot run there
 */
export function checkDirectory(directory: string): void {
  const kind = kindOf(directory);
  if (kind === "directory") return;
  throw new CannotStartError(
    kind === "missing"
      ? `The working directory ${directory} does not exist.`
      : kind === "unreachable"
        ? `The working directory ${directory} cannot be entered: permission denied.`
        : `The working directory ${directory} is not a directory.`,
    {
      hint: "A relative working_directory starts at the directory in which the agent was started; that of a task with a script, at the run's own.",
    },
  );
}

/** What kind of file a path leads to. `special` is a pipe, a device or a socket: opening one may block. */
export function kindOf(path: string): "file" | "directory" | "special" | "missing" | "unreachable" {
  try {
    const stat = statSync(path);
    return stat.isDirectory() ? "directory" : stat.isFile() ? "file" : "special";
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EACCES" ? "unreachable" : "missing";
  }
}
