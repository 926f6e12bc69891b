import { z } from "zod";
import { scalar, type ValueOf } from "../field.ts";
import { script } from "../scalars.ts";
import { Kind, workingDirectory } from "./kind.ts";

/** What is known of the language of a script. */
interface Language {
  /** Names of its interpreters. */
  readonly interpreters: RegExp;
  /** How the name of a file in it ends. */
  readonly ending: string;
  /** How a script reads the environment variable NAME. */
  readonly variable: string;
}

const SHELL: Language = { interpreters: /^(ba|da|z|k|mk|a)?sh$/, ending: ".sh", variable: '"$NAME"' };
export const PYTHON: Language = {
  interpreters: /^(python|pypy)[\d.]*$/,
  ending: ".py",
  variable: 'os.environ["NAME"]',
};
export const JAVASCRIPT: Language = {
  interpreters: /^(node|nodejs|bun|deno)$/,
  ending: ".js",
  variable: "process.env.NAME",
};
const PERL: Language = { interpreters: /^perl$/, ending: ".pl", variable: "$ENV{NAME}" };
const RUBY: Language = { interpreters: /^ruby$/, ending: ".rb", variable: 'ENV["NAME"]' };
const OTHER: Language = { interpreters: /^$/, ending: "", variable: "the variable NAME" };

/** The words of `shell`: the interpreter and its options. Null for the default. */
export function shellWords(shell: string | null | undefined): readonly string[] | null {
  const words =
    shell
      ?.trim()
      .split(/\s+/)
      .filter((word) => word !== "") ?? [];
  return words.length === 0 ? null : words;
}

/** The language of a script, by the interpreter among the words of `shell`: `env python3 -u` is Python. */
export function languageOf(shell: string | null | undefined): Language {
  const words = shellWords(shell);
  if (words === null) return SHELL;
  const names = words.map((word) => word.slice(word.lastIndexOf("/") + 1));
  const known = [SHELL, PYTHON, JAVASCRIPT, PERL, RUBY];
  for (const name of names) {
    const language = known.find(({ interpreters }) => interpreters.test(name));
    if (language !== undefined) return language;
  }
  return OTHER;
}

/** What would mean something to a shell, which does not read it. */
const FOR_SHELLS = /["'`$\\|;&<>()]/;

const SHELL_HELP = "such as bash, python3 or sh -eux";

const interpreter = () =>
  scalar(
    z.string(),
    { type: "string", minLength: 1 },
    (value, refuse) => {
      const words = shellWords(value);
      if (words === null) return refuse("E015", "is empty", SHELL_HELP);
      if (/[\x00-\x08\x0e-\x1f\x7f]/.test(value)) return refuse("E015", "contains a control character");
      return FOR_SHELLS.test(value)
        ? refuse(
            "E014",
            `must be an interpreter and its options, not ${JSON.stringify(value)}`,
            "it is split at blanks, and no shell reads it: quotes and variables mean nothing here",
          )
        : words.join(" ");
    },
    { noun: "an interpreter and its options", help: SHELL_HELP },
  );

/** The interpreter of a script. */
export const shell = () =>
  interpreter()
    .optional()
    .describe(
      "The interpreter of the script and its options, split at blanks, such as python3; by default bash -euo pipefail where there is one, else sh -eu",
    );

/** Runs a script. A task's `run: TEXT` is short for it. */
export const Shell = new Kind(
  "Shell",
  "runs a script",
  {
    script: script().describe("The script; an interpreter gets it as a private file"),
    shell: shell(),
    working_directory: workingDirectory("a relative one starts at the run's own directory"),
  },
  {
    command: ({ script }) => [script.trim()],
    runner: ({ shell }) => shellWords(shell) ?? [],
    scripts: { keys: ["script"], variable: ({ shell }) => languageOf(shell).variable },
  },
);
export type ShellConfig = ValueOf<typeof Shell>;
