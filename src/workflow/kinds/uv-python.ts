import { list, templated, type ValueOf } from "../field.ts";
import { filled, flag, script } from "../scalars.ts";
import { args, Kind, workingDirectory } from "./kind.ts";
import { PYTHON } from "./shell.ts";

/** The path of a script that is inline. */
const NO_PATH = "";

/** Runs a Python script with `uv run`. */
export const UvPython = new Kind(
  "UvPython",
  "runs a Python script with uv",
  {
    // Older readers expect one: in their eyes it is empty if the script is inline.
    script_path: templated(filled(), "string")
      .orElse(NO_PATH)
      .describe("The Python script: a file; this or script"),
    script: script().sparse().describe("The Python script itself; this or script_path"),
    args: args(),
    packages: list(filled()).default([]).describe('Requirements, such as "pandas>=2.3.1"'),
    is_uv_project: flag()
      .default(false)
      .describe("Runs in the uv project at the working directory, with the packages of that project"),
    working_directory: workingDirectory(),
    python: filled()
      .sparse()
      .describe('The version of Python, such as "3.12", or its path; by default uv chooses'),
    uv_path: filled().optional().describe("The uv program; by default the one in PATH"),
  },
  {
    command: ({ script_path, script, args }) => [script?.trim() ?? script_path, ...args],
    runner: ({ uv_path, packages, python, is_uv_project }) => {
      const options = is_uv_project ? [] : packages.flatMap((name) => ["--with", name]);
      if (python !== undefined) options.unshift("--python", python);
      return [uv_path ?? "uv", "run", ...options];
    },
    scripts: { keys: ["script"], variable: () => PYTHON.variable },
    eitherOf: ["script_path", "script"],
    noEffect: ({ packages, is_uv_project }) => {
      const help = "name the packages in the pyproject.toml of the project";
      return is_uv_project && packages.length > 0
        ? { key: "packages", where: "in a uv project", help }
        : null;
    },
  },
);
export type UvPythonConfig = ValueOf<typeof UvPython>;
