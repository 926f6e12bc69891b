import { list, templated, type ValueOf } from "../field.ts";
import { filled, flag } from "../scalars.ts";
import { args, Kind, workingDirectory } from "./kind.ts";

/** Runs a Python script with `uv run`. */
export const UvPython = new Kind(
  "UvPython",
  "runs a Python script with uv",
  {
    script_path: templated(filled(), "string").describe("The Python script"),
    args: args(),
    packages: list(filled()).default([]).describe('Requirements, such as "pandas>=2.3.1"'),
    is_uv_project: flag()
      .default(false)
      .describe("Runs in the uv project at the working directory, with the packages of that project"),
    working_directory: workingDirectory(),
    uv_path: filled().optional().describe("The uv program; by default the one in PATH"),
  },
  {
    command: ({ script_path, args }) => [script_path, ...args],
    runner: ({ uv_path, packages, is_uv_project }) => {
      const options = is_uv_project ? [] : packages.flatMap((name) => ["--with", name]);
      return [uv_path ?? "uv", "run", ...options];
    },
    noEffect: ({ packages, is_uv_project }) => {
      const help = "name the packages in the pyproject.toml of the project";
      return is_uv_project && packages.length > 0
        ? { key: "packages", where: "in a uv project", help }
        : null;
    },
  },
);
export type UvPythonConfig = ValueOf<typeof UvPython>;
