import { resolve } from "node:path";
import { ownExecutable } from "../../host/self.ts";
import type { BunConfig } from "../../workflow/kinds/bun.ts";
import { CannotStartError, type Executor } from "./executor.ts";
import { checkDirectory, expandHome, kindOf, workingDirectory } from "./paths.ts";

/** Makes the executable of cdktr act as Bun. */
const BE_BUN = "BUN_BE_BUN";

/**
 * The children of the program must not act as Bun, if they are cdktr. `Bun.spawn` without an environment uses the one that the process
 * started with, whatever happened to `process.env` since.
 */
const PRELOAD = `delete process.env.${BE_BUN};
for (const name of ["spawn", "spawnSync"]) {
  const original = Bun[name];
  Bun[name] = (first, second) =>
    Array.isArray(first)
      ? original(first, { env: process.env, ...second })
      : original({ env: process.env, ...first });
}
`;

/** Files in the working directory must not affect what is executed, nor packages be fetched from a registry. */
const OPTIONS = ["--no-install", "--no-env-file", "--config=/dev/null"];

/** `!Bun`: a program in TypeScript or JavaScript, executed by the executable of this agent. */
export const bun: Executor<BunConfig> = {
  script: ({ code }) => (code === null ? null : { text: code, ending: ".ts", isAmongFiles: true }),
  preload: PRELOAD,
  leastMemory: 384 * 1024 * 1024,
  startsInRunDirectory: () => true,
  touches(config, context) {
    const cwd = workingDirectory(config.working_directory, context);
    return [cwd, context.script ?? resolve(cwd, expandHome(config.script_path ?? "", context.environment))];
  },
  command(config, context) {
    const { environment, script, preload } = context;
    const cwd = workingDirectory(config.working_directory, context);
    checkDirectory(cwd);
    const path = script ?? resolve(cwd, expandHome(config.script_path ?? "", environment));
    const kind = kindOf(path);
    if (kind !== "file") {
      throw new CannotStartError(
        kind === "missing"
          ? `The script ${path} does not exist.`
          : kind === "unreachable"
            ? `The script ${path} cannot be read: permission denied.`
            : `The script ${path} is not a regular file.`,
        {
          hint: "script_path is relative to the working directory of the task, which is by default the run's own.",
        },
      );
    }
    return {
      argv: [
        ownExecutable(),
        ...OPTIONS,
        ...(preload === undefined ? [] : ["--preload", preload]),
        path,
        ...config.args,
      ],
      cwd,
      env: { ...environment, [BE_BUN]: "1" },
    };
  },
};
