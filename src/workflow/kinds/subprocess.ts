import { templated, type ValueOf } from "../field.ts";
import { filled } from "../scalars.ts";
import { args, Kind, workingDirectory } from "./kind.ts";

/** Runs a program with arguments; no shell is involved. */
export const Subprocess = new Kind(
  "Subprocess",
  "runs a program",
  {
    cmd: templated(filled(), "string").describe("The program: a path, or a name that is looked up in PATH"),
    args: args(),
    working_directory: workingDirectory(),
  },
  { command: ({ cmd, args }) => [cmd, ...args] },
);
export type SubprocessConfig = ValueOf<typeof Subprocess>;
