import { accessSync, constants, lstatSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { errorMessage } from "../errors.ts";
import { interpreterOf } from "../host/interpreter.ts";
import { CannotStartError, type Command } from "./executors/executor.ts";
import { checkDirectory, kindOf } from "./executors/paths.ts";
import { NoDescriptorsError } from "./libc.ts";

/** The host has no descriptors, processes or memory left for a task at the moment. */
export class NoRoomError extends CannotStartError {}

/** Explains why a command could not be started. The system's error names neither the cause nor the file. */
export function explainSpawnError(error: unknown, command: Command): CannotStartError {
  if (error instanceof CannotStartError) return error;
  try {
    checkDirectory(command.cwd);
  } catch (directory) {
    if (directory instanceof CannotStartError) return directory;
  }
  const [program] = command.argv;
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  const explain = (message: string, hint?: string) => new CannotStartError(message, { cause: error, hint });
  if (error instanceof NoDescriptorsError)
    return new NoRoomError(error.message, { cause: error, hint: error.hint });
  switch (code) {
    case "ENOENT":
    case "EACCES":
    case "ENOTDIR":
      return program.includes("/")
        ? explainPath(program, command, explain)
        : explainName(program, command, explain);
    case "ENOEXEC":
      return explain(
        `"${program}" is not a program that this host can execute.`,
        "A script needs a first line that names its interpreter, such as #!/bin/sh; a binary must fit the processor.",
      );
    case "E2BIG":
      return explain(
        `"${program}" cannot be started: its arguments and environment are too long.`,
        "Pass large values in a file.",
      );
    case "ERR_INVALID_ARG_VALUE":
      return explain(`"${program}" cannot be started: an argument or a variable contains a NUL character.`);
    case "EAGAIN":
    case "ENOMEM":
    case "EMFILE":
    case "ENFILE":
      return new NoRoomError(
        `"${program}" cannot be started: this host cannot create another process (${code}).`,
        { cause: error, hint: "See ulimit -a of the agent, or lower CDKTR_AGENT_MAX_TASKS." },
      );
    default:
      return explain(`"${program}" cannot be started: ${errorMessage(error)}.`);
  }
}

const NO_ARGUMENTS = "cmd is one program, without arguments and without a shell; arguments go to args.";

type Explain = (message: string, hint?: string) => CannotStartError;

function explainName(program: string, command: Command, explain: Explain): CannotStartError {
  const path = command.env.PATH ?? "";
  if (program === "") return explain("The task has an empty cmd.");
  const there = path
    .split(delimiter)
    .map((directory) => resolve(command.cwd, join(directory, program)))
    .find((file) => kindOf(file) === "file");
  if (there !== undefined) {
    return explain(`"${program}" is not executable: ${there}.`, `chmod +x ${there}`);
  }
  const local = resolve(command.cwd, program);
  return explain(
    `"${program}" was not found; PATH was searched: ${path || "(it is empty)"}.`,
    isPlainFile(local) ? `There is ${local}: to run it, write cmd: ./${program}` : NO_ARGUMENTS,
  );
}

/** Links are not followed: they may lead to a mount that does not respond. */
function isPlainFile(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}

function explainPath(program: string, command: Command, explain: Explain): CannotStartError {
  const file = resolve(command.cwd, program);
  switch (kindOf(file)) {
    case "missing":
      return explain(
        `${file} does not exist.`,
        /\s/.test(program)
          ? NO_ARGUMENTS
          : program.startsWith("/")
            ? undefined
            : "A relative cmd is relative to the working directory of the task.",
      );
    case "directory":
      return explain(`${file} is a directory, not a program.`);
    case "special":
      return explain(`${file} is not a regular file.`);
    case "unreachable":
      return explain(`${file} cannot be reached: permission denied.`);
    case "file":
  }
  try {
    accessSync(file, constants.X_OK);
  } catch {
    return explain(`${file} is not executable.`, `chmod +x ${file}`);
  }
  const interpreter = interpreterOf(file);
  if (interpreter?.endsWith("\r")) {
    return explain(
      `${file} cannot be started: its first line ends with a carriage return (Windows line endings, CRLF), so its interpreter is "${interpreter.slice(0, -1)}\\r", which does not exist.`,
      `sed -i 's/\\r$//' ${file}`,
    );
  }
  if (interpreter !== undefined && kindOf(interpreter) !== "file") {
    return explain(`${file} cannot be started: its interpreter ${interpreter} does not exist.`);
  }
  return explain(`${file} cannot be started: its interpreter or loader does not exist or is not accessible.`);
}
