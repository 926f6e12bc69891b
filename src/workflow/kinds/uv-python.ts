import { list, type ValueOf } from "../field.ts";
import { filled, flag } from "../scalars.ts";
import { args, kind, workingDirectory } from "./kind.ts";

/** Runs a Python script with `uv run`. */
export const UvPython = kind("UvPython", "runs a Python script with uv", {
  script_path: filled().describe("The Python script"),
  args: args(),
  packages: list(filled()).default([]).describe('Requirements, such as "pandas>=2.3.1"'),
  is_uv_project: flag()
    .default(false)
    .describe("Runs in the uv project at the working directory, with the packages of that project"),
  working_directory: workingDirectory(),
  uv_path: filled().optional().describe("The uv program; by default the one in PATH"),
});
export type UvPythonConfig = ValueOf<typeof UvPython>;
