/**
 * Starts a task from within its own process: checks the paths, limits itself, enters the working directory, and replaces itself with the
 * program. The agent uses this for tasks with limits, and for those on a foreign mount: if the mount does not respond, this process blocks
 * instead of the agent. It is treated like any other process of a task, so timeouts and cancelling apply to it.
 */

import { accessSync, constants, readFileSync, readlinkSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { CdktrError, errorMessage } from "../errors.ts";
import { ownExecutable, START_TASK } from "../host/self.ts";
import type { TaskConfig } from "../workflow/model.ts";
import { moveTo } from "./cgroups.ts";
import { type EnvFile, withEnvFile } from "./env-file.ts";
import type { Command } from "./executors/executor.ts";
import { commandFor } from "./executors/index.ts";
import { kindOf } from "./executors/paths.ts";
import { type Account, becomeUser, replaceProcess, setOpenFilesLimit } from "./libc.ts";
import { explainSpawnError } from "./spawn-error.ts";
import type { Confinement } from "./task-limits.ts";

/** The exit status of a command that cannot be started, as in a shell. */
const CANNOT_START = 127;

/** What a process needs to know to become a task, besides the environment that it has. Plain JSON. */
export interface Instructions {
  readonly config: TaskConfig;
  /** As in ExecutionContext. */
  readonly directory: string;
  readonly script?: string | undefined;
  readonly preload?: string | undefined;
  readonly envFile?: EnvFile | undefined;
  readonly confinement?: Confinement | undefined;
  /** As whom it runs; by default as the agent. */
  readonly user?: Pick<Account, "name" | "uid" | "gid"> | undefined;
  /** The soft limit of open files; undefined for that of the agent. */
  readonly openFiles?: number | undefined;
}

/**
 * The command that starts a task from within its own process.
 * @param write writes the instructions to a private file and returns its path; without it they are an argument, which everybody on the host
 * can read
 */
export function starterCommand(
  instructions: Instructions,
  environment: Readonly<Record<string, string>>,
  write?: (text: string) => string,
): Command {
  const text = JSON.stringify(instructions);
  const program = Bun.isStandaloneExecutable ? [] : [join(import.meta.dir, "../main.ts")];
  return {
    argv: [ownExecutable(), ...program, START_TASK, write?.(text) ?? text],
    cwd: "/",
    env: environment,
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
 * @param how the argument after {@link START_TASK}: the instructions, or the file that has them
 * @returns the exit status
 */
export function startTask(how: string): number {
  let environment: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) if (value !== undefined) environment[name] = value;
  try {
    const instructions: Instructions = JSON.parse(how.startsWith("{") ? how : readFileSync(how, "utf8"));
    const { config, directory, script, preload, envFile, confinement, openFiles, user } = instructions;
    if (envFile !== undefined) environment = withEnvFile(environment, envFile);
    if (openFiles !== undefined) setOpenFilesLimit(openFiles);
    if (confinement?.group !== undefined) moveTo(confinement.group, String(process.pid));
    // From here on, it finds what its user may see.
    if (user !== undefined) becomeUser(user);
    const command = commandFor(config, { directory, environment, script, preload });
    become(command, confinement?.data);
  } catch (error) {
    const hint = error instanceof CdktrError && error.hint !== undefined ? ` ${error.hint}` : "";
    console.error(errorMessage(error) + hint);
  }
  return CANNOT_START;
}

function become(command: Command, data: number | undefined): never {
  try {
    process.chdir(command.cwd);
    replaceProcess(programOf(command), command.argv, command.env, data);
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
