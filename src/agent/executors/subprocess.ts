import type { SubprocessConfig } from "../../workflow/kinds/subprocess.ts";
import type { Executor } from "./executor.ts";
import { expandHome, workingDirectory } from "./paths.ts";

/**
 * `!Subprocess`: a program with its arguments. A name is looked up in the PATH of the task, a path is relative to the working
 * directory.
 */
export const subprocess: Executor<SubprocessConfig> = {
  touches: (config, context) => [
    workingDirectory(config.working_directory, context),
    expandHome(config.cmd, context.environment),
  ],
  command: (config, context) => ({
    argv: [expandHome(config.cmd, context.environment), ...config.args],
    cwd: workingDirectory(config.working_directory, context),
    env: context.environment,
  }),
};
