import { resolve } from "node:path";
import { JAVASCRIPT, languageOf, PYTHON, type ShellConfig, shellWords } from "../../workflow/kinds/shell.ts";
import { CannotStartError, type ExecutionContext, type Executor } from "./executor.ts";
import { expandHome, kindOf, workingDirectory } from "./paths.ts";

/** Shells by name with the options that they get unless the task gives some: a command that fails ends the script. */
const STRICT: Readonly<Record<string, readonly string[]>> = {
  bash: ["-euo", "pipefail"],
  sh: ["-eu"],
};

/** The first of them that there is. */
const DEFAULT = ["bash", "sh"] as const;

const NO_INTERPRETER =
  "shell names the interpreter of the script; install it on this host or choose another.";

/** `!Shell`, and `run:` of a task: an interpreter with the file of the script. */
export const shell: Executor<ShellConfig> = {
  script({ script, shell }) {
    const language = languageOf(shell);
    return {
      text: script,
      ending: language.ending,
      isAmongFiles: language === PYTHON || language === JAVASCRIPT,
    };
  },
  startsInRunDirectory: () => true,
  touches: (config, context) => [
    workingDirectory(config.working_directory, context),
    ...(shellWords(config.shell)
      ?.slice(0, 1)
      .map((word) => expandHome(word, context.environment)) ?? DEFAULT),
  ],
  command(config, context) {
    const cwd = workingDirectory(config.working_directory, context);
    const { environment, script } = context;
    if (script === undefined) throw new Error("the script was not written");
    // Otherwise what a program prints becomes log lines only at its end.
    const isPython = languageOf(config.shell) === PYTHON;
    return {
      argv: [...interpreterOf(config.shell, cwd, context), script],
      cwd,
      env: isPython ? { PYTHONUNBUFFERED: "1", ...environment } : environment,
    };
  },
};

function interpreterOf(
  shell: string | null,
  cwd: string,
  { environment }: ExecutionContext,
): [string, ...string[]] {
  const PATH = environment.PATH ?? "";
  const [name, ...options] = shellWords(shell) ?? [];
  if (name === undefined) {
    for (const usual of DEFAULT) {
      const found = Bun.which(usual, { PATH, cwd });
      if (found !== null) return [found, ...(STRICT[usual] ?? [])];
    }
    throw new CannotStartError("Cannot start: there is no bash and no sh in PATH.", {
      hint: `PATH is ${PATH || "empty"}. Install one of them, set PATH under env, or name another interpreter with shell.`,
    });
  }
  const all = options.length === 0 && Object.hasOwn(STRICT, name) ? (STRICT[name] ?? []) : options;
  if (!name.includes("/")) {
    const found = Bun.which(name, { PATH, cwd });
    if (found !== null) return [found, ...all];
    throw new CannotStartError(`"${name}" was not found in ${PATH || "(PATH is empty)"}.`, {
      hint: NO_INTERPRETER,
    });
  }
  const path = resolve(cwd, expandHome(name, environment));
  if (kindOf(path) === "missing")
    throw new CannotStartError(`${path} does not exist.`, { hint: NO_INTERPRETER });
  return [path, ...all];
}
