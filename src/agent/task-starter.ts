/**
 * Starts a task from within its own process: checks its paths, enters its directory, and replaces itself with its program. The agent
 * does so for tasks on a foreign mount. If the mount does not answer, this process waits instead of the agent, as any other process of
 * a task: it counts for the timeout and can be ended.
 */

import { accessSync, constants, readlinkSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { CdktrError, errorMessage } from "../errors.ts";
import { ownExecutable, START_TASK } from "../host/self.ts";
import type { TaskConfig } from "../workflow/model.ts";
import type { Command } from "./executors/executor.ts";
import { commandFor } from "./executors/index.ts";
import { kindOf } from "./executors/paths.ts";
import { replaceProcess } from "./libc.ts";
import { explainSpawnError } from "./spawn-error.ts";

/** Longest piece of the task's description in one argument, characters; the kernel limits an argument to 128 KiB. */
const PIECE = 30_000;

/** Exit status of a shell for a command that cannot be started. */
const CANNOT_START = 127;

interface Instructions {
  readonly config: TaskConfig;
  readonly directory: string;
}

/** The command that starts a task from within its own process. */
export function starterCommand(
  config: TaskConfig,
  context: { directory: string; environment: Readonly<Record<string, string>> },
): Command {
  const instructions: Instructions = { config, directory: context.directory };
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

/** Whether a process of this agent is still a starter: its program has not begun. */
export function isStarting(pid: number): boolean {
  try {
    return readlinkSync(`/proc/${pid}/exe`) === readlinkSync("/proc/self/exe");
  } catch {
    return false;
  }
}

/**
 * Becomes the task. Returns only if that is impossible, after saying why on stderr.
 * @param pieces the arguments after {@link START_TASK}
 * @returns the exit status
 */
export function startTask(pieces: readonly string[]): number {
  const { config, directory } = JSON.parse(pieces.join("")) as Instructions;
  const environment: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) if (value !== undefined) environment[name] = value;
  try {
    become(commandFor(config, { directory, environment }));
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

/** The file of the program, from PATH if it is a name. */
function programOf({ argv: [program], cwd, env }: Command): string {
  if (program.includes("/")) return program;
  for (const directory of (env.PATH ?? "").split(delimiter)) {
    const file = resolve(cwd, join(directory, program));
    if (kindOf(file) !== "file") continue;
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // The next directory may have one that may be executed.
    }
  }
  throw Object.assign(new Error("not found"), { code: "ENOENT" });
}
