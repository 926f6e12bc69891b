import { UsageError } from "../errors.ts";
import { nearest } from "../terminal/did-you-mean.ts";
import { type Command, command } from "./support/command.ts";
import { type Completion, complete } from "./support/complete.ts";
import { COMPLETION_SCRIPTS, joinedWords, SHELLS, type Shell } from "./support/completion-scripts.ts";
import { liveNames } from "./support/live-names.ts";
import { printLine, writeStdout } from "./support/stdout.ts";

/** The command that completes lines of `root`. */
export function completionOf(root: Command): Command {
  return command({
    meta: { name: "completion", description: "Print the completion script for a shell" },
    args: {
      shell: { type: "positional", required: true, description: "bash, zsh or fish" },
    },
    extras: {
      // Followed by the script's own arguments: the words of the line.
      rest: "WORD",
      restDescription: "The words of the line, passed by the scripts",
      completes: { shell: "shell" },
      details: `The script completes commands, options and their values, and asks the principal for the ids of workflows, runs and
      agents. It calls the executable being typed, so it stays correct after an upgrade.`,
      topic: "operations",
      examples: [
        { command: "cdktr completion bash >> ~/.bashrc", does: "for every new bash" },
        { command: "cdktr completion zsh >> ~/.zshrc", does: "for every new zsh" },
        {
          command: "cdktr completion fish > ~/.config/fish/completions/cdktr.fish",
          does: "for every new fish",
        },
      ],
    },
    async run({ args }) {
      const shell = shellOf(args.shell);
      if (args._.length <= 1) return writeStdout(COMPLETION_SCRIPTS[shell]);
      const { words, kept } = joinedWords(shell, args._.slice(1));
      const { kind, candidates } = await completeQuietly(root, words);
      await printLine(`:${kind}`);
      for (const { value, about } of candidates) {
        await printLine(`${value.slice(kept)}\t${about.split("\n", 1)[0]}`);
      }
    },
  });
}

async function completeQuietly(root: Command, words: readonly string[]): Promise<Completion> {
  try {
    return await complete(root, words, liveNames);
  } catch {
    return { kind: "words", candidates: [] };
  }
}

function shellOf(text: string): Shell {
  const shell = SHELLS.find((name) => name === text);
  if (shell !== undefined) return shell;
  const near = nearest(text, SHELLS);
  throw new UsageError(`There is no completion for '${text}'.`, {
    hint: near === undefined ? `Shells: ${SHELLS.join(", ")}.` : `Did you mean '${near}'?`,
  });
}
