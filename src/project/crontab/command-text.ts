/** Parses the command of a crontab line: `%` ends the command and starts its input, as in child_process of ISC cron 4.1. */

/** A command and its standard input. */
export interface CronCommand {
  readonly command: string;
  /** Undefined when the line has no `%`. */
  readonly input: string | undefined;
}

/** Splits command and input: the first `%` ends the command, each further one is a newline, `\%` is a percent sign. */
export function readCommand(text: string): CronCommand {
  let at = 0;
  let command = "";
  for (; at < text.length && text[at] !== "%"; at++) {
    // A character after a backslash is taken literally; before a percent sign the backslash is removed.
    if (text[at] === "\\" && at + 1 < text.length) {
      command += text[at + 1] === "%" ? "%" : `\\${text[at + 1]}`;
      at++;
    } else command += text[at];
  }
  if (at >= text.length) return { command, input: undefined };
  return { command, input: readInput(text.slice(at + 1)) };
}

function readInput(text: string): string {
  // In a single pass: as in cron, even a backslash that was itself escaped still escapes the next character.
  let input = "";
  let escaped = false;
  for (const char of text) {
    if (escaped) {
      if (char !== "%") input += "\\";
    } else if (char === "%") {
      input += "\n";
      continue;
    }
    escaped = char === "\\";
    if (!escaped) input += char;
  }
  if (escaped) input += "\\";
  return input === "" || input.endsWith("\n") ? input : `${input}\n`;
}
