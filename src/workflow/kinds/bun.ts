import { templated, type ValueOf } from "../field.ts";
import { filled, script } from "../scalars.ts";
import { args, Kind, workingDirectory } from "./kind.ts";
import { JAVASCRIPT } from "./shell.ts";

/** Runs TypeScript or JavaScript; the executable itself is the runtime. */
export const BunProgram = new Kind(
  "Bun",
  "runs TypeScript or JavaScript, with cdktr itself as the runtime",
  {
    script_path: templated(filled(), "string").optional().describe("The program: a file; this or code"),
    code: script().optional().describe("The program itself, TypeScript or JavaScript; this or script_path"),
    args: args(),
    working_directory: workingDirectory("a relative one starts at the run's own directory"),
  },
  {
    command: ({ script_path, code, args }) => [script_path ?? code?.trim() ?? "", ...args],
    runner: () => ["bun"],
    scripts: { keys: ["code"], variable: () => JAVASCRIPT.variable },
    eitherOf: ["script_path", "code"],
  },
);
export type BunConfig = ValueOf<typeof BunProgram>;
