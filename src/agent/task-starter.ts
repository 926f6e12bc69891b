/**
 * Starts a task from within its own process: checks the paths, enters the working directory, and replaces itself with the program. The
 * agent uses this for tasks on a foreign mount: if the mount does not respond, this process blocks instead of the agent. It is treated
 * like any other process of a task, so timeouts and cancelling apply to it.
 */

import { accessSync, constants, readlinkSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { CdktrError, errorMessage } from "../errors.ts";
import { ownExecutable, START_TASK } from "../host/self.ts";
import type { TaskConfig } from "../workflow/model.ts";
import type { Command } from "./executors/executor.ts";
import { commandFor } from "./executors/index.ts";
import { kindOf } from "./executors/paths.ts";
import { replaceProcess, setOpenFilesLimit } from "./libc.ts";
import { explainSpawnError } from "./spawn-error.ts";

/** Maximum length in characters of a piece of the task's description in one argument; the kernel limits an argument to 128 KiB. */
const PIECE = 30_000;

/** The exit status of a command that cannot be started, as in a shell. */
const CANNOT_START = 127;

interface Instructions {
  readonly config: TaskConfig;
  readonly directory: string;
  readonly openFiles?: number | undefined;
}

/** The command that starts a task from within its own process. */
export function starterCommand(
  config: TaskConfig,
  context: { directory: string; environment: Readonly<Record<string, string>> },
  openFiles: number | undefined,
): Command {
  const instructions: Instructions = { config, directory: context.directory, openFiles };
  const text = JSON.stringify(instructions);
  const pieces: string[] = [];
  for (let at = 0; at < text.length; at += PIECE) pieces.push(text.slice(at, at + PIECE));
  const program = Bun.isStandaloneExecutable ? [] : [join(import.meta.dir, "../main.ts")];
  return {
    argv: [ownExecutable(), ...program, START_TASK, ...pieces],
    cwd: "/",
    env: context.environment,
  };
}

/** Whether a process of this agent is still the starter, because the program has not started yet. */
export function isStarting(pid: number): boolean {
  try {
    return readlinkSync(`/proc/${pid}/exe`) === readlinkSync("/proc/self/exe");
  } catch {
    return false;
  }
}

/**
 * Becomes the task. Returns only if that fails, after printing the reason to stderr.
 * @param pieces the arguments after {@link START_TASK}
 * @returns the exit status
 */
export function startTask(pieces: readonly string[]): number {
  const { config, directory, openFiles } = JSON.parse(pieces.join("")) as Instructions;
  const environment: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) if (value !== undefined) environment[name] = value;
  try {
    const command = commandFor(config, { directory, environment });
    if (openFiles !== undefined) setOpenFilesLimit(openFiles);
    become(command);
  } catch (error) {
    const hint = error instanceof CdktrError && error.hint !== undefined ? ` ${error.hint}` : "";
    console.error(errorMessage(error) + hint);
  }
  return CANNOT_START;
}

function become(command: Command): never {
  try {
    process.chdir(command.cwd);
    replaceProcess(programOf(command), command.argv, command.env);
  } catch (error) {
    throw explainSpawnError(error, command);
  }
}

/** The file of the program; a bare name is looked up in PATH. */
function programOf({ argv: [program], cwd, env }: Command): string {
  if (program.includes("/")) return program;
  for (const directory of (env.PATH ?? "").split(delimiter)) {
    const file = resolve(cwd, join(directory, program));
    if (kindOf(file) !== "file") continue;
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // A later directory may contain an executable one.
    }
  }
  throw Object.assign(new Error("not found"), { code: "ENOENT" });
}
